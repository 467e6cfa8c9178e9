"""The verb that runs stages one after another."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from tlearn.cli.main import Refused
from tlearn.cli.options import read


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which stages, and where they go."""

    pipeline: Annotated[str, tyro.conf.Positional] = ""
    """A preset (ulmfit-demo, bert-demo, gpt-demo), or a Python file that defines PIPELINE."""
    out: str = ""
    """Folder of the stages' folders; what is done there for the same inputs is not done again."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Only tell which stages are done, begun and new."""
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """No progress on the screen."""


def pipeline(args: Sequence[str]) -> int:
    """Runs the stages that are not done yet."""
    about = (
        "Run stages one after another: tokenizer, pre-training, adaptation, fine-tuning. Each is "
        "kept under a digest of its inputs, and a killed pipeline goes on where it was."
    )
    o = read(Options, args, verb="pipeline", about=about)
    if not o.pipeline:
        raise Refused("pipeline needs a preset or a file: tlearn pipeline ulmfit-demo --out DIR")
    if not o.out:
        raise Refused("name the folder of the stages: --out RUNS/NAME")
    from tlearn.runs.pipeline import plan_pipeline, run_pipeline
    from tlearn.runs.pipeline_opening import open_pipeline

    found = open_pipeline(o.pipeline)
    if o.dry_run:
        sys.stdout.write("\n".join(map(str, plan_pipeline(found, o.out))) + "\n")
        return 0

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    if found.about:
        say(f"{found.name}: {found.about}")
    for name, folder in run_pipeline(found, o.out, say=say, quiet=o.quiet).items():
        say(f"{name}: {folder}")
    return 0
