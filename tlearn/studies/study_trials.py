"""What was tried before a study's reported runs, what was chosen, and how configs differ."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tlearn.studies.records import Record, Results
from tlearn.studies.statistics import Summary, summarize

_NOT_SETTINGS = frozenset({"seed", "per_class", "test_split"})
"""Fields in which runs of one setting differ: pilots have other seeds and no reported part."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """A setting of the nuisance factors that an arm's pilots tried."""

    setting: Mapping[str, Any]
    """The fields in which the arm's settings differ."""
    summary: Summary
    """Of the metric on validation, over pilot seeds."""
    chosen: bool
    edge: tuple[str, ...]
    """Fields whose number is the smallest or the largest of at least three tried."""

    def __str__(self) -> str:
        return setting_text(self.setting)


def trials(results: Results) -> dict[str, list[Trial]]:
    """Groups the pilots of every arm by setting, in the order they were made."""
    return {arm: found for arm in results.arms if (found := _trials(results, arm))}


def _trials(results: Results, arm: str) -> list[Trial]:
    pilots = [r for r in results.pilots if r.arm == arm]
    if not pilots:
        return []
    configs = [settings(r.config) for r in pilots]
    fields = [f for f in _fields(configs) if len({_key(c.get(f)) for c in configs}) > 1]
    grouped: dict[str, list[tuple[Record, dict[str, Any]]]] = {}
    for record, config in zip(pilots, configs, strict=True):
        setting = {field: config.get(field) for field in fields}
        grouped.setdefault(_key(setting), []).append((record, setting))
    reported = next((r for r in results.records if r.arm == arm), None)
    taken = settings(reported.config) if reported else {}
    ends = {field: _ends([c.get(field) for c in configs]) for field in fields}
    found = []
    for mine in grouped.values():
        setting = mine[0][1]
        scores = {r.seed: r.validation.get(results.metric) if r.finished else None for r, _ in mine}
        chosen = bool(taken) and all(_key(taken.get(f)) == _key(v) for f, v in setting.items())
        edge = tuple(f for f, v in setting.items() if v in ends[f])
        found.append(Trial(setting, summarize(scores), chosen, edge))
    return found


def _ends(values: Sequence[Any]) -> tuple[Any, ...]:
    """The smallest and the largest of at least three different numbers; else nothing."""
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        return ()
    different = sorted(set(values))
    return (different[0], different[-1]) if len(different) > 2 else ()


def best(found: Sequence[Trial], *, higher_is_better: bool) -> Trial | None:
    """The setting with the best mean on validation."""
    known = [t for t in found if t.summary.mean is not None]
    sign = 1 if higher_is_better else -1
    return max(known, key=lambda t: sign * (t.summary.mean or 0.0), default=None)


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config's fields by dotted path, without those that are no setting."""
    flat = flatten(config)
    return {k: v for k, v in flat.items() if k.rsplit(".", 1)[-1] not in _NOT_SETTINGS}


def flatten(config: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """The config's fields by dotted path."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= flatten(value, f"{above}{name}.")
        else:
            found[f"{above}{name}"] = value
    return found


def config_difference(first: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The fields in which another config differs from the first, with the other's values."""
    one, two = flatten(first), flatten(other)
    return {
        field: two.get(field)
        for field in {**one, **two}
        if _key(one.get(field)) != _key(two.get(field))
    }


def setting_text(setting: Mapping[str, Any]) -> str:
    """Says fields and values, paths shortened to the field's own name where that is clear."""
    last = [path.rsplit(".", 1)[-1] for path in setting]
    return "; ".join(
        f"{name if last.count(name) == 1 else path} = {_value(value)}"
        for (path, value), name in zip(setting.items(), last, strict=True)
    )


def _value(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return value if isinstance(value, str) and value else json.dumps(value, default=str)


def _fields(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(field for config in configs for field in config))


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
