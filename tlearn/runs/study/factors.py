"""What a study varies: factors, their levels, and whether they go together."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tlearn.params.paths import nearest
from tlearn.runs.config import RunConfig

FactorRole = Literal["scientific", "nuisance", "fixed"]
_OWN = {
    "seed": "seeds",
    "per_class": "labels",
    "devices": "the engine",
    "checkpoint_every": "the engine",
    "report_every": "points",
}
"""Fields that a study sets by itself, and by what."""


@dataclasses.dataclass(frozen=True)
class Factor:
    """What a study varies.

    Attributes:
        name: Of the factor.
        levels: What each level changes, ``{level: {config field: value}}``.
        role: ``scientific``: its levels are compared; ``nuisance``: the best is chosen for every
            arm, on validation, by pilot runs; ``fixed``: one level, the same for all (Godbole et
            al. 2023, Deep Learning Tuning Playbook).
        only: Arms that a nuisance factor is for; all if empty.

    Example:
        >>> Factor.over("rate", (0.01, 0.1), role="nuisance").levels
        {'0.01': {'rate': 0.01}, '0.1': {'rate': 0.1}}
    """

    name: str
    levels: Mapping[str, Mapping[str, Any]]
    role: FactorRole = "scientific"
    only: tuple[str, ...] = ()

    @classmethod
    def over(
        cls,
        field: str,
        values: Sequence[Any],
        *,
        role: FactorRole = "scientific",
        only: tuple[str, ...] = (),
    ) -> "Factor":
        """A factor over the values of one config field."""
        levels = {_short(value): {field: value} for value in values}
        if len(levels) < len(values):
            raise ValueError(f"factor {field!r} has a value twice: {list(values)}")
        return cls(field, levels, role, only)

    @property
    def fields(self) -> frozenset[str]:
        """Config fields that it sets."""
        return frozenset(field for changes in self.levels.values() for field in changes)


def factor_problems(factors: Sequence[Factor]) -> list[str]:
    """What is wrong with factors: names, empty ones, fields that two of them set."""
    problems = []
    names = [factor.name for factor in factors]
    for name in sorted({n for n in names if names.count(n) > 1}):
        problems.append(f"two factors are called {name!r}")
    known = _known_fields()
    for factor in factors:
        if not factor.levels:
            problems.append(f"factor {factor.name!r} has no levels")
        if factor.role not in ("scientific", "nuisance", "fixed"):
            problems.append(f"factor {factor.name!r}: role {factor.role!r} is none of the three")
        if factor.role == "fixed" and len(factor.levels) > 1:
            problems.append(f"factor {factor.name!r} is fixed, and has {len(factor.levels)} levels")
        if factor.only and factor.role != "nuisance":
            problems.append(f"factor {factor.name!r}: only a nuisance factor is for some arms")
        for field in sorted(factor.fields):
            if field in _OWN:
                problems.append(f"factor {factor.name!r} sets {field}, which {_OWN[field]} decides")
            elif field not in known:
                close = ", ".join(nearest(field, known)) or "none (tlearn finetune --help)"
                problems.append(
                    f"factor {factor.name!r} sets {field!r}, which no config has; closest: {close}"
                )
    for one, other in itertools.combinations(factors, 2):
        shared = sorted(one.fields & other.fields)
        apart = one.only and other.only and not set(one.only) & set(other.only)
        if shared and not apart:
            problems.append(f"factors {one.name!r} and {other.name!r} both set {', '.join(shared)}")
    return problems


def _known_fields() -> list[str]:
    """Names of all fields of a run's config."""
    fields = []
    for group in dataclasses.fields(RunConfig):
        kind: Any = group.type
        fields += (
            [field.name for field in dataclasses.fields(kind)]
            if dataclasses.is_dataclass(kind)
            else [group.name]
        )
    return fields


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
