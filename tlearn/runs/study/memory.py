"""What a study's runs forget: the source's own head on the source's own task, before and after."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tlearn import hub
from tlearn.model import Model, variables
from tlearn.params import FlatParams
from tlearn.runs.after_step import eval_batch_size
from tlearn.runs.config import RunConfig, replace
from tlearn.runs.language_scoring import scores_texts
from tlearn.runs.reading import Selection
from tlearn.runs.source_task import asked_source
from tlearn.runs.study.group import Group
from tlearn.runs.study.looks import source_statistics, whole_weights
from tlearn.runs.use import load
from tlearn.studies.block import Block

LOSS = "loss"
"""What is measured of language models, as of runs: all of them have it."""
_EXAMPLES = 256
"""Labelled examples of an evaluation batch."""


class LabelMemory:
    """What is left of telling a dataset's labels, by the source's own head.

    Attributes:
        metric: What is measured.
        reads_source: Whether it has to be given the source's body.
    """

    reads_source = True

    def __init__(self, group: Group, spec: str, metric: str):
        """Opens the data, before anything is trained.

        Args:
            group: The runs.
            spec: The dataset, with ``@SPLIT`` where it has several; of its labels those are kept
                that the source tells apart.
            metric: ``accuracy`` or ``loss``.

        Raises:
            ValueError: If another metric is asked for.
            HubError: If the source carries no head.
            DataError: If its labels are not those of the data.
        """
        if metric not in ("accuracy", "loss"):
            raise ValueError(f"remember measures accuracy or loss, not {metric}")
        loaded = load(group.configs[0].source)
        reader = loaded.reader()
        data, _, split = spec.partition("@")
        dataset = reader.open(Selection(data, split))
        names = loaded.source.label_names or ()
        known = tuple(name for name in dataset.label_names if name in names)
        if known and len(known) < len(dataset.label_names):
            dataset = reader.open(Selection(data, split, classes=known))
        self._dataset = reader.matched(dataset)
        self._batches = reader.batches(self._dataset, _EXAMPLES)
        self._group, self.metric = group, metric
        self._model = Model(group.whole.body, loaded.model.head)
        # The head alone is read: the body is the group's.
        weights = loaded.source.params.items()
        self._head = {p: jnp.asarray(v) for p, v in weights if p.startswith("head/")}
        self._sums = jax.jit(self._count)

    def __call__(self, block: Block, before: FlatParams, runs: int) -> list[dict[str, float]]:
        """The metric before and after, by run.

        Args:
            block: The runs, trained.
            before: The `source_body`, whole.
            runs: How many of the block's are asked for, from its first.
        """
        first = self._judge(before, source_statistics(self._group))
        return [
            {"before": first, "after": self._judge(*whole_weights(self._group, block, run))}
            for run in range(runs)
        ]

    def _count(self, params: Any, statistics: Any, given: Any, label: Any, mask: Any) -> Any:
        logits: Any = self._model.apply(variables(params, statistics), *given, train=False)
        logs = jax.nn.log_softmax(logits)
        loss = -jnp.take_along_axis(logs, label[:, None], axis=1)[:, 0]
        right = logits.argmax(-1) == label
        return {"loss": (loss * mask).sum(), "accuracy": (right * mask).sum()}

    def _judge(self, params: Mapping[str, Any], statistics: Mapping[str, Any]) -> float:
        total = 0.0
        body = {p: v for p, v in params.items() if p.startswith("body/")}
        # A target head that normalises has statistics too, which are no part of this model.
        own = {p: v for p, v in statistics.items() if p.startswith("body/")}
        for i in range(self._batches.steps_per_epoch):
            batch = self._batches.at(i)
            given = [batch[name] for name in self._model.body.inputs]
            found = self._sums({**body, **self._head}, own, given, batch["label"], batch["mask"])
            total += float(found[self.metric])
        return total / len(self._dataset)


class TextMemory:
    """What is left of a language model's own loss on a corpus, as a run alone measures it.

    Attributes:
        metric: What is measured.
        reads_source: Whether it has to be given the source's body.
    """

    metric = LOSS
    reads_source = False

    def __init__(self, group: Group, spec: str):
        """Opens the corpus, before anything is trained.

        Args:
            group: The runs.
            spec: The corpus, or ``source`` for what the source's own run was judged on.

        Raises:
            ValueError: As `tlearn.runs.source_task.asked_source`.
        """
        config = replace(group.configs[0], remember=spec)
        self._group = group
        self._asked = asked_source(config, group.weights.shapes)
        self._batch_size = eval_batch_size(config, config.train.devices or jax.device_count())
        self._before: float | None = None

    def __call__(self, block: Block, before: FlatParams, runs: int) -> list[dict[str, float]]:
        """The loss before and after, by run.

        Args:
            block: The runs, trained.
            before: Nothing: the source is read with its head.
            runs: How many of the block's are asked for, from its first.
        """
        if self._before is None:
            self._before = self._loss({})
        first = self._before
        return [
            {"before": first, "after": self._loss(whole_weights(self._group, block, run)[0])}
            for run in range(runs)
        ]

    def _loss(self, params: Mapping[str, Any]) -> float:
        return self._asked.measure(params, self._batch_size).metrics[self.metric]


def memory_of(group: Group, spec: str, metric: str) -> LabelMemory | TextMemory | None:
    """What measures forgetting for a group of runs; None if nothing is to be remembered.

    Args:
        group: The runs.
        spec: The dataset or corpus of the source's own task; empty for none.
        metric: The study's.

    Raises:
        ValueError: If it cannot be measured; nothing was trained.
    """
    if not spec:
        return None
    if scores_texts(hub.load(group.configs[0].source, read=False)):
        return TextMemory(group, spec)
    return LabelMemory(group, spec, metric)


def remembering(config: RunConfig, spec: str) -> RunConfig:
    """The config of a run by itself that measures what its study asks for.

    Args:
        config: The run.
        spec: The dataset or corpus of the source's own task; empty for none.

    Raises:
        ValueError: If the source's head knows labels: it is tried only where runs share a program.
    """
    if not spec:
        return config
    labels = config.objective.objective == "labels"
    if labels and not scores_texts(hub.load(config.source, read=False)):
        raise ValueError(
            f"remember={spec}: the head of {config.source} tells labels, which is measured of runs "
            "that share a program, and this run shares none (how=single, pull=fisher, or drawn "
            "examples with features=once): leave that or remember out"
        )
    return replace(config, remember=spec)
