"""Changes of shape that must be asked for by name: ``(pattern, operation, *arguments)``."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tlearn.hub.errors import HubError
from tlearn.hub.source import Source
from tlearn.params import nearest


@dataclasses.dataclass(frozen=True)
class Resized:
    """An array of another shape, and what was done to it."""

    array: np.ndarray
    detail: str


def adapt_input_channels(
    source: Source, path: str, array: np.ndarray, shape: tuple[int, ...], mode: str = "auto"
) -> Resized:
    """Gives a first convolution the target's number of input channels.

    Args:
        source: Where the array is from.
        path: Its path.
        array: HWIO kernel.
        shape: The shape wanted.
        mode: As in `tlearn.bodies.adapt_input_channels`.

    Raises:
        HubError: If that does not lead to the shape wanted.
    """
    from tlearn.bodies.surgery import adapt_input_channels as adapt

    if array.ndim != 4 or len(shape) != 4:
        raise HubError("adapt_input_channels is for convolution kernels")
    if array.shape[2] == shape[2]:
        raise HubError(
            f"has {shape[2]} input channels already: leave adapt_input_channels out of resize"
        )
    try:
        adapted, report = adapt(array, shape[2], mode)
    except ValueError as error:
        raise HubError(str(error)) from error
    return Resized(adapted, str(report))


def class_subset(
    source: Source,
    path: str,
    array: np.ndarray,
    shape: tuple[int, ...],
    labels: Sequence[str | int] = (),
) -> Resized:
    """Keeps the head's outputs for some labels, in the order named.

    Args:
        source: Where the array is from; knows which output means which label.
        path: Its path.
        array: A head's array, its last axis the classes.
        shape: The shape wanted.
        labels: Label names, or the outputs' numbers.

    Raises:
        HubError: If a label is unknown or named twice, or the array has no axis of classes.
    """
    classes = source.head.get("classes") if source.head else None
    if not path.startswith("head/") or array.ndim == 0 or array.shape[-1] != classes:
        raise HubError("class_subset is for a head's arrays whose last axis is the classes")
    if isinstance(labels, (str, int)) or not labels:
        raise HubError("class_subset wants its labels: ('head/.*', 'class_subset', ('ant', 'bee'))")
    chosen = [source.label_index(label) for label in labels]
    if len(set(chosen)) != len(chosen):
        raise HubError("class_subset names an output twice")
    return Resized(
        np.ascontiguousarray(array[..., chosen]),
        f"class_subset {tuple(labels)[:6]}: outputs {tuple(chosen)[:6]} of {classes}",
    )


def position_grid(
    source: Source, path: str, array: np.ndarray, shape: tuple[int, ...], mode: str = "bicubic"
) -> Resized:
    """Gives a vision transformer positions for pictures of another size.

    Args:
        source: Where the array is from; its body's config says which tokens have no place.
        path: Its path.
        array: The table of positions.
        shape: The shape wanted.
        mode: As in `tlearn.bodies.resize_positions`.

    Raises:
        HubError: If the array is no such table, or a grid is not square.
    """
    from tlearn.bodies.surgery import resize_positions

    if source.body.get("family") != "vit" or not path.endswith("/positions") or len(shape) != 3:
        raise HubError("position_grid is for a ViT's body/embeddings/positions")
    if array.shape[1] == shape[1]:
        raise HubError(f"has {shape[1]} positions already: leave position_grid out of resize")
    prefix = 0
    if source.body.get("prefix_positions", True):
        prefix = int(source.body.get("class_token", True))
        prefix += int(source.body.get("distilled_token", False))
    try:
        resized, report = resize_positions(array, shape[1], prefix, mode)
    except ValueError as error:
        raise HubError(str(error)) from error
    return Resized(resized, str(report))


def remap_vocabulary(
    source: Source,
    path: str,
    array: np.ndarray,
    shape: tuple[int, ...],
    tokens: Mapping[str, int] | Sequence[str] = (),
) -> Resized:
    """Gives every token of another tokenizer its row: its own where it is known, else the mean row.

    For the token embedding and for whatever else has one row or column a token, such as the bias of
    a language head.

    Args:
        source: Where the array is from; its tokenizer files say which row is which token's.
        path: The array's path.
        array: One of its axes is the source's vocabulary.
        shape: The shape wanted; rows beyond the new tokens get the mean too.
        tokens: The new tokenizer's numbers by token, or its tokens in their order.

    Raises:
        HubError: If the source has no tokenizer, no axis of the array is its vocabulary, or tokens
            are absent, beyond the shape, or share a number.
    """
    from tlearn.hub.text_facts import vocabulary

    if isinstance(tokens, str) or not tokens:
        raise HubError(
            "remap_vocabulary wants the new tokens: ('body/embeddings/tokens/embedding', "
            "'remap_vocabulary', tokenizer.get_vocab())"
        )
    known = vocabulary(source.files)
    if known is None:
        raise HubError("remap_vocabulary needs the source's tokenizer files, and it has none")
    rows = source.body.get("vocab_size")
    axes = [axis for axis, size in enumerate(array.shape) if size == rows]
    if not axes or len(shape) != array.ndim:
        raise HubError(f"remap_vocabulary wants an axis of the {rows} tokens of the source")
    axis = axes[0] if path.startswith("body/") else axes[-1]
    wanted = tokens if isinstance(tokens, Mapping) else {t: i for i, t in enumerate(tokens)}
    numbers = list(wanted.values())
    if len(set(numbers)) != len(wanted) or len(wanted) != len(tokens):
        raise HubError("remap_vocabulary names a token or a number twice")
    if not all(0 <= number < shape[axis] for number in numbers):
        raise HubError(f"tokens have numbers beyond the {shape[axis]} rows wanted")
    there = np.moveaxis(array, axis, 0)
    used = sorted(number for number in known.values() if number < len(there))
    mean = there[used].mean(0, dtype=np.float64).astype(array.dtype)
    remapped = np.broadcast_to(mean, (shape[axis], *there.shape[1:])).copy()
    kept = [token for token in wanted if known.get(token, len(there)) < len(there)]
    remapped[[wanted[token] for token in kept]] = there[[known[token] for token in kept]]
    new = [token for token in wanted if token not in set(kept)]
    shown = f": {', '.join(map(repr, new[:5]))}{'...' if len(new) > 5 else ''}" if new else ""
    return Resized(
        np.ascontiguousarray(np.moveaxis(remapped, 0, axis)),
        f"remap_vocabulary: {len(kept)} of {len(wanted)} tokens keep their row, "
        f"{len(new)} get the mean{shown}",
    )


OPERATIONS: dict[str, Callable[..., Resized]] = {
    "adapt_input_channels": adapt_input_channels,
    "class_subset": class_subset,
    "position_grid": position_grid,
    "remap_vocabulary": remap_vocabulary,
}
"""Changes of shape by name."""


def check_rules(resize: Sequence[Any]) -> list[str]:
    """Lists what is wrong with the form of resize rules."""
    problems = []
    for rule in resize:
        if not isinstance(rule, (tuple, list)) or len(rule) < 2:
            problems.append(
                f"resize rule {rule!r} is not (pattern, operation, *arguments), as in "
                "('body/stem/conv/kernel', 'adapt_input_channels')"
            )
        elif rule[1] not in OPERATIONS:
            close = nearest(str(rule[1]), OPERATIONS, 1) or list(OPERATIONS)
            problems.append(f"there is no resize operation {rule[1]!r}; nearest: {close[0]!r}")
    return problems


def resize_array(
    source: Source, path: str, array: np.ndarray, shape: tuple[int, ...], rule: Sequence[Any]
) -> Resized:
    """Applies one rule to one array.

    Raises:
        HubError: If the operation refuses, or does not lead to the shape wanted.
    """
    operation, arguments = rule[1], tuple(rule[2:])
    try:
        resized = OPERATIONS[operation](source, path, array, shape, *arguments)
    except TypeError as error:
        raise HubError(f"{operation} cannot take the arguments {arguments!r}") from error
    if resized.array.shape != shape:
        raise HubError(f"{operation} leads to the shape {resized.array.shape}, wanted {shape}")
    return resized
