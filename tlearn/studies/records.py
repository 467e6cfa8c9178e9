"""What a study keeps of its runs, and all that its report is made of."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tlearn.studies.contents import Cost

Role = Literal["pilot", "reported"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One run.

    Attributes:
        key: Digest of all that decides its figures.
        arm: The arm it belongs to.
        levels: Scientific factors and their levels.
        values: Config fields that are numbers and vary in the study.
        seed: Of weights, order, subset and dropout; equal seeds are pairs.
        labels: Labels per class; 0 for all.
        role: ``pilot`` runs choose nuisance levels and never read the test part.
        state: Whether it ended with finite figures.
        error: What went wrong, if it failed.
        metrics: Figures of the reported part, read once, at the end; empty for pilots.
        validation: Figures of the validation part at the end.
        at: Updates at which the validation part was looked at.
        curve: The study's metric there.
        distance: ‖w − w_source‖ of every body layer; empty where not measured.
        cka: Linear CKA with the source's features, by layer; empty where not measured.
        remembered: A figure on the source's own task, ``before`` and ``after``; empty where not
            measured.
        remembered_metric: What figure that is: of language models the loss, else the study's
            metric; empty for the study's too.
        pull: Σ η·λ over the updates; None without a pull.
        cost: What this one run cost.
        plan: Its plan in one line.
        config: The whole config.
        retried: How often it was tried again.
    """

    key: str
    arm: str
    seed: int
    role: Role
    state: Literal["finished", "failed"]
    config: Mapping[str, Any]
    levels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)
    labels: int = 0
    error: str = ""
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    validation: Mapping[str, float] = dataclasses.field(default_factory=dict)
    at: tuple[int, ...] = ()
    curve: tuple[float, ...] = ()
    distance: Mapping[str, float] = dataclasses.field(default_factory=dict)
    cka: Mapping[str, float] = dataclasses.field(default_factory=dict)
    remembered: Mapping[str, float] = dataclasses.field(default_factory=dict)
    remembered_metric: str = ""
    pull: float | None = None
    cost: Cost = Cost()
    plan: str = ""
    retried: int = 0

    @property
    def finished(self) -> bool:
        """Whether its figures count."""
        return self.state == "finished"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """A study's runs and what is said about them.

    Attributes:
        title: Of the report.
        question: What the study asks.
        claim: What is published about it; empty for nothing.
        command: What to type to get this again.
        date: Of the report.
        versions: Of what it was made with.
        protocol: How it was done, a sentence each.
        metric: What the figures are.
        higher_is_better: False for losses and errors.
        reference: The arm the others are compared with.
        arms: All arms, in order.
        shown: Labels per class of the main table; 0 for all.
        records: The reported runs, failed ones included.
        pilots: The runs that nuisance levels were chosen by.
        chosen: The levels chosen, ``{arm: {factor: level}}``.
        plan_differences: What the arm's plan does otherwise than the reference's.
        test_examples: How many the reported part has.
        predictions: By key, 1 for every reported example that was right, ``[n]``; may be empty.
        notes: What else a reader should know.
        untouched: Whether the reported part was read once a run, and by no pilot.
    """

    title: str
    command: str
    date: str
    versions: Mapping[str, str]
    protocol: Sequence[str]
    metric: str
    reference: str
    arms: tuple[str, ...]
    records: Sequence[Record]
    shown: int = 0
    question: str = ""
    claim: str = ""
    higher_is_better: bool = True
    pilots: Sequence[Record] = ()
    chosen: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    plan_differences: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    test_examples: int | None = None
    predictions: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()
    untouched: bool = True

    def scores(self, labels: int | None = None) -> dict[str, dict[int, float | None]]:
        """The metric by arm and seed at one amount of labels; None for runs that failed."""
        at = self.shown if labels is None else labels
        return {
            arm: {
                r.seed: r.metrics.get(self.metric) if r.finished else None
                for r in self.records
                if r.arm == arm and r.labels == at
            }
            for arm in self.arms
        }

    @property
    def points(self) -> tuple[int, ...]:
        """All amounts of labels, all of them (0) last."""
        return tuple(sorted({r.labels for r in self.records}, key=lambda n: (n == 0, n)))


def to_json(record: Record) -> dict[str, Any]:
    """The record as JSON-able values."""
    return dataclasses.asdict(record)


def from_json(values: Mapping[str, Any]) -> Record:
    """Builds a record from what `to_json` gave."""
    given = dict(values)
    given["cost"] = Cost(**given["cost"])
    for name in ("at", "curve"):
        given[name] = tuple(given[name])
    return Record(**given)
