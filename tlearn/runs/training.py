"""A run from its config to its folder: train, log, checkpoint, resume, report."""

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlearn import hub
from tlearn.bodies import describe as describe_body
from tlearn.data import prefetch
from tlearn.heads import describe as describe_head
from tlearn.runs.build import Built, build
from tlearn.runs.config import RunConfig, from_json, to_json
from tlearn.runs.folder import RunFolder, RunFolderError
from tlearn.runs.versions import versions
from tlearn.runs.writers import Console, Journal
from tlearn.train.checkpoint import Checkpoints
from tlearn.train.evaluate import Evaluation, evaluate, make_eval_step
from tlearn.train.interrupt import Interruption
from tlearn.train.loop import NonFiniteLoss, Window, explain_non_finite, fit
from tlearn.train.mesh import make_mesh, place_batch, state_shardings
from tlearn.train.state import State, restage

Say = Callable[[str], None]


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
    _free(Path(out))
    built = build(config, say)
    for number, plan in enumerate(built.plans):
        head = f"stage {number}: " if len(built.plans) > 1 else "plan: "
        say(head + plan.summary())
    folder = RunFolder.create(
        out,
        config=to_json(config),
        plan=[plan.to_json() for plan in built.plans],
        plan_text="\n\n".join(str(plan) for plan in built.plans),
        seeds={"seed": config.train.seed},
        versions=versions(),
    )
    with folder:
        folder.write_json("digests.json", built.digests)
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
    from tlearn.runs.config import diff

    with RunFolder.open(out, write=True) as folder:
        config = from_json(folder.config)
        changes = diff(config, asked) if asked is not None else []
        if changes:
            raise RunFolderError(
                f"{folder.path} cannot be resumed with another config; it differs in\n  "
                + "\n  ".join(changes)
                + "\nresume without these options, or start a new run in another folder"
            )
        built = build(config, lambda text: None)
        before = folder.read_json("digests.json")
        other = [name for name, value in built.digests.items() if before.get(name) != value]
        if other:
            raise RunFolderError(
                f"{folder.path} cannot be resumed: {', '.join(other)} changed since it started; "
                "bring the old files back, or start a new run in another folder"
            )
        return _run(built, folder, say, quiet, resume=True)


def _free(out: Path) -> None:
    """Refuses a taken folder before anything is read: the mistake is cheap to find."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        what = "holds a run" if (out / "run.json").exists() else "is not empty"
        raise RunFolderError(
            f"{out} {what}; go on with a run by --resume {out}, or choose another folder"
        )


def _run(built: Built, folder: RunFolder, say: Say, quiet: bool, *, resume: bool) -> Result:
    config = built.config
    line = built.program.timeline
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(
            Checkpoints(folder.checkpoints, keep=config.train.keep, report=say)
        )
        state, sums = built.start(), {}
        if resume and checkpoints.steps():
            state, sums = _restore(built, checkpoints)
            say(f"resuming at step {int(state.step)} of {line.steps}")
        console = None if quiet else Console(line.steps, title="train", start=int(state.step))
        journal = stack.enter_context(
            Journal(folder, resume_step=int(state.step) if resume else None, console=console)
        )
        placed, shardings, place = _placement(config, state)
        window = Window(sums)
        loop = _Loop(built, checkpoints, journal, window, place)
        stop = stack.enter_context(Interruption(say))
        batches = built.task.train_batches(config.train.batch_size, config.train.seed)
        ahead = stack.enter_context(
            prefetch(batches, int(state.step), line.steps, place=place, workers=config.data.workers)
        )
        loop.keep(placed)
        state = placed
        try:
            for state, event in fit(
                built.program,
                placed,
                ahead,
                built.source,
                window=window,
                report_every=config.train.report_every,
                shardings=shardings,
            ):
                if console is not None:
                    console.step(int(state.step) if event else loop.step + 1)
                loop.after(state, event)
                if stop.requested:
                    loop.save(state)
                    say(f"stopped at step {loop.step}; go on with --resume {folder.path}")
                    return Result(folder.path, False, loop.step, exit_code=stop.exit_code)
        except NonFiniteLoss as error:
            loop.save(state)
            raise NonFiniteLossAt(
                explain_non_finite(error.step, batches.at(error.step))
                + f". The state before it is saved in {folder.checkpoints}"
            ) from None
        loop.save(state)
        checkpoints.wait()
        return _finish(built, folder, state, loop, place, time.monotonic() - began, say)


class NonFiniteLossAt(ArithmeticError):
    """A run stopped at a loss that is not finite; its message is for its user."""


class _Loop:
    """What happens after each step: events, validation, checkpoints."""

    def __init__(
        self,
        built: Built,
        checkpoints: Checkpoints,
        journal: Journal,
        window: Window,
        place: Callable[[dict[str, np.ndarray]], Any],
    ):
        self.built, self.checkpoints, self.journal = built, checkpoints, journal
        self.window, self.place = window, place
        self.step = 0
        self.validation: Evaluation | None = None
        self._eval = make_eval_step(built.model, built.task.objective)
        self._stage = -1

    def keep(self, state: State) -> None:
        """Keeps what a stage leaves frozen, once for all its checkpoints."""
        self.step, self._stage = int(state.step), int(state.stage)
        self.checkpoints.save_once(f"frozen_{self._stage}", state.frozen)

    def after(self, state: State, event: Any) -> None:
        """Logs and saves what is due after a step."""
        self.step += 1
        line = self.built.program.timeline
        if line.stage(self.step - 1) != self._stage:
            self._stage = line.stage(self.step - 1)
            self.checkpoints.save_once(f"frozen_{self._stage}", state.frozen)
        if event is not None:
            self.journal.write(
                "train",
                step=event.step,
                update=event.update,
                epoch=float(event.epoch),
                values={"stage": event.stage, **event.metrics},
            )
        if self.step % line.steps_per_epoch == 0 or self.step == line.steps:
            self.validate(state)
        if self.step % self.built.config.train.checkpoint_every == 0:
            self.save(state)

    def validate(self, state: State) -> None:
        """Evaluates on the validation part, if there is one."""
        part = self.built.task.validation
        if part is None:
            return
        self.validation = self.evaluate(state, part)
        self.journal.write(
            "validation",
            step=self.step,
            update=int(state.update),
            epoch=self.step / self.built.program.timeline.steps_per_epoch,
            values=self.validation.metrics,
        )

    def evaluate(self, state: State, part: Any) -> Evaluation:
        """Evaluates on a part of the data, with averaged weights where they are kept."""
        params = averaged(state)
        batches = self.built.task.eval_batches(part, max(self.built.config.train.batch_size, 64))
        return evaluate(
            self._eval,
            params,
            state.collections,
            batches,
            expected=len(part),
            place=lambda batch: {n: jnp.array(v) for n, v in batch.items()},
        )

    def save(self, state: State) -> None:
        """Saves a checkpoint of the state's own step."""
        step = int(state.step)
        if step in self.checkpoints.steps():
            return
        extra = {"stage": int(state.stage), "window": self.window.read()}
        # A state that met a non-finite loss is saved as the sound one it was before.
        sound = state.replace(frozen={}, sound=jnp.ones((), bool))
        self.checkpoints.save(step, sound, extra, once=[f"frozen_{int(state.stage)}"])


def averaged(state: State) -> dict[str, Any]:
    """All parameters of a state, averaged ones where averages are kept."""
    return {**state.params, **(state.ema or {})}


def _restore(built: Built, checkpoints: Checkpoints) -> tuple[State, dict[str, float]]:
    """The newest good state and the sums since its last event."""
    optimizer = built.program.recipe.optimizer

    def template(extra: dict[str, Any]) -> State:
        state = built.start()
        if extra["stage"]:
            state = restage(state, built.plans[extra["stage"]], optimizer, extra["stage"])
        return state.replace(frozen={})

    _, state, extra = checkpoints.restore(template)
    frozen = checkpoints.load_once(f"frozen_{extra['stage']}")
    frozen = {path: jnp.asarray(value) for path, value in frozen.items()}
    return state.replace(frozen=frozen), extra["window"]


def _placement(config: RunConfig, state: State) -> tuple[State, Any, Any]:
    """Puts a state on its devices; returns it, its shardings' maker and the batches' placer."""
    if config.train.devices == 1:
        return state, None, lambda batch: {n: jnp.array(v) for n, v in batch.items()}
    mesh = make_mesh(config.train.devices or None)

    def shardings(state: State) -> Any:
        return state_shardings(state, mesh, config.train.layout)

    return jax.device_put(state, shardings(state)), shardings, lambda b: place_batch(b, mesh)


def _finish(
    built: Built, folder: RunFolder, state: State, loop: _Loop, place: Any, wall: float, say: Say
) -> Result:
    """Writes the model and the final report; reads the test part, once."""
    task, config = built.task, built.config
    hub.save_model(folder.model, as_source(built, state))
    test = None
    if task.test is not None:
        test = loop.evaluate(state, task.test)
        loop.journal.write(
            "test",
            step=loop.step,
            update=int(state.update),
            epoch=loop.step / built.program.timeline.steps_per_epoch,
            values=test.metrics,
        )
    if loop.validation is None:
        loop.validate(state)
    from tlearn.runs.summary import write_summary

    write_summary(
        folder,
        config=config,
        plans=built.plans,
        task=task,
        validation=loop.validation,
        test=test,
        wall_s=wall,
        command=" ".join(["tlearn", *sys.argv[1:]]),
    )
    for name, found in (("validation", loop.validation), ("test", test)):
        if found is not None:
            say(f"{name}: {found}")
    say(f"run folder: {folder.path}")
    return Result(folder.path, True, loop.step, loop.validation, test)


def as_source(built: Built, state: State) -> hub.Source:
    """A trained state as somebody's source."""
    params = {path: np.asarray(v) for path, v in averaged(state).items()}
    before = dict(built.report.digests) if built.report is not None else {}
    return hub.Source(
        params=params,
        collections={path: np.asarray(v) for path, v in state.collections.items()},
        body=describe_body(built.model.body),
        head=describe_head(built.model.head),
        label_names=built.task.label_names,
        facts=built.task.facts,
        provenance={
            "trained_by": "tlearn",
            "from": built.config.source or "fresh weights",
            "source_digests": before,
            "data": built.digests,
            "config": json.loads(json.dumps(to_json(built.config))),
        },
    )


def events(folder: str | Path) -> Iterator[dict[str, Any]]:
    """The events of a run, oldest first."""
    from tlearn.runs.writers import read_metrics

    yield from read_metrics(RunFolder.open(folder).metrics)
