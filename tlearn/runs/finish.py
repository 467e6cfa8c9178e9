"""The end of a run: the test figures, the model, the report."""

import json
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from tlearn import hub
from tlearn.bodies import describe as describe_body
from tlearn.heads import describe as describe_head
from tlearn.runs.after_step import REMEMBER, AfterStep, averaged
from tlearn.runs.build import Built
from tlearn.runs.config import RunConfig, to_json
from tlearn.runs.folder import RunFolder
from tlearn.runs.summary import write_summary
from tlearn.runs.writers import read_metrics
from tlearn.train.evaluate import Evaluation
from tlearn.train.loop import Timeline
from tlearn.train.schedules import parse
from tlearn.train.state import State
from tlearn.transfer.optimizer import Optimizer
from tlearn.transfer.plan import Plan
from tlearn.transfer.pull import total_pull


def finish(
    built: Built, folder: RunFolder, state: State, after: AfterStep, wall_s: float
) -> tuple[Evaluation | None, Evaluation | None]:
    """Writes the model and the final report; reads the test part, once.

    Cut short and done again it leaves the same record.

    Args:
        built: The run.
        folder: Its folder.
        state: The last state.
        after: The keeper of its record.
        wall_s: Seconds this process has spent on the run.

    Returns:
        The last validation and the test figures, where there are such parts.
    """
    if after.validation is None:  # Resumed after the last one, which is in the record already.
        after.validate(state)
    test = None
    if built.task.test is not None:
        test = after.evaluate(state, built.task.test)
        if not read_metrics(folder.metrics, "test"):
            after.write("test", state, test.metrics)
    measured = read_metrics(folder.metrics, REMEMBER)
    asked = built.task.remember is not None or built.source_task is not None
    if len(measured) < 2 and asked:
        after.remember(state)
        measured = read_metrics(folder.metrics, REMEMBER)
    hub.save_model(folder.path, as_source(built, state))
    write_summary(
        folder,
        config=built.config,
        plans=built.plans,
        task=built.task,
        validation=after.validation,
        test=test,
        step=after.step,
        pull=pull_in_all(
            built.config,
            built.plans,
            built.program.timeline,
            built.program.recipe.optimizer,
        ),
        remembered=measured,
        wall_s=wall_s,
        command=_command(sys.argv[1:]),
    )
    return after.validation, test


def pull_in_all(
    config: RunConfig, plans: Sequence[Plan], line: Timeline, optimizer: Optimizer
) -> float | None:
    """Σ η·λ over the updates, of the parameter pulled hardest: what makes two pulls comparable.

    Args:
        config: What was asked.
        plans: The stages' plans.
        line: Their lengths.
        optimizer: With the run's rate.
    """
    strength = config.strategy.pull_strength
    if strength == 0:
        return None
    total = line.steps // config.train.accumulate
    updates = jnp.arange(total)
    courses = [optimizer.schedule, parse(config.strategy.pull_schedule)]
    rate, course = (jax.vmap(lambda u, c=c: c.multiplier(u, total))(updates) for c in courses)
    hardest = [max(row.rate * row.pull for row in p.rows if row.trainable) for p in plans]
    stages = [line.stage(u * config.train.accumulate) for u in range(total)]
    rates = np.asarray(rate) * [hardest[stage] for stage in stages] * optimizer.rate
    return total_pull(rates, strength * np.asarray(course))


def as_source(built: Built, state: State) -> hub.Source:
    """A trained state as somebody's source."""
    weights, statistics = jax.device_get((averaged(state), state.collections))
    return hub.Source(
        params={path: np.asarray(value) for path, value in weights.items()},
        collections={path: np.asarray(value) for path, value in statistics.items()},
        body=describe_body(built.model.body),
        head=describe_head(built.model.head),
        label_names=built.task.label_names or None,
        facts=built.task.facts,
        files=built.task.files,
        provenance={
            "trained_by": "tlearn",
            "from": built.config.source or "fresh weights",
            "source_digests": dict(built.report.digests) if built.report is not None else {},
            "data": built.digests,
            "licence": built.licence,
            "origin": built.origin,
            "config": json.loads(json.dumps(to_json(built.config))),
        },
    )


def _command(args: Sequence[str]) -> str:
    import shlex

    return shlex.join(["tlearn", *args])
