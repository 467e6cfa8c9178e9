"""The verb that compares strategies."""

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import tyro

from tlearn.cli.main import Refused
from tlearn.cli.options import read


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which study, where it goes, who runs it."""

    study: Annotated[str, tyro.conf.Positional] = ""
    """A preset (digits-rates), or a Python file that defines STUDY."""
    out: str = ""
    """Folder of the study; what is there of it is not run again. Empty for runs/NAME."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Only tell what it would take: runs, programs, FLOPs, bytes, time."""
    engine: Literal["local", "ray", "slurm"] = "local"
    """Who runs the units: this process, a Ray cluster, or a SLURM array."""
    workers: int = 0
    """Units at a time on a cluster; 0 for as many as it allows."""
    cpus: float = 1.0
    """Cores that a unit asks of a cluster."""
    gpus: float = 0.0
    """GPUs that a unit asks of a cluster."""
    memory: float = 0.0
    """GiB that a unit asks of a cluster; 0 for what that gives."""
    minutes: int = 240
    """Minutes after which SLURM ends a unit's job."""
    partition: str = ""
    """Partition of SLURM; empty for its own choice."""
    report: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Only write the report again, of what is there."""


def study(args: Sequence[str]) -> int:
    """Runs what is missing of a study, and writes its report."""
    about = (
        "Compare strategies over seeds and amounts of labels: arms, paired runs, one report. First "
        "tells what it will take. Killed, it goes on; arms and seeds can be added later."
    )
    o = read(Options, args, verb="study", about=about)
    if not o.study:
        raise Refused("study needs a preset or a file: tlearn study digits-rates --out DIR")
    from tlearn.runs.study.engines import engine
    from tlearn.runs.study.forecast import check_budget, forecast
    from tlearn.runs.study.opening import open_study
    from tlearn.runs.study.resources import Resources
    from tlearn.runs.study.results import collect
    from tlearn.runs.study.running import run_study

    found = open_study(o.study)
    out = o.out or f"runs/{found.name}"

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    if o.report:
        from tlearn.runs.study.folder import StudyFolder

        folder = StudyFolder.open(out)
    else:
        names = (field.name for field in dataclasses.fields(Resources))
        chosen = engine(o.engine, Resources(**{name: getattr(o, name) for name in names}))
        say(f"{found.name}: {found.title}")
        ahead = forecast(found, out)
        say(str(ahead))
        if o.dry_run:
            return 0
        check_budget(found, ahead)
        folder = run_study(found, out, engine=chosen, say=say)
    from rich.console import Console

    from tlearn.studies.report import console_table
    from tlearn.studies.study_page import main_report, write_study

    # What gives the runs again is the command without what only writes them down.
    asked = [arg for arg in args if arg != "--report"]
    results = collect(found, folder, shlex.join(["tlearn", "study", *asked]))
    try:
        # Processes that end the same study at once write its report one after the other.
        with folder.alone("reporting", patience=600.0):
            page = write_study(folder.path / "report", results)
    except OSError as error:
        raise RuntimeError(
            f"the runs are kept in {folder.path}, and their report cannot be written: {error}. "
            "Make room, and give the same command with --report"
        ) from error
    Console().print(console_table(main_report(results)))
    say(f"report: {page}")
    return 0
