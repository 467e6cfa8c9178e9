"""What a user asks of a transfer: freeze, redraw, rates by depth, decay, pull, stages. All data."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from tlearn.params import nearest
from tlearn.transfer.pull import Pull

Rules = tuple[tuple[str, bool], ...]
Unfreezing = Literal["none", "gradual", "chain-thaw", "head-first"]
Convention = Literal["zhang", "electra"]

ULMFIT_FACTOR = 2.6
"""ULMFiT divides the rate by this from each layer to the one below (Howard & Ruder 2018, §3.2)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Strategy:
    """What is loaded, drawn afresh, frozen, trained, at which rate, and pulled how hard.

    Attributes:
        freeze: ``"none"``, ``"body"``, ``"bottom:K"`` (the K layers nearest the input), or rules
            ``((pattern, frozen), ...)`` over parameter paths: full match, first wins, every
            parameter claimed, every rule used.
        fresh: Body layers to draw afresh: ``"top:K"`` (the K nearest the head), ``"all"`` (the
            source's shape without its weights: from scratch), or their names.
        layer_decay: Factor between the learning rates of neighbouring layers, below 1 for smaller
            rates near the input. 1 / 2.6 is ULMFiT's.
        decay_convention: ``"zhang"``: head 1, top layer ``decay``, next ``decay²`` (Zhang et al.
            2021; Howard & Ruder 2018). ``"electra"``: the top layer already gets ``decay²``
            (Clark et al. 2020, whose depth counts one step between top layer and head).
        head_rate: Factor of the head's rate over the body's.
        rates: Further factors ``((pattern, factor), ...)``; unmatched parameters keep theirs.
        weight_decay: Decay toward zero of trained body kernels, per unit rate. Biases,
            normalisation and pulled parameters get none.
        head_decay: The same for the head; ``None`` means `weight_decay`.
        decay_pulled: Decay pulled parameters toward zero as well (they fight: Li et al. 2018, §3).
        pull: The pull toward the source; its strength is 0 by default.
        modes: ``((layer pattern, mode), ...)`` where the default does not serve: ``"train"``,
            ``"eval"`` (running statistics used and kept, dropout off, though weights may train)
            or ``"statistics"`` (weights frozen, BatchNorm statistics follow the batches). By
            default a layer with anything to train is in ``"train"``, any other in ``"eval"``.
        unfreeze: Stages by name: ``"gradual"`` adds one layer an epoch from the top (ULMFiT
            §3.3), ``"chain-thaw"`` trains head, then each layer alone from the bottom, then all
            (Felbo et al. 2017), ``"head-first"`` the head alone, then all (LP-FT, Kumar et al.
            2022).
        stage_epochs: Length of each stage of `unfreeze` but the last, in epochs.
    """

    freeze: str | Rules = "none"
    fresh: str | tuple[str, ...] = ()
    layer_decay: float = 1.0
    decay_convention: Convention = "zhang"
    head_rate: float = 1.0
    rates: tuple[tuple[str, float], ...] = ()
    weight_decay: float = 0.0
    head_decay: float | None = None
    decay_pulled: bool = False
    pull: Pull = Pull()
    modes: tuple[tuple[str, str], ...] = ()
    unfreeze: Unfreezing = "none"
    stage_epochs: float = 1.0

    def __post_init__(self):
        problems = []
        if isinstance(self.freeze, str):
            try:
                _count(self.freeze, "bottom", ("none", "body"))
            except ValueError as error:
                problems.append(f"freeze: {error}")
        if isinstance(self.fresh, str):
            try:
                _count(self.fresh, "top", ("all",))
            except ValueError as error:
                problems.append(f"fresh: {error}")
        if not 0 < self.layer_decay:
            problems.append(f"layer_decay is {self.layer_decay}; it must be above 0")
        if not 0 < self.head_rate:
            problems.append(
                f"head_rate is {self.head_rate}; a rate of 0 is no freezing: use freeze"
            )
        for pattern, factor in self.rates:
            if not factor > 0:
                problems.append(
                    f"rates: {pattern!r} has factor {factor}; a rate of 0 is no freezing: "
                    f"say freeze=(({pattern!r}, True), ('.*', False))"
                )
        if self.weight_decay < 0 or (self.head_decay or 0) < 0:
            problems.append("weight_decay and head_decay must be at least 0")
        for pattern, mode in self.modes:
            if mode not in ("train", "eval", "statistics"):
                problems.append(
                    f"modes: {pattern!r} has mode {mode!r}; use train, eval, statistics"
                )
        if self.decay_convention not in ("zhang", "electra"):
            problems.append(f"decay_convention {self.decay_convention!r}: use zhang or electra")
        if self.unfreeze not in ("none", "gradual", "chain-thaw", "head-first"):
            problems.append(
                f"unfreeze {self.unfreeze!r}: use none, gradual, chain-thaw or head-first"
            )
        if self.unfreeze != "none" and self.freeze != "none":
            problems.append(f"unfreeze={self.unfreeze!r} declares its own freezing; drop freeze")
        if not self.stage_epochs > 0:
            problems.append(f"stage_epochs is {self.stage_epochs}; it must be above 0")
        if problems:
            raise ValueError("this strategy cannot be carried out:\n  " + "\n  ".join(problems))


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a training during which one set of parameters is frozen.

    Attributes:
        freeze: What is frozen meanwhile, as in `Strategy.freeze`.
        epochs: Length; None for the rest of the training.
    """

    freeze: str | Rules
    epochs: float | None = None


def stages(strategy: Strategy, layers: Sequence[str]) -> tuple[Stage, ...]:
    """Spells out the stages of a strategy over layers from input to output (head left out).

    Example:
        >>> [s.freeze for s in stages(Strategy(unfreeze="gradual"), ["stem", "top"])]
        ['body', 'bottom:1', 'none']
    """
    epochs = strategy.stage_epochs
    if strategy.unfreeze == "none":
        return (Stage(strategy.freeze),)
    if strategy.unfreeze == "head-first":
        return (Stage("body", epochs), Stage("none"))
    if strategy.unfreeze == "gradual":
        kept = [f"bottom:{k}" for k in range(len(layers) - 1, 0, -1)]
        return (*(Stage(freeze, epochs) for freeze in ("body", *kept)), Stage("none"))
    alone = [Stage(((f"body/{layer}/.*", False), (".*", True)), epochs) for layer in layers]
    return (Stage("body", epochs), *alone, Stage("none"))


def frozen_layers(freeze: str, layers: Sequence[str]) -> tuple[str, ...]:
    """Names the body layers that ``"none"``, ``"body"`` or ``"bottom:K"`` freezes.

    Raises:
        ValueError: If K is larger than the number of layers.
    """
    if freeze == "none":
        return ()
    if freeze == "body":
        return tuple(layers)
    return tuple(layers[: _within(freeze, "bottom", layers)])


def fresh_layers(fresh: str | Sequence[str], layers: Sequence[str]) -> tuple[str, ...]:
    """Names the body layers to draw afresh.

    Raises:
        ValueError: If a name is no layer of the body or K is too large.
    """
    if fresh == "all":
        return tuple(layers)
    if isinstance(fresh, str):
        count = _within(fresh, "top", layers)
        return tuple(layers[len(layers) - count :])
    unknown = [name for name in fresh if name not in layers]
    if unknown:
        raise ValueError(
            f"fresh names {unknown}, which are no layers of this body; closest: "
            f"{nearest(unknown[0], layers)}; its layers are {', '.join(layers)}"
        )
    return tuple(name for name in layers if name in fresh)


def _within(text: str, word: str, layers: Sequence[str]) -> int:
    count = _count(text, word, ())
    if count > len(layers):
        raise ValueError(
            f"{text!r} asks for {count} layers, the body has {len(layers)}: {', '.join(layers)}"
        )
    return count


def _count(text: str, word: str, names: tuple[str, ...]) -> int:
    """Reads K from ``"word:K"``; names without a number count as 0."""
    if text in names:
        return 0
    head, colon, number = text.partition(":")
    if head == word and colon and number.isdigit() and int(number) > 0:
        return int(number)
    options = [*names, f"{word}:K (K a whole number above 0)"]
    raise ValueError(f"{text!r} is unknown; use {' or '.join(options)}")
