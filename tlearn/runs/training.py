"""A run from its config to its folder: train, log, checkpoint, resume, report."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tlearn.data import prefetch
from tlearn.runs.after_step import REMEMBER, AfterStep
from tlearn.runs.build import Built, build
from tlearn.runs.config import RunConfig, diff, from_json, to_json
from tlearn.runs.counted import Counted
from tlearn.runs.devices import Devices
from tlearn.runs.finish import finish
from tlearn.runs.folder import RunFolder, RunFolderError
from tlearn.runs.summary import RESULTS, forgotten_text
from tlearn.runs.versions import versions
from tlearn.runs.writers import Console, Journal, read_metrics
from tlearn.train.checkpoint import Checkpoints
from tlearn.train.evaluate import Evaluation
from tlearn.train.interrupt import Interruption
from tlearn.train.loop import NonFiniteLoss, Window, explain_non_finite, fit
from tlearn.train.state import State, restage

Say = Callable[[str], None]
DIGESTS = "digests.json"


@dataclasses.dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
        folder: Its folder.
        finished: Whether it came to its end; False after an interruption.
        step: Batches seen.
        validation: The last validation, if there is a validation part.
        test: The test figures, if there is a test part and the run finished.
        exit_code: What the process should exit with: 0, or 128 + the signal's number.
    """

    folder: Path
    finished: bool
    step: int
    validation: Evaluation | None = None
    test: Evaluation | None = None
    exit_code: int = 0


def start(config: RunConfig, out: str | Path, *, say: Say = print, quiet: bool = False) -> Result:
    """Starts a run in a new folder.

    Args:
        config: What is asked.
        out: Where the run's folder will be; must not hold anything yet.
        say: Told what is going on.
        quiet: No progress on the console.

    Raises:
        ValueError: If anything does not fit; nothing was written yet.
        RunFolderError: If the folder is taken.
    """
    RunFolder(Path(out).absolute()).refuse_taken()  # Before anything is read: it is cheap to find.
    with _documents(quiet) as progress:
        built = build(config, say, progress=progress)
    for number, plan in enumerate(built.plans):
        head = f"stage {number}: " if len(built.plans) > 1 else "plan: "
        say(head + plan.summary())
    pull = built.program.recipe.function_pull
    if pull is not None:
        say(f"pull on {pull.form} λ={pull.strength:g}, toward what the source computes")
    folder = RunFolder.create(
        out,
        config=to_json(config),
        plan=[plan.to_json() for plan in built.plans],
        plan_text="\n\n".join(str(plan) for plan in built.plans),
        seeds={"seed": config.train.seed},
        versions=versions(),
    )
    with folder:
        folder.write_json(DIGESTS, built.digests)
        return _run(built, folder, say, quiet, resume=False)


def resume(
    out: str | Path, *, asked: RunConfig | None = None, say: Say = print, quiet: bool = False
) -> Result:
    """Goes on with an interrupted run, to the same end as if it had not been interrupted.

    Args:
        out: The run's folder.
        asked: A config that must equal the run's, if given.
        say: Told what is going on.
        quiet: No progress on the console.

    Raises:
        RunFolderError: If there is no such run, its config differs from what is asked, or its
            source or data changed.
    """
    folder = RunFolder.open(out)
    config = from_json(folder.config)
    changes = diff(config, asked) if asked is not None else []
    if changes:
        raise RunFolderError(
            f"{folder.path} cannot be resumed with another config; it differs in\n  "
            + "\n  ".join(changes)
            + "\nresume without these options, or start a new run in another folder"
        )
    if (folder.path / RESULTS).is_file():
        return _finished(folder, say)
    with _documents(quiet) as progress:
        built = build(config, progress=progress)
    with RunFolder.open(out, write=True) as folder:
        if not (folder.path / DIGESTS).exists():  # Cut short before the first step.
            folder.write_json(DIGESTS, built.digests)
        before = folder.read_json(DIGESTS)
        other = [name for name, value in built.digests.items() if before.get(name) != value]
        if other:
            raise RunFolderError(
                f"{folder.path} cannot be resumed: {', '.join(other)} changed since it started; "
                "bring the old files back, or start a new run in another folder"
            )
        return _run(built, folder, say, quiet, resume=True)


def _documents(quiet: bool) -> Counted:
    """Tells how far the tokens of a corpus are, which may take longer than all that follows."""
    return Counted("documents as tokens", quiet=quiet)


def _finished(folder: RunFolder, say: Say) -> Result:
    """Says that there is nothing to go on with."""
    results = folder.read_json(RESULTS)
    say(f"{folder.path} finished at step {results['step']}; there is nothing to resume")
    for name in ("validation", "test"):
        if name in results:
            count = results[name].pop("count")
            figures = ", ".join(f"{key} {value:.4f}" for key, value in results[name].items())
            say(f"{name}: {figures} over {count} examples")
    if "remember" in results:
        say(forgotten_text(results["remember"]["before"], results["remember"]["after"]))
    return Result(folder.path, True, results["step"])


def _run(built: Built, folder: RunFolder, say: Say, quiet: bool, *, resume: bool) -> Result:
    config, line = built.config, built.program.timeline
    began = time.monotonic()
    if not resume:
        _compile_ahead(built)
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(
            Checkpoints(folder.checkpoints, keep=config.train.keep, report=say)
        )
        restored = resume and bool(checkpoints.steps())
        state, sums = _restore(built, checkpoints) if restored else (built.start(), {})
        at = int(state.step)
        if resume:
            say(f"resuming at step {at} of {line.steps}")
        console = None if quiet else Console(line.steps, title=folder.path.name, start=at)
        journal = stack.enter_context(
            Journal(folder, resume_step=at if restored else None, console=console)
        )
        devices = Devices(config)
        state, source = devices.put(state), devices.put(built.source)
        window = Window(sums)
        after = AfterStep(built, checkpoints, journal, window, devices.place, devices.count)
        after.begin(state, fresh=not restored)
        stop = stack.enter_context(Interruption(_tell))
        batches = built.train_batches(state, folder.path)
        ahead = stack.enter_context(
            prefetch(batches, at, line.steps, place=devices.place, workers=config.data.workers)
        )
        steps = fit(
            built.program,
            state,
            ahead,
            source,
            window=window,
            report_every=config.train.report_every,
            shardings=devices.shardings,
        )
        try:
            for state, event in steps:
                after(state, event, ahead.rate.per_second)
                if console is not None:
                    console.step(after.step)
                if stop.requested and after.step < line.steps:
                    after.save(state)
                    checkpoints.wait()
                    if console is not None:
                        console.close()
                    say(f"stopped at step {int(state.step)}; go on with --resume {folder.path}")
                    return Result(folder.path, False, int(state.step), exit_code=stop.exit_code)
        except NonFiniteLoss as error:
            after.save(state)
            checkpoints.wait()
            raise StoppedError(
                f"{explain_non_finite(error.step, batches.at(error.step))}. The state before it is "
                f"saved in {folder.checkpoints}: --resume tries that batch again, a new run can "
                "take other options"
            ) from None
        after.save(state)
        checkpoints.wait()
        validation, test = finish(built, folder, state, after, time.monotonic() - began)
        if console is not None:
            console.close()
    for name, found in (("validation", validation), ("test", test)):
        if found is not None:
            say(f"{name}: {found}")
    measured = read_metrics(folder.metrics, REMEMBER)
    if measured:
        say(forgotten_text(measured[0], measured[-1]))
    say(f"run folder: {folder.path}")
    return Result(folder.path, True, line.steps, validation, test)


def _compile_ahead(built: Built) -> None:
    """Has the first step compiled while the run's state is made and its folder is set up."""
    train = built.config.train
    if train.devices != 1 or train.features == "once":
        return
    first = built.task.train_batches(train.batch_size, train.seed).at(0)
    batch = jax.eval_shape(dict, first)
    built.program.compile_ahead(0, built.start.shapes(), batch, built.source)


class StoppedError(ArithmeticError):
    """A run stopped at a loss that is not finite; its message is for its user."""


def _tell(text: str) -> None:
    """Says something from within a signal handler, where the usual streams may be busy."""
    with contextlib.suppress(OSError):
        os.write(2, (text + "\n").encode())


def _restore(built: Built, checkpoints: Checkpoints) -> tuple[State, dict[str, float]]:
    """The newest good state and the sums since its last event."""
    optimizer = built.program.recipe.optimizer
    built.start.forget()

    def template(extra: dict[str, Any]) -> State:
        state, stage = built.start.shapes(), extra["stage"]
        if stage:
            plan = built.plans[stage]
            state = jax.eval_shape(lambda state: restage(state, plan, optimizer, stage), state)
        return dataclasses.replace(state, frozen={})

    _, state, extra = checkpoints.restore(template)
    frozen = checkpoints.load_once(f"frozen_{extra['stage']}")
    frozen = {path: jnp.asarray(value) for path, value in frozen.items()}
    return dataclasses.replace(state, frozen=frozen), extra["window"]


def events(folder: str | Path) -> Iterator[dict[str, Any]]:
    """The events of a run, oldest first."""
    yield from read_metrics(RunFolder.open(folder).metrics)
