"""The training loop: stages, logging, evaluation and checkpoints around a compiled step."""

import concurrent.futures
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlearn.model import Model
from tlearn.tracing import uncollected
from tlearn.train.state import SourceWeights, State, restage
from tlearn.train.step import COUNTED, Objective, Recipe, Step, compile_step, make_step
from tlearn.transfer.plan import Plan


class NonFiniteLoss(ArithmeticError):
    """A loss or gradient was NaN or infinite; the state before it was kept.

    Attributes:
        step: The step it happened at; `explain_non_finite` says more, given its batch.
    """

    def __init__(self, step: int):
        super().__init__(f"the loss or its gradient was not finite at step {step}")
        self.step = step


@dataclasses.dataclass(frozen=True)
class Timeline:
    """How long a training is and where its stages begin.

    Attributes:
        steps_per_epoch: Batches in a pass.
        steps: Batches in the whole training, a multiple of the accumulation.
        starts: First step of each stage; 0 first.
    """

    steps_per_epoch: int
    steps: int
    starts: tuple[int, ...] = (0,)

    def stage(self, step: int) -> int:
        """Index of the stage a step belongs to."""
        return sum(start <= step for start in self.starts) - 1


def timeline(
    plans: Sequence[Plan], *, steps_per_epoch: int, steps: int, accumulate: int = 1
) -> Timeline:
    """Lays the stages of a strategy out over a training of ``steps`` batches.

    Stages begin where an update ends; one that would get no step is an error.

    Raises:
        ValueError: If the training is too short for its stages, or ends within an update.
    """
    if steps < 1 or steps % accumulate:
        raise ValueError(
            f"a training of {steps} batches does not end with an update of {accumulate} batches; "
            f"train {max(steps - steps % accumulate, accumulate)}"
        )
    starts, at = [0], 0.0
    for plan in plans[:-1]:
        at += (plan.stage_epochs or 1.0) * steps_per_epoch
        starts.append(math.ceil(round(at) / accumulate) * accumulate)
    if len(set(starts)) < len(starts) or starts[-1] >= steps:
        raise ValueError(
            f"a training of {steps} steps ({steps / steps_per_epoch:.3g} epochs) is too short for "
            f"its {len(plans)} stages, which begin at steps {starts}; "
            "train longer or shorten stage_epochs"
        )
    return Timeline(steps_per_epoch, steps, tuple(starts))


@dataclasses.dataclass(frozen=True)
class Program:
    """A model under the stages of a strategy, with one compiled step a stage, made when needed.

    Attributes:
        model: The model.
        plans: The stages' plans.
        objective: The objective.
        recipe: Optimizer and what else is static.
        timeline: Length and stage boundaries.
    """

    model: Model
    plans: tuple[Plan, ...]
    objective: Objective
    recipe: Recipe
    timeline: Timeline
    _compiled: dict[int, Step] = dataclasses.field(default_factory=dict, repr=False)
    _ahead: list[concurrent.futures.Future] = dataclasses.field(default_factory=list, repr=False)

    def step(self, stage: int, shardings: Any = None) -> Step:
        """The compiled step of a stage."""
        concurrent.futures.wait(self._ahead)
        self._ahead.clear()
        if stage not in self._compiled:
            step = make_step(self.model, self.plans[stage], self.objective, self.recipe)
            self._compiled[stage] = compile_step(step, shardings=shardings)
        return self._compiled[stage]

    def compile_ahead(
        self, stage: int, state: State, batch: Mapping[str, Any], source: SourceWeights
    ) -> None:
        """Traces a stage's step, and compiles it in a thread of its own while others go on.

        Compiling, or fetching from the compile cache what another process compiled, needs no
        weights: they can be read meanwhile. `step` waits for it. Of arrays other than these the
        step is compiled when it is called, as ever.

        Args:
            stage: Index of the stage.
            state: A state, or its shapes, on one device.
            batch: A batch, or its shapes.
            source: Source weights for the pulls, or their shapes.
        """
        step: Any = self.step(stage)
        with uncollected():
            lowered = step.lower(state, batch, source)
        # JAX keeps what it compiled with what it lowered, and the step's call finds it there: also
        # an error is raised by that call.
        thread = concurrent.futures.ThreadPoolExecutor(1)
        self._ahead.append(thread.submit(lowered.compile))
        thread.shutdown(wait=False)


@dataclasses.dataclass(frozen=True)
class Event:
    """What the loop reports: means since the last report, at a step.

    Attributes:
        step: Batches seen.
        update: Optimizer updates taken.
        epoch: Passes over the data, a fraction.
        stage: Stage index.
        metrics: ``loss`` and the objective's metrics as means over examples; ``gradient_norm``,
            ``rate`` and ``pull_step`` of the last update (of the last step, if there was none).
    """

    step: int
    update: int
    epoch: float
    stage: int
    metrics: dict[str, float]


class Window:
    """Sums of a step's logs since the last report.

    Logs stay on the device until somebody asks, so that the host never waits for the step it has
    just sent off; asking more often changes no digit.

    Attributes:
        sums: What has been read so far, by name; JSON-able, and part of a checkpoint.
    """

    STILL = ("gradient_norm", "rate", "pull_step")

    def __init__(self, sums: Mapping[str, float] | None = None):
        self.sums: dict[str, float] = dict(sums or {})
        self.finite = True
        self._pending: list[dict[str, jax.Array]] = []

    def add(self, log: dict[str, jax.Array]) -> None:
        """Takes a step's log without reading it."""
        self._pending.append(log)

    def read(self) -> dict[str, float]:
        """Reads what is pending; waits for the device."""
        for log in jax.device_get(self._pending):
            if not log.pop("finite"):
                # The step changes nothing from the first bad one on: later logs say nothing.
                self.finite = False
                break
            updated = log.pop("updated")
            for name, value in log.items():
                if name not in self.STILL:
                    self.sums[name] = self.sums.get(name, 0.0) + float(value)
                elif updated or name not in self.sums:
                    self.sums[name] = float(value)
        self._pending.clear()
        return dict(self.sums)


def fit(
    program: Program,
    state: State,
    batches: Iterator[Mapping[str, Any]],
    source: SourceWeights,
    *,
    window: Window | None = None,
    report_every: int = 10,
    shardings: Callable[[State], Any] | None = None,
) -> Iterator[tuple[State, Event | None]]:
    """Trains from a state to the end of the timeline, yielding after every step.

    Args:
        program: Model, plans and compiled steps.
        state: Where to start; donated, so keep only the newest.
        batches: Batches on the device, from the state's step on.
        source: Source weights for the pulls.
        window: Where sums between events gather; pass a checkpoint's on resume.
        report_every: Steps between events; the last step always reports.
        shardings: Shardings of a state on a mesh, when the state is placed on one.

    Yields:
        The state after each step, and an event when one is due (None else).

    Raises:
        NonFiniteLoss: When a loss or gradient was not finite. The state yielded last is the one
            before that step, whose number it carries.
    """
    line = program.timeline
    window = Window() if window is None else window
    stage, step = int(state.stage), None
    if not state.sound:
        # A state that stopped at a bad batch is tried again: the batch may have been mended.
        state = dataclasses.replace(state, sound=jnp.logical_not(state.sound))
    for at in range(int(state.step), line.steps):
        if line.stage(at) != stage:
            window.read()
            if not window.finite:  # Before the state is rebuilt: it must stay as it was.
                break
            stage, step = line.stage(at), None
            state = restage(state, program.plans[stage], program.recipe.optimizer, stage)
            if shardings is not None:
                state = jax.device_put(state, shardings(state))
        if step is None:
            step = program.step(stage, None if shardings is None else shardings(state))
        state, log = step(state, next(batches), source)
        window.add(log)
        event = None
        if (at + 1) % report_every == 0 or at + 1 == line.steps:
            sums = window.read()
            if not window.finite:
                break
            event = _event(at + 1, int(state.update), stage, line, sums)
            window.sums.clear()
        yield state, event
    if not window.finite:
        yield state, None
        raise NonFiniteLoss(int(state.step))


def _event(step: int, update: int, stage: int, line: Timeline, sums: Mapping[str, float]) -> Event:
    still = {name: sums[name] for name in Window.STILL}
    means = means_of({name: value for name, value in sums.items() if name not in still})
    return Event(step, update, step / line.steps_per_epoch, stage, means | still)


def means_of(sums: Mapping[str, float]) -> dict[str, float]:
    """Divides sums by ``count``, or by the count of their own that stands beside them."""
    count = sums["count"]
    return {
        name: value / max(sums.get(name + COUNTED, count), 1.0)
        for name, value in sums.items()
        if name != "count" and not name.endswith(COUNTED)
    }


def explain_non_finite(step: int, batch: Mapping[str, np.ndarray]) -> str:
    """Says where a training stopped, on which examples, and what to do about it."""
    real = np.asarray(batch["mask"]) > 0
    ids = [int(i) for i in np.asarray(batch["index"])[real][:64]] if "index" in batch else []
    broken = [
        name
        for name, array in batch.items()
        if np.issubdtype(np.asarray(array).dtype, np.floating) and not np.isfinite(array).all()
    ]
    advice = (
        f"the batch itself holds non-finite numbers in {broken}: look at those examples"
        if broken
        else "the inputs are finite: lower the rate, warm up longer, clip the gradient, "
        "or compute in float32"
    )
    return (
        f"the loss or its gradient was not finite at step {step}; the weights were left as they "
        f"were before it. Examples of that batch: {ids}. Advice: {advice}"
    )
