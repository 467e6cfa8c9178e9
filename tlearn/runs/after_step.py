"""What happens after each step of a run: events, validation, checkpoints."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from tlearn.runs.build import Built
from tlearn.runs.config import RunConfig
from tlearn.runs.writers import Journal
from tlearn.train.checkpoint import Checkpoints
from tlearn.train.evaluate import Evaluation, evaluate, make_eval_step
from tlearn.train.loop import Event, Window
from tlearn.train.state import State

EVAL_BATCH = 64
"""Pictures of an evaluation batch, at least."""
REMEMBER = "remember"
"""The event of measuring what a source knew."""


class AfterStep:
    """The keeper of a run's record.

    All events of a step are written before its checkpoint is saved, so that a run that goes on
    from the checkpoint finds each of them written once.

    Attributes:
        step: Batches seen.
        validation: The last validation, if there was one.
    """

    def __init__(
        self,
        built: Built,
        checkpoints: Checkpoints,
        journal: Journal,
        window: Window,
        place: Callable[[dict[str, np.ndarray]], Any],
        devices: int = 1,
    ):
        """Begins before the first step.

        Args:
            built: The run.
            checkpoints: Where states go.
            journal: Where events go.
            window: The sums since the last event.
            place: Puts a batch on the devices.
            devices: How many these are.
        """
        self.step = 0
        self.validation: Evaluation | None = None
        self._built, self._checkpoints, self._journal = built, checkpoints, journal
        self._window, self._place = window, place
        self._line = built.program.timeline
        self._evaluate = make_eval_step(built.model, built.task.objective, built.task.kept)
        self._eval_batch = eval_batch_size(built.config, devices)
        self._stage = -1

    def begin(self, state: State, *, fresh: bool) -> None:
        """Takes the state that training starts or goes on from."""
        self.step, self._stage = int(state.step), int(state.stage)
        self._keep_frozen(state)
        if fresh:
            self._tell_stage(state)
            self.remember(state)

    def __call__(self, state: State, event: Event | None, speed: float) -> None:
        """Logs and saves what is due after a step.

        Args:
            state: After the step.
            event: The loop's event, if one is due.
            speed: Examples a second.
        """
        self.step += 1
        if self._line.stage(self.step - 1) != self._stage:
            self._stage = self._line.stage(self.step - 1)
            self._keep_frozen(state)
        if event is not None:
            stage = {"stage": event.stage} if len(self._built.plans) > 1 else {}
            self.write("train", state, stage | event.metrics, {"examples_per_s": round(speed, 1)})
        epoch_ends = self.step % self._line.steps_per_epoch == 0 or self.step == self._line.steps
        due = self.step % self._built.config.train.checkpoint_every == 0
        judged = epoch_ends and self._built.task.validation is not None
        if judged or due or self.step in self._line.starts:
            self._window.read()
            # A state stopped by a bad batch is behind this step; the loop will say so.
            if self._window.finite:
                self._at_mark(state, judged, due)

    def _at_mark(self, state: State, judged: bool, due: bool) -> None:
        if judged:
            self.validate(state)
        if judged and self.validation is not None:
            self.write("validation", state, self.validation.metrics)
        if self.step in self._line.starts:
            self._tell_stage(state)
        if due:
            self.save(state)

    def validate(self, state: State) -> None:
        """Evaluates on the validation part, if there is one."""
        part = self._built.task.validation
        if part is not None:
            self.validation = self.evaluate(state, part)

    def remember(self, state: State) -> None:
        """Measures what may be forgotten, at the beginning and at the end."""
        part, own = self._built.task.remember, self._built.source_task
        if part is not None:
            self.write(REMEMBER, state, self.evaluate(state, part).metrics)
        elif own is not None:
            found = own.measure(
                averaged(state),
                self._eval_batch,
                without=self._unlike(state) if self.step == 0 else (),
                place=self._place,
            )
            self.write(REMEMBER, state, found.metrics)

    def _unlike(self, state: State) -> frozenset[str]:
        """Paths that are not the source's as it was: drawn afresh, or kept in another dtype."""
        cast = {path for path, value in state.params.items() if value.dtype != jnp.float32}
        return self._built.fresh | cast

    def evaluate(self, state: State, part: Any) -> Evaluation:
        """Evaluates on a part of the data, with averaged weights where they are kept."""
        task = self._built.task
        batches = task.eval_batches(part, self._eval_batch)
        body: Any = self._built.model.body
        found = evaluate(
            self._evaluate,
            averaged(state),
            state.collections,
            batches,
            expected=getattr(batches, "examples_per_epoch", len(part)),
            place=self._place,
            unit=task.unit,
            carry=body.initial_carry(self._eval_batch) if task.streams else None,
        )
        more = task.metrics(found.predictions, found.labels)
        return dataclasses.replace(found, metrics=found.metrics | more)

    def write(
        self,
        event: str,
        state: State,
        values: Mapping[str, Any],
        timing: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes an event of this step."""
        self._journal.write(
            event,
            step=self.step,
            update=int(state.update),
            epoch=self.step / self._line.steps_per_epoch,
            values=values,
            timing=timing,
        )

    def save(self, state: State) -> None:
        """Saves a checkpoint of the state's own step, unless there is one."""
        extra = {"stage": int(state.stage), "window": self._window.read()}
        # A state that met a non-finite loss is saved as the sound one it was before.
        sound = dataclasses.replace(state, frozen={}, sound=jnp.ones((), bool))
        self._checkpoints.save(int(state.step), sound, extra, once=[f"frozen_{int(state.stage)}"])

    def _keep_frozen(self, state: State) -> None:
        """Keeps what a stage leaves frozen, once for all its checkpoints."""
        self._checkpoints.save_once(f"frozen_{self._stage}", state.frozen)

    def _tell_stage(self, state: State) -> None:
        """Writes that a stage begins, where there is more than one."""
        if len(self._built.plans) == 1:
            return
        number = self._line.stage(self.step)
        plan = self._built.plans[number]
        trained = plan.totals()["trained"]
        self.write("stage", state, {"stage": number, "trained": trained, "plan": plan.summary()})


def eval_batch_size(config: RunConfig, devices: int) -> int:
    """Rows of an evaluation batch of a run, as many on every device."""
    size = max(config.train.batch_size, EVAL_BATCH)
    return -(-size // devices) * devices


def averaged(state: State) -> dict[str, Any]:
    """All parameters of a state, averaged ones where averages are kept."""
    return {**state.params, **(state.ema or {})}
