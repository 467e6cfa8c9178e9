"""Runs a study: pilots, the choice of nuisance levels, what is reported. What is there stays."""

import errno
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.runs.config import from_json as config_from
from tlearn.runs.study import Cell, Study, from_values
from tlearn.runs.study.folder import StudyFolder, Unit
from tlearn.runs.study.keys import run_key
from tlearn.studies.records import Record

Say = Callable[[str], None]
Engine = Callable[[StudyFolder, Sequence[str], Say], None]
"""Sees to it that units of a folder are done."""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StudyError(RuntimeError):
    """A study cannot go on; its message is for its user."""


def run_study(
    study: Study, out: str | Path, *, engine: Engine | None = None, say: Say = print
) -> StudyFolder:
    """Runs what is not there yet of a study.

    Args:
        study: What is asked.
        out: Its folder; one that was begun goes on, with the arms and seeds there are now.
        engine: Who runs the units; by default this process.
        say: Told what is going on.

    Raises:
        StudyError: If runs cannot even be begun, naming their arms; what is done stays.
        RunFolderError: If the folder holds something else.
    """
    folder = StudyFolder.prepare(out, study)
    run = engine or local
    pilots = list(study.pilots())
    if pilots:
        say(f"pilots: {len(pilots)} runs choose nuisance levels on validation")
        _finish(folder, study, pilots, run, say)
    chosen = choose(study, folder)
    for arm, levels in chosen.items():
        if levels:
            say(f"   {arm}: " + ", ".join(f"{name} {level}" for name, level in levels.items()))
    cells = list(study.reported(chosen))
    say(f"reported: {len(cells)} runs")
    _finish(folder, study, cells, run, say)
    return folder


def _finish(
    folder: StudyFolder, study: Study, cells: Sequence[Cell], run: Engine, say: Say
) -> None:
    units = folder.plan(study, cells)
    open_units = [unit.name for unit in units if not folder.done(unit.name)]
    done = len(units) - len(open_units)
    if done:
        say(f"   {done} of {len(units)} units are there already")
    if open_units:
        run(folder, open_units, say)


def choose(study: Study, folder: StudyFolder) -> dict[str, dict[str, str]]:
    """The nuisance levels of every arm: the best mean over the pilots on validation.

    A trial with a failed pilot is not chosen unless all have one; of equals the first wins.

    Raises:
        StudyError: If pilots are missing.
    """
    records = folder.records()
    found: dict[str, dict[tuple[tuple[str, str], ...], list[float]]] = {}
    missing = 0
    for cell in study.pilots():
        record = records.get(run_key(study, cell))
        if record is None:
            missing += 1
            continue
        value = record.validation.get(study.metric, float("nan")) if record.finished else np.nan
        sign = 1 if study.higher_is_better else -1
        trial = tuple(cell.trial.items())
        found.setdefault(cell.arm.name, {}).setdefault(trial, []).append(sign * float(value))
    if missing:
        raise StudyError(f"{missing} pilot runs are missing: run the study first")
    chosen = {}
    for arm in study.arms:
        trials = study.trials(arm.name)
        scores = found.get(arm.name)
        if scores is None:
            chosen[arm.name] = trials[0]
            continue
        means = np.asarray([np.mean(scores[tuple(trial.items())]) for trial in trials])
        best = int(np.argmax(np.where(np.isfinite(means), means, -np.inf)))
        chosen[arm.name] = trials[best]
    return chosen


def pending(out: str | Path) -> list[str]:
    """Names of the units of a folder that are not done."""
    folder = StudyFolder.open(out)
    return [unit.name for unit in folder.units() if not folder.done(unit.name)]


def local(folder: StudyFolder, units: Sequence[str], say: Say) -> None:
    """Runs units in this process; those that another process has are waited for."""
    left, done = list(units), 0
    while left:
        busy = []
        for name in left:
            if run_unit(folder.path, name) or folder.done(name):
                done += 1
                say(f"   {done} of {len(units)} units")
            else:
                busy.append(name)
        if len(busy) == len(left):
            time.sleep(0.5)
        left = busy


def run_unit(out: str | Path, name: str, *, say: Say = lambda text: None) -> bool:
    """Runs one unit of a study's folder, unless it is done or somebody else runs it.

    Args:
        out: The study's folder.
        name: Of the unit.
        say: Told what is going on.

    Returns:
        Whether it was run here.

    Raises:
        StudyError: If its runs cannot be begun, or cannot be kept.
    """
    folder = StudyFolder.open(out)
    if folder.done(name):
        return False
    try:
        with folder.claim(name) as mine:
            if not mine or folder.done(name):
                return False
            unit = folder.unit(name)
            folder.commit(unit, *_carry_out(unit, folder.path, say))
    except OSError as error:
        raise StudyError(
            f"unit {name} of {folder.path} stopped: {error}. What was done before is there; "
            f"{'make room and ' * (error.errno in _FULL)}run the study again"
        ) from error
    return True


def _carry_out(
    unit: Unit, place: Path, say: Say
) -> tuple[list[Record], dict[str, np.ndarray], dict[str, list[str]], dict[str, Any]]:
    """Trains the runs of a unit; one that breaks down is tried once more, by itself."""
    from tlearn.runs.study.many import Looks, Outcome, run_many
    from tlearn.runs.study.single import run_single
    from tlearn.runs.versions import versions
    from tlearn.studies.block import Compiler

    study = from_values(unit.study)
    looks = Looks(
        metric=study.metric,
        points=study.points,
        measures=study.measures,
        remember=study.remember,
    )
    configs = [config_from(run["config"]) for run in unit.runs]
    compiler, mesh = Compiler(), _mesh()
    alone = study.how == "single" or not _shared(configs[0])

    def attempt(chosen: Sequence[int]) -> list[Outcome]:
        if alone:
            return [
                run_single(configs[i], looks, place / "single" / unit.runs[i]["key"], say)
                for i in chosen
            ]
        some = [configs[i] for i in chosen]
        return run_many(some, looks, how=study.how, mesh=mesh, compiler=compiler, say=say)

    everyone, retried = range(len(configs)), 0
    outcomes: dict[int, Outcome] = {}
    errors: dict[int, str] = {}
    try:
        outcomes = dict(zip(everyone, attempt(everyone), strict=True))
    except ValueError as error:
        arms = ", ".join(dict.fromkeys(run["arm"] for run in unit.runs))
        raise StudyError(f"the runs of {arms} cannot be begun: {error}") from error
    except OSError:  # The disk, or a signal: nothing that trying again would mend.
        raise
    except (RuntimeError, MemoryError, ArithmeticError) as error:
        say(f"   a unit of {len(configs)} runs broke down ({_told(error)}); each by itself again")
        retried = 1
        for i in everyone:
            try:
                outcomes[i] = attempt([i])[0]
            except (RuntimeError, MemoryError, ArithmeticError, ValueError) as again:
                errors[i] = _told(again)
    records, right, plans = [], {}, {}
    for i, run in enumerate(unit.runs):
        records.append(_record(run, study, outcomes.get(i), errors.get(i, ""), retried))
        found = outcomes.get(i)
        if found is not None:
            plans.setdefault(run["arm"], list(found.layers))
            if found.right is not None:
                right[run["key"]] = found.right
    told = {name: str(value) for name, value in versions().items()}
    facts = {
        "compilations": dict(compiler.compilations),
        "bytes": compiler.bytes,
        "versions": told,
        "test_reads": sum(bool(record.metrics) for record in records),
    }
    return records, right, plans, facts


def _record(run: Mapping[str, Any], study: Study, found: Any, error: str, retried: int) -> Record:
    varied = study.varied()
    config = run["config"]
    flat = {n: v for g in config.values() if isinstance(g, dict) for n, v in g.items()}
    values = {
        name: float(flat[name])
        for name in sorted(varied)
        if isinstance(flat.get(name), (int, float)) and not isinstance(flat.get(name), bool)
    }
    own: dict[str, Any] = {
        "key": run["key"],
        "arm": run["arm"],
        "levels": run["levels"],
        "values": values,
        "seed": run["seed"],
        "labels": run["labels"],
        "role": run["role"],
        "config": config,
        "retried": retried,
    }
    if found is None:
        return Record(state="failed", error=error, **own)
    broken = found.error
    if not broken and not (_finite(found.metrics) and _finite(found.validation)):
        broken = "its figures at the end are not finite"
    return Record(
        **own,
        state="failed" if broken else "finished",
        error=broken,
        metrics={} if broken else found.metrics,
        validation={} if broken else found.validation,
        at=found.at,
        curve=found.curve if all(np.isfinite(found.curve)) else (),
        distance={k: v for k, v in found.distance.items() if np.isfinite(v)},
        cka=found.cka,
        remembered=found.remembered if _finite(found.remembered) else {},
        remembered_metric=found.remembered_metric,
        pull=found.pull if found.pull is None or np.isfinite(found.pull) else None,
        cost=found.cost,
        plan=found.plan,
    )


def _finite(figures: Mapping[str, float]) -> bool:
    return all(np.isfinite(value) for value in figures.values())


def _shared(config: Any) -> bool:
    from tlearn.runs.study.keys import shares

    return shares(config)


def _mesh() -> Any:
    import jax

    from tlearn.train.mesh import make_mesh

    return make_mesh() if jax.local_device_count() > 1 else None


def _told(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
