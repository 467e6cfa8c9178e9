"""What each parameter will do: one row for every parameter, decided before anything compiles."""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tlearn.params import FlatParams, RuleError, layer_of, resolve, table
from tlearn.transfer.pull import Pull
from tlearn.transfer.strategy import (
    Strategy,
    fresh_layers,
    frozen_layers,
    stages,
)

UNDECAYED = ("bias", "scale")
"""Last path parts of parameters without weight decay: biases and normalisation scales."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What one parameter will do.

    Attributes:
        path: Its name.
        shape: Its shape.
        layer: Its layer, ``head`` for the head.
        init: ``loaded`` from the source or ``fresh``.
        trainable: Whether it is differentiated at all.
        rate: Factor on the learning rate.
        decay: Weight decay toward zero per unit rate.
        pull: Factor on the pull's strength; 0 for none.
    """

    path: str
    shape: tuple[int, ...]
    layer: str
    init: str
    trainable: bool
    rate: float
    decay: float
    pull: float

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A row for every parameter and a mode for every layer; frozen, printable, comparable.

    Attributes:
        rows: One row per parameter, sorted by path.
        modes: ``(layer, mode)`` from input to output: ``train``, ``eval`` or ``statistics``.
        pull: The pull's form, way and strength.
        stage_epochs: Length when the plan is one stage of several; None for the rest.
    """

    rows: tuple[Row, ...]
    modes: tuple[tuple[str, str], ...]
    pull: Pull
    stage_epochs: float | None = None

    @property
    def trainable(self) -> tuple[str, ...]:
        """Paths of the parameters that train, sorted."""
        return tuple(row.path for row in self.rows if row.trainable)

    @property
    def frozen(self) -> tuple[str, ...]:
        """Paths of the parameters that do not move, sorted."""
        return tuple(row.path for row in self.rows if not row.trainable)

    @property
    def pulled(self) -> tuple[str, ...]:
        """Paths of the parameters that are pulled toward the source, sorted."""
        return tuple(row.path for row in self.rows if row.trainable and row.pull > 0)

    @property
    def train_layers(self) -> frozenset[str]:
        """Layers that run in training mode: dropout on, BatchNorm on batch statistics."""
        return frozenset(layer for layer, mode in self.modes if mode != "eval")

    @property
    def frozen_depth(self) -> int:
        """Number of layers from the input up with nothing to train and running in eval mode."""
        live = {row.layer for row in self.rows if row.trainable}
        depth = 0
        for layer, mode in self.modes:
            if layer in live or mode != "eval":
                break
            depth += 1
        return depth

    def numbers(self) -> dict[str, np.ndarray]:
        """The plan's numbers, as arrays over `trainable`: ``rate``, ``decay`` and ``pull``.

        They are kept in the training state, so that runs differing in numbers only share one
        compiled step. ``rate`` holds factors; ``pull`` holds strength times factor.
        """
        rows = [row for row in self.rows if row.trainable]
        columns = {
            "rate": [row.rate for row in rows],
            "decay": [row.decay for row in rows],
            "pull": [row.pull * self.pull.strength for row in rows],
        }
        return {name: np.asarray(values, np.float32) for name, values in columns.items()}

    def totals(self, optimizer_slots: int = 2) -> dict[str, int]:
        """Counts parameters and the bytes their optimizer state will take in float32."""
        trained = sum(row.size for row in self.rows if row.trainable)
        return {
            "parameters": sum(row.size for row in self.rows),
            "trained": trained,
            "fresh": sum(row.size for row in self.rows if row.init == "fresh"),
            "pulled": sum(row.size for row in self.rows if row.trainable and row.pull > 0),
            "optimizer_bytes": 4 * trained * optimizer_slots,
        }

    def summary(self) -> str:
        """One line: what trains, at which rates, pulled how hard."""
        totals = self.totals()
        share = totals["trained"] / max(totals["parameters"], 1)
        body = [row for row in self.rows if row.layer != "head"]
        moving = [
            layer
            for layer, _ in self.modes
            if any(row.trainable and row.layer == layer for row in self.rows)
        ]
        parts = [f"trains {totals['trained']:,} of {totals['parameters']:,} ({share:.0%})"]
        parts.append("layers " + (", ".join(moving)))
        rates = sorted({row.rate for row in self.rows if row.trainable})
        if len(rates) > 1:
            parts.append(f"rates ×{rates[0]:.3g}…×{rates[-1]:.3g}")
        if totals["pulled"] and self.pull.strength > 0:
            parts.append(f"pull {self.pull.form} λ={self.pull.strength:g} ({self.pull.way})")
        if body and all(row.init == "fresh" for row in body):
            parts.append("body fresh")
        return "; ".join(parts)

    def __str__(self) -> str:
        header = ["parameter", "shape", "layer", "init", "trains", "rate ×", "decay", "pull λ"]
        rows = []
        for row in self.rows:
            numbers = ["-", "-", "-"]
            if row.trainable:
                strength = row.pull * self.pull.strength
                numbers = [f"{row.rate:.4g}", f"{row.decay:.3g}", f"{strength:.3g}"]
            shape = "×".join(map(str, row.shape)) or "scalar"
            trains = "yes" if row.trainable else "frozen"
            rows.append([row.path, shape, row.layer, row.init, trains, *numbers])
        modes = ", ".join(f"{layer} {mode}" for layer, mode in self.modes)
        totals = ", ".join(f"{name} {value:,}" for name, value in self.totals().items())
        text = table(header, rows, right=[5, 6, 7])
        return f"{text}\n\nmodes: {modes}\ntotals: {totals}\npull: {self.pull}"

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON-able values."""
        return dataclasses.asdict(self)


def plan(
    params: Mapping[str, Any],
    strategy: Strategy,
    *,
    layers: Sequence[str],
    fresh: Collection[str] = (),
) -> Plan:
    """Decides what every parameter will do, for a strategy without stages.

    Args:
        params: The model's parameters (or their shapes) by path.
        strategy: What is asked. Its stages, if any, are what `plans` is for.
        layers: The body's layers from input to output.
        fresh: Paths that were drawn afresh rather than loaded (they have no source).

    Raises:
        ValueError: If nothing would train, or the strategy asks for layers that are not there.
        RuleError: If rules leave a parameter unclaimed or claim nothing; names all that do.
    """
    return _plan(params, strategy, strategy.freeze, tuple(layers), frozenset(fresh), None)


def plans(
    params: Mapping[str, Any],
    strategy: Strategy,
    *,
    layers: Sequence[str],
    fresh: Collection[str] = (),
) -> tuple[Plan, ...]:
    """Decides what every parameter will do in each stage of a strategy; see `plan`."""
    return tuple(
        _plan(params, strategy, stage.freeze, tuple(layers), frozenset(fresh), stage.epochs)
        for stage in stages(strategy, layers)
    )


def diff(a: Plan, b: Plan) -> list[str]:
    """Lists what differs between two plans, one line for each parameter, layer or number.

    Example:
        An ablation's arms should differ in one column only: print ``diff(base, arm)``.
    """
    lines = []
    rows_a, rows_b = ({row.path: row for row in p.rows} for p in (a, b))
    for path in sorted(rows_a.keys() | rows_b.keys()):
        left, right = rows_a.get(path), rows_b.get(path)
        if left is None or right is None:
            lines.append(f"{path}: only in the {'second' if left is None else 'first'} plan")
            continue
        for field in dataclasses.fields(Row):
            old, new = getattr(left, field.name), getattr(right, field.name)
            if old != new:
                lines.append(f"{path}: {field.name} {old} -> {new}")
    modes_a, modes_b = dict(a.modes), dict(b.modes)
    for layer in modes_a.keys() | modes_b.keys():
        if modes_a.get(layer) != modes_b.get(layer):
            lines.append(f"mode of {layer}: {modes_a.get(layer)} -> {modes_b.get(layer)}")
    for field in dataclasses.fields(Pull):
        old, new = getattr(a.pull, field.name), getattr(b.pull, field.name)
        if old != new:
            lines.append(f"pull {field.name}: {old} -> {new}")
    return lines


def fresh_patterns(strategy: Strategy, layers: Sequence[str]) -> tuple[str, ...]:
    """Patterns of the body parameters (and statistics) a strategy draws afresh."""
    names = fresh_layers(strategy.fresh, layers) if strategy.fresh else ()
    return tuple(f"body/{name}/.*" for name in names)


def _plan(
    params: Mapping[str, Any],
    strategy: Strategy,
    freeze: str | tuple[tuple[str, bool], ...],
    layers: tuple[str, ...],
    fresh: frozenset[str],
    stage_epochs: float | None,
) -> Plan:
    paths = sorted(params)
    _check_layers(paths, layers)
    problems: list[str] = []

    def claimed(rules: Any, names: Sequence[str], what: str, **settings: Any) -> dict[str, Any]:
        try:
            return resolve(rules, names, what=what, **settings)
        except RuleError as error:
            problems.append(str(error))
            return {}

    if isinstance(freeze, str):
        still = frozen_layers(freeze, layers)
        frozen = {path: layer_of(path) in still for path in paths}
    else:
        frozen = claimed(freeze, paths, "freeze rule")
    factors = claimed(strategy.rates, paths, "rate rule", default=1.0)
    by_layer = claimed(strategy.pull.layers, layers, "pull layer rule", default=1.0)
    asked = claimed(strategy.modes, [*layers, "head"], "mode rule", default="")
    if problems:
        raise RuleError("\n".join(problems))
    if all(frozen.values()):
        raise ValueError(
            f"nothing would train: freeze={freeze!r} freezes all {len(paths)} parameters; "
            "leave at least the head free"
        )
    pulls = {
        # The head and what is fresh have no source.
        path: 0.0 if path in fresh or layer_of(path) == "head" else float(by_layer[layer_of(path)])
        for path in paths
    }
    head_decay = strategy.weight_decay if strategy.head_decay is None else strategy.head_decay
    rows = []
    for path in paths:
        layer = layer_of(path)
        decays = path.rpartition("/")[2] not in UNDECAYED
        decay = (head_decay if layer == "head" else strategy.weight_decay) if decays else 0.0
        if pulls[path] > 0 and strategy.pull.strength > 0 and not strategy.decay_pulled:
            decay = 0.0
        rows.append(
            Row(
                path=path,
                shape=tuple(params[path].shape),
                layer=layer,
                init="fresh" if path in fresh else "loaded",
                trainable=not frozen[path],
                rate=_rate(strategy, layer, layers) * factors[path],
                decay=decay,
                pull=0.0 if frozen[path] else pulls[path],
            )
        )
    return Plan(tuple(rows), _modes(asked, rows, layers), strategy.pull, stage_epochs)


def _rate(strategy: Strategy, layer: str, layers: tuple[str, ...]) -> float:
    """The rate factor of a layer: ``decay^(steps below the head)`` times the head's factor."""
    if layer == "head":
        return strategy.head_rate
    steps = len(layers) - layers.index(layer)
    if strategy.decay_convention == "electra":
        steps += 1
    return strategy.layer_decay**steps


def _modes(
    asked: Mapping[str, str], rows: list[Row], layers: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    modes, problems = [], []
    for layer in (*layers, "head"):
        live = any(row.trainable for row in rows if row.layer == layer)
        mode = asked[layer] or ("train" if live else "eval")
        if mode == "train" and not live:
            problems.append(f"{layer} is frozen; its mode can be eval or statistics, not train")
        if mode == "statistics" and live:
            problems.append(f"{layer} trains; statistics is a mode of frozen layers, use train")
        modes.append((layer, mode))
    if problems:
        raise ValueError("modes do not fit the freezing:\n  " + "\n  ".join(problems))
    return tuple(modes)


def _check_layers(paths: list[str], layers: tuple[str, ...]) -> None:
    strangers = sorted(
        {path for path in paths if layer_of(path) != "head" and layer_of(path) not in layers}
    )
    if strangers:
        raise ValueError(
            f"parameters of no declared layer: {strangers[:10]}; the layers are {layers}"
        )


def redraw(
    params: FlatParams, drawn: Mapping[str, Any], patterns: Sequence[str]
) -> tuple[FlatParams, frozenset[str]]:
    """Replaces the parameters that full-match a pattern by freshly drawn ones.

    Returns:
        The new parameters and the paths that are fresh.

    Raises:
        RuleError: If a pattern matches nothing.
    """
    chosen = resolve([(p, True) for p in patterns], params, default=False, what="fresh rule")
    fresh = frozenset(path for path, hit in chosen.items() if hit)
    return {p: drawn[p] if p in fresh else value for p, value in params.items()}, fresh
