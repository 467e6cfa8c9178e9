"""Holds arrays against the body and head their configs describe, before anybody trusts them."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from tlearn.hub.errors import HubError, listed
from tlearn.params import nearest

# The largest numbers are those of words: published vectors have up to three million.
_LARGEST = 2**24
MISSING = re.compile(r"^the (parameter|statistic) '[^']*' is missing")
"""How `shape_problems` says that an array is not there at all."""


@dataclasses.dataclass(frozen=True)
class Checked:
    """Configs that describe something real.

    Attributes:
        body: Full config of the body.
        head: Full config of the head, or None.
        body_module: The body.
        head_module: The head, or None.
    """

    body: dict[str, Any]
    head: dict[str, Any] | None
    body_module: Any
    head_module: Any


def full_configs(body: Any, head: Any, arrays: int) -> Checked:
    """Checks configs and writes out their defaults.

    Args:
        body: Config of the body, from outside.
        head: Config of the head, or None.
        arrays: How many arrays the weights have: a network of more blocks is not built.

    Returns:
        The full configs and the modules built from them.

    Raises:
        HubError: If a config is unknown, impossible, or larger than its weights.
    """
    from tlearn import bodies, heads

    body_config, body_module = _built("body", body, bodies, arrays)
    if head is None:
        return Checked(body_config, None, body_module, None)
    head_config, head_module = _built("head", head, heads, arrays)
    return Checked(body_config, head_config, body_module, head_module)


def _built(kind: str, config: Any, registry: Any, arrays: int) -> tuple[dict[str, Any], Any]:
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        raise HubError(f"the {kind}'s config is no dictionary")
    _check_size(kind, config, arrays)
    try:
        module = registry.build(config)
        return registry.describe(module), module
    except (ValueError, TypeError) as error:
        raise HubError(f"the {kind}'s config cannot be built: {error}") from error


def _check_size(kind: str, config: Mapping[str, Any], arrays: int) -> None:
    """Refuses configs whose network could not even be traced: sizes come before building."""
    pending: list[Any] = list(config.values())
    seen = 0
    while pending:
        value = pending.pop()
        seen += 1
        if isinstance(value, (list, tuple)):
            pending.extend(value)
        elif isinstance(value, (int, float)) and abs(value) > _LARGEST:
            raise HubError(f"the {kind}'s config holds the number {value:.3g}: no network has that")
        if seen + len(pending) > 10_000:
            raise HubError(f"the {kind}'s config holds more than 10000 values")
    depth = config.get("depth", 0)
    # Blocks that share their weights (ALBERT) are more than their arrays, but not by hundreds.
    if isinstance(depth, int) and depth > arrays + 64:
        raise HubError(
            f"the {kind}'s config asks for {depth} blocks, but there are only {arrays} arrays"
        )
    stages = config.get("stages", ())
    lengths = [stage[2] for stage in stages if isinstance(stage, (list, tuple)) and len(stage) == 4]
    lengths += list(config.get("stage_blocks", ()) or ())
    blocks = sum(length for length in lengths if isinstance(length, int))
    if blocks > arrays:
        raise HubError(
            f"the {kind}'s config asks for {blocks} blocks, but there are only {arrays} arrays"
        )


def check_shapes(
    checked: Checked, params: Mapping[str, Any], collections: Mapping[str, Any]
) -> None:
    """Checks that arrays are exactly those of a model: names, shapes, and numbers of a float type.

    Raises:
        HubError: Naming every missing, unknown and misshapen array.
    """
    problems = shape_problems(checked, params, collections)
    if problems:
        family = checked.body_module.family
        raise HubError(f"the arrays are not those of the {family} body:\n{listed(problems)}")


def shape_problems(
    checked: Checked, params: Mapping[str, Any], collections: Mapping[str, Any]
) -> list[str]:
    """Lists every missing, unknown and misshapen array.

    Raises:
        HubError: If the head reads what the body has not.
    """
    from tlearn.model import shapes
    from tlearn.replaced import joined

    body, head = checked.body_module, checked.head_module
    inputs = example_inputs(body, checked.body)
    if head is not None:
        try:
            expected_params, expected_collections = shapes(joined(body, head), *inputs)
        except ValueError as error:
            raise HubError(f"the head does not fit the body: {error}") from error
    else:
        expected_params, expected_collections = (
            {f"body/{path}": leaf for path, leaf in flat.items()} for flat in shapes(body, *inputs)
        )
    problems: list[str] = []
    for kind, expected, given in (
        ("parameter", expected_params, params),
        ("statistic", expected_collections, collections),
    ):
        problems += misfits(kind, expected, given)
    return problems


def example_inputs(body: Any, config: Mapping[str, Any]) -> tuple[Any, ...]:
    """Shapes of a batch of one for a body: a picture of its size, or a text of two tokens."""
    import jax
    import jax.numpy as jnp

    side = config.get("image_size", 64)
    rows, columns = side if isinstance(side, (list, tuple)) else (side, side)
    picture = (1, rows, columns, config.get("in_channels", 3))
    return tuple(
        jax.ShapeDtypeStruct(picture, jnp.float32)
        if name == "image"
        else jax.ShapeDtypeStruct((1, 2), jnp.int32)
        for name in body.inputs
    )


def misfits(kind: str, expected: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Lists every name missing or unknown, and every array of another shape."""
    spare = [path for path in given if path not in expected]
    problems = []
    for path, leaf in expected.items():
        if path not in given:
            close = nearest(path, spare, 1)
            problems.append(
                f"the {kind} {path!r} is missing" + (f" (nearest: {close[0]!r})" if close else "")
            )
        elif tuple(given[path].shape) != tuple(leaf.shape):
            problems.append(
                f"the {kind} {path!r} has the shape {tuple(given[path].shape)}, "
                f"wanted {tuple(leaf.shape)}"
            )
    problems += [f"the {kind} {path!r} is unknown to the model" for path in spare]
    return problems
