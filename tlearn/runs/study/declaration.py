"""A study as data: a base config, what is varied, which seeds, how much data, what is measured."""

import dataclasses
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from tlearn.params.paths import nearest
from tlearn.runs.config import RunConfig, from_json, replace, to_json
from tlearn.runs.study.factors import Factor, factor_problems

FORMAT = 1
How = Literal["auto", "map", "vmap", "single"]
MEASURES = ("distance", "cka")


@dataclasses.dataclass(frozen=True)
class Arm:
    """One combination of the scientific factors' levels."""

    name: str
    levels: Mapping[str, str]
    changes: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a study, before it is run.

    Attributes:
        arm: The arm.
        trial: Nuisance factors and their levels.
        seed: The seed.
        labels: Labels per class; 0 for all.
        role: ``pilot`` or ``reported``.
        config: What is run.
    """

    arm: Arm
    trial: Mapping[str, str]
    seed: int
    labels: int
    role: Literal["pilot", "reported"]
    config: RunConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """Arms × seeds × amounts of labels.

    Attributes:
        name: Short, for folders and tables.
        title: Of the report.
        base: The config that all runs share; its ``test_split`` is what is reported.
        factors: What is varied.
        seeds: Paired runs of every arm.
        reference: The arm the others are compared with; the first if empty.
        labels: Amounts of labels per class; 0 for all.
        shown: The amount of the main table; the first of `labels` if None.
        pilot_seeds: Seeds of the runs that choose nuisance levels; none of them is reported.
        tune_at: The amount of labels at which they are chosen; `shown` if None.
        metric: What is compared, as tasks call it.
        higher_is_better: False for losses and errors.
        points: How often the validation part is looked at along a run, equally far apart.
        how: ``vmap`` trains the runs that share a program at once, ``map`` one after another inside
            it, ``single`` each by itself; ``auto`` takes what suits the device.
        measures: What is measured beside it: ``distance`` from the source and ``cka`` with its
            features, by layer.
        remember: A dataset of the source's own task, as ``SPEC`` or ``SPEC@SPLIT``, on which the
            source's head is tried before and after; for a language model a corpus, or ``source``
            for what its own run was judged on. Of a run that learns a corpus, its own head.
        question: What the study asks.
        claim: What is published about it.
        notes: What else a reader should know.
        unit_runs: Runs that are trained and kept together, at most.
        budget_minutes: A study whose forecast is longer is not begun; 0 for no limit.

    Raises:
        ValueError: Naming all that does not fit, before anything is read.
    """

    name: str
    title: str
    base: RunConfig
    factors: tuple[Factor, ...]
    seeds: tuple[int, ...]
    reference: str = ""
    labels: tuple[int, ...] = (0,)
    shown: int | None = None
    pilot_seeds: tuple[int, ...] = (100, 101)
    tune_at: int | None = None
    metric: str = "accuracy"
    higher_is_better: bool = True
    points: int = 4
    how: How = "auto"
    measures: tuple[str, ...] = ("distance",)
    remember: str = ""
    question: str = ""
    claim: str = ""
    notes: tuple[str, ...] = ()
    unit_runs: int = 64
    budget_minutes: float = 0.0

    def __post_init__(self):
        problems = [*factor_problems(self.factors), *self._problems()]
        if not problems:
            problems = self._arm_problems()
        if problems:
            raise ValueError(
                f"the study {self.name!r} cannot be run:\n  " + "\n  ".join(dict.fromkeys(problems))
            )

    @property
    def arms(self) -> tuple[Arm, ...]:
        """All combinations of the scientific factors' levels, in order."""
        scientific = [f for f in self.factors if f.role == "scientific"]
        arms = []
        for picked in itertools.product(*(f.levels for f in scientific)):
            levels = {f.name: level for f, level in zip(scientific, picked, strict=True)}
            changes: dict[str, Any] = {}
            for factor in scientific:
                changes |= factor.levels[levels[factor.name]]
            arms.append(Arm(", ".join(picked) or self.name, levels, changes))
        return tuple(arms)

    @property
    def compared_with(self) -> str:
        """Name of the reference arm."""
        return self.reference or self.arms[0].name

    @property
    def main_labels(self) -> int:
        """Labels per class of the main table."""
        return self.labels[0] if self.shown is None else self.shown

    @property
    def tuned_labels(self) -> int:
        """Labels per class at which nuisance levels are chosen."""
        return self.main_labels if self.tune_at is None else self.tune_at

    def nuisances(self, arm: str) -> tuple[Factor, ...]:
        """The factors that are tuned for an arm."""
        return tuple(
            f for f in self.factors if f.role == "nuisance" and (not f.only or arm in f.only)
        )

    def trials(self, arm: str) -> list[dict[str, str]]:
        """All combinations of nuisance levels of an arm; one, empty, if nothing is tuned."""
        factors = self.nuisances(arm)
        return [
            {f.name: level for f, level in zip(factors, picked, strict=True)}
            for picked in itertools.product(*(f.levels for f in factors))
        ]

    def pilots(self) -> Iterator[Cell]:
        """The runs that choose nuisance levels; none where an arm leaves nothing to choose."""
        for arm in self.arms:
            trials = self.trials(arm.name)
            for trial in trials if len(trials) > 1 else ():
                for seed in self.pilot_seeds:
                    yield self._cell(arm, trial, seed, self.tuned_labels, "pilot")

    def reported(self, chosen: Mapping[str, Mapping[str, str]]) -> Iterator[Cell]:
        """The runs that are reported, given the nuisance levels of every arm."""
        for arm in self.arms:
            for labels in self.labels:
                for seed in self.seeds:
                    yield self._cell(arm, chosen[arm.name], seed, labels, "reported")

    def varied(self) -> frozenset[str]:
        """Config fields that factors set."""
        return frozenset().union(*(f.fields for f in self.factors))

    def _cell(
        self,
        arm: Arm,
        trial: Mapping[str, str],
        seed: int,
        labels: int,
        role: Literal["pilot", "reported"],
    ) -> Cell:
        changes: dict[str, Any] = {}
        for factor in self.factors:
            if factor.role == "fixed":
                changes |= next(iter(factor.levels.values()))
        changes |= arm.changes
        for factor in self.nuisances(arm.name):
            changes |= factor.levels[trial[factor.name]]
        if role == "pilot":
            # What a run is not given it cannot read.
            changes["test_split"] = ""
        config = replace(self.base, **{**changes, "seed": seed, "per_class": labels})
        return Cell(arm, trial, seed, labels, role, config)

    def _problems(self) -> list[str]:
        """What is wrong with the study's own fields."""
        problems = []
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", self.name):
            problems.append(f"name {self.name!r}: small letters, digits, - and _")
        if not self.base.data.test_split:
            problems.append("base.data.test_split is empty: there is nothing to report")
        if self.base.data.validation.strip() in ("", "0%"):
            problems.append("base.data.validation is empty: choices and curves need such a part")
        for what in ("seeds", "labels", "pilot_seeds"):
            values = getattr(self, what)
            if len(set(values)) < len(values) or (not values and what != "pilot_seeds"):
                problems.append(f"{what} {values}: give at least one, each once")
            if any(value < 0 for value in values):
                problems.append(f"{what} {values}: none may be below 0")
        both = sorted(set(self.seeds) & set(self.pilot_seeds))
        tuned = any(f.role == "nuisance" for f in self.factors)
        if tuned and both:
            problems.append(f"pilot seeds {both} are reported too: choose on other seeds")
        if tuned and not self.pilot_seeds:
            problems.append("there are nuisance factors, and no pilot_seeds to choose by")
        for what in ("shown", "tune_at"):
            value = getattr(self, what)
            if value is not None and value not in self.labels and what == "shown":
                problems.append(f"shown is {value}, which is none of labels {self.labels}")
            if value is not None and value < 0:
                problems.append(f"{what} is {value}; it must be at least 0")
        for what in ("points", "unit_runs"):
            if getattr(self, what) < 1:
                problems.append(f"{what} is {getattr(self, what)}; it must be at least 1")
        if not self.budget_minutes >= 0:
            problems.append(f"budget_minutes is {self.budget_minutes}; it must be at least 0")
        for measure in self.measures:
            if measure not in MEASURES:
                problems.append(f"measure {measure!r}: there are {', '.join(MEASURES)}")
        if self.remember and not self.base.source:
            problems.append("remember needs a source in the base, whose head is tried")
        return problems

    def _arm_problems(self) -> list[str]:
        """What is wrong with arms and their configs."""
        problems = []
        names = [arm.name for arm in self.arms]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            problems.append(f"several arms are called {', '.join(twice)}: name levels apart")
        if self.reference and self.reference not in names:
            close = nearest(self.reference, names) or names
            problems.append(
                f"the reference {self.reference!r} is no arm; closest: {', '.join(close)}"
            )
        for factor in self.factors:
            for arm in factor.only:
                if arm not in names:
                    close = ", ".join(nearest(arm, names) or names)
                    problems.append(
                        f"factor {factor.name!r} is for {arm!r}, no arm; closest: {close}"
                    )
        for arm in self.arms:
            for trial in self.trials(arm.name):
                try:
                    cell = self._cell(arm, trial, self.seeds[0], self.labels[0], "reported")
                    from_json(to_json(cell.config))
                    asked = cell.config.objective
                    labels = asked.objective == "labels"
                    # The same beside it does no harm: stores are read only by what names a corpus.
                    if asked.remember not in ("", self.remember) and (labels or self.remember):
                        problems.append(
                            f"remember={asked.remember} of a run's objective: give it as the "
                            "study's own remember, which is measured of all its runs"
                        )
                except ValueError as error:
                    told = " ".join(str(error).split())
                    problems.append(f"arm {arm.name!r}{_trial_text(trial)}: {told}")
        return problems


def to_values(study: Study) -> dict[str, Any]:
    """The study as JSON-able values."""
    values = dataclasses.asdict(dataclasses.replace(study))
    values["base"] = to_json(study.base)
    return json.loads(json.dumps({"format": FORMAT, **values}))


def from_values(values: Mapping[str, Any]) -> Study:
    """Builds a study from what `to_values` gave.

    Raises:
        ValueError: If it is of another format, or does not fit.
    """
    given = dict(values)
    found = given.pop("format", None)
    if found != FORMAT:
        raise ValueError(f"a study of format {found}; this version of tlearn reads {FORMAT}")
    fields = {field.name for field in dataclasses.fields(Study)}
    unknown = sorted(given.keys() - fields)
    if unknown:
        raise ValueError(f"unknown keys of a study: {', '.join(unknown)}")
    given["base"] = from_json(given["base"])
    given["factors"] = tuple(
        Factor(f["name"], _tupled(f["levels"]), f["role"], tuple(f["only"]))
        for f in given["factors"]
    )
    for name in ("seeds", "labels", "pilot_seeds", "measures", "notes"):
        given[name] = tuple(given[name])
    return Study(**given)


def _tupled(levels: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        level: {f: tuple(v) if isinstance(v, list) else v for f, v in changes.items()}
        for level, changes in levels.items()
    }


def _trial_text(trial: Mapping[str, str]) -> str:
    return f" ({', '.join(f'{f} {level}' for f, level in trial.items())})" if trial else ""
