"""What a mapping table's file offers: how to recognise its checkpoints, and how to map them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tlearn.bodies.facts import ImageFacts, TextFacts
from tlearn.hub.mapping import Row, Table

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of a checkpoint's arrays by name."""


@dataclasses.dataclass(frozen=True)
class Recognised:
    """What names and shapes say about a checkpoint.

    Attributes:
        body: Config of the body.
        classes: Outputs of its head; None if it has no head.
        facts: How its pictures or texts were prepared, where the origin leaves no doubt.
        label_names: Names of the outputs, where the origin leaves no doubt.
        known_labels: Names of some outputs.
        assumed: What the weights cannot show and the origin is trusted for.
        head: Config of a head that is not the linear one of ``classes``.
        table: The mapping table, where names say more of it than the configs do.
    """

    body: dict[str, Any]
    classes: int | None
    facts: ImageFacts | TextFacts | None = None
    label_names: tuple[str, ...] | None = None
    known_labels: Mapping[int, str] = dataclasses.field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    head: Mapping[str, Any] | None = None
    table: Table | None = None


@dataclasses.dataclass(frozen=True)
class Family:
    """One family of checkpoints from one origin.

    Attributes:
        name: Name of the table.
        body: Body family it maps to.
        signature: Names that every such checkpoint has, the head's last.
        head: Prefix of the head's names.
        recognise: Infers the config; raises `HubError` on the first contradiction.
        table: Builds the table of a body config and a number of classes.
        unfit: Says why a body config cannot be written in this origin's terms; empty if it can.
        written: Builds the table to write with from the configs of body and head, for a head that
            is not linear; the head is one of ``heads``.
        heads: Families of heads that have names there.
    """

    name: str
    body: str
    signature: tuple[str, ...]
    head: str
    recognise: Callable[[Shapes], Recognised]
    table: Callable[[Mapping[str, Any], int | None], Table]
    unfit: Callable[[Mapping[str, Any]], str]
    written: Callable[[Mapping[str, Any], Mapping[str, Any] | None], Table] | None = None
    heads: tuple[str, ...] = ("linear",)


def norm_rows(source: str, target: str) -> tuple[Row, ...]:
    """Writes the rows of one torch BatchNorm."""
    return (
        Row(f"{source}.weight", f"params/body/{target}/scale", "vector"),
        Row(f"{source}.bias", f"params/body/{target}/bias", "vector"),
        Row(f"{source}.running_mean", f"batch_stats/body/{target}/mean", "vector"),
        Row(f"{source}.running_var", f"batch_stats/body/{target}/var", "vector"),
        Row(
            f"{source}.num_batches_tracked",
            "",
            "drop",
            "counts steps for a cumulative average that is not used",
        ),
    )


def head_rows(source: str, classes: int | None) -> tuple[Row, ...]:
    """Writes the rows of one torch Linear as our linear head; none without classes."""
    if classes is None:
        return ()
    return (
        Row(f"{source}.weight", "params/head/dense/kernel", "linear"),
        Row(f"{source}.bias", "params/head/dense/bias", "vector"),
    )
