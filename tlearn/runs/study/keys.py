"""What a study's runs are known by, and which of them share one compiled program."""

import functools
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlearn.data.places import named_split
from tlearn.runs.config import BOOKKEEPING, RunConfig, replace, to_json
from tlearn.runs.fingerprint import fingerprint, specs_of
from tlearn.runs.objective_config import SOURCE
from tlearn.runs.study import FORMAT, Cell, Study

_PULLED = ("pull_strength", "pull_layers")
"""The same for runs that are pulled, or could be, in one form and way."""
_AMOUNTS = ("per_class", "labelled")
# Numbers of the state, and what only the record of a run depends on.
_NEUTRAL: dict[str, Any] = {
    "rate": 1.0,
    "weight_decay": 0.0,
    "head_decay": -1.0,
    "layer_decay": 1.0,
    "head_rate": 1.0,
    "rates": "",
    "pull_strength": 0.0,
    "pull_layers": "",
    "fresh": "",
    "seed": 0,
    "per_class": 0,
    "labelled": 0,
    "report_every": 1,
    "checkpoint_every": 1,
    "keep": 1,
    "workers": 0,
}


def run_key(study: Study, cell: Cell) -> str:
    """Digest of all that decides a run's figures: equal keys are the same run.

    Config, looks, measures, and what is in the files; neither names of arms nor other runs, so arms
    and seeds can be added to a study without losing what is there.
    """
    config = replace(cell.config, **{name: _NEUTRAL[name] for name in BOOKKEEPING})
    decides = {
        "format": FORMAT,
        "config": _written(config),
        "points": study.points,
        "metric": study.metric,
        "how": study.how,
        "measures": sorted(study.measures),
        "remember": study.remember,
        "files": {spec: _print_of(spec) for spec in _specs(cell.config, study)},
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:24]


def _written(config: RunConfig) -> dict[str, Any]:
    written = to_json(config)
    # Younger than studies that are kept, whose runs are what they were.
    if config.data.errors == "strict":
        del written["data"]["errors"]
    return written


def program_key(config: RunConfig) -> str:
    """Text that runs have in common which can train in one program."""
    names = [name for name in _NEUTRAL if name not in (*_PULLED, *_AMOUNTS, "fresh")]
    if config.strategy.pull in ("features", "logits"):
        # Without strength there is no such pull in the step at all.
        if config.strategy.pull_strength > 0:
            names.append("pull_strength")
    elif config.strategy.pull != "fisher":
        names += _PULLED
    if config.source and config.train.features == "each-step":
        # What is drawn afresh is a matter of the first state.
        names.append("fresh")
    if _counts_updates(config):
        names += _AMOUNTS
    neutral = replace(config, **{name: _NEUTRAL[name] for name in names})
    return json.dumps(to_json(neutral), sort_keys=True)


def shares(config: RunConfig) -> bool:
    """Whether runs of such a config can train in one program at all."""
    augmented = config.data.augment != "none" or config.data.mix != "none"
    return (
        config.objective.objective == "labels"
        and config.strategy.pull != "fisher"
        and not (augmented and config.train.features == "once")
    )


def groups(cells: Sequence[tuple[str, Cell]], how: str) -> list[list[str]]:
    """Sorts runs by the program they share, in order of their first; alone where they share none.

    Args:
        cells: Keys and runs.
        how: The study's; ``single`` shares nothing.
    """
    found: dict[str, list[str]] = {}
    for key, cell in cells:
        alone = how == "single" or not shares(cell.config)
        found.setdefault(key if alone else f"{cell.role} {program_key(cell.config)}", []).append(
            key
        )
    return list(found.values())


def _counts_updates(config: RunConfig) -> bool:
    """Whether a run is as long with any amount of data, in updates and stages."""
    unit = re.search(r"[a-z]+$", config.train.length.strip())
    timed = config.optimizer.schedule + config.strategy.pull_schedule
    return (
        unit is not None
        and unit.group() in ("st", "ex")
        and config.strategy.unfreeze == "none"
        and re.search(r"\dep", timed) is None
    )


def _specs(config: RunConfig, study: Study) -> list[str]:
    remembered = {config.objective.remember, study.remember}
    found = {*specs_of(config), *(remembered - {SOURCE})} - {""}
    if SOURCE in remembered:
        found |= set(_judged_on(config.source))
    return sorted(found)


@functools.lru_cache(maxsize=256)
def _judged_on(source: str) -> tuple[str, ...]:
    """Names of the corpora that hold what a source's own run was judged on, if it was a run."""
    from tlearn import hub
    from tlearn.runs.made_by import config_of

    was = config_of(hub.load(source, read=False)) if source else None
    if was is None:
        return ()
    specs = (was.data.data, was.data.validation)
    return tuple(spec for spec in specs if spec and not spec.endswith("%"))


def _print_of(spec: str) -> str:
    """Digest of the files behind a name; of a run only its model, the rest is bookkeeping."""
    kind, colon, place = spec.partition(":")
    if colon and kind == "run":
        spec = str(Path(place).expanduser() / "model")
    # A split behind @ is part of the name, which the config has.
    return _fingerprint(named_split(spec)[0])


@functools.lru_cache(maxsize=256)
def _fingerprint(spec: str) -> str:
    return fingerprint(spec)
