"""What the table of a checkpoint folder offers: ``config.json`` read, mapped and written again."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from tlearn.bodies.facts import ImageFacts, TextFacts
from tlearn.hub.mapping import Table

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of a checkpoint's arrays by name."""


@dataclasses.dataclass(frozen=True)
class Described:
    """What a folder's config and names say about its model.

    Attributes:
        body: Full config for `tlearn.bodies.build`.
        head: Config for `tlearn.heads.build`; None if the checkpoint has no head.
        label_names: What the head's outputs mean, where the config knows.
        facts: How inputs were prepared, as far as the config knows.
        prefix: What stands before the body's names, as in ``bert.``.
        assumed: What neither config nor names show and the origin is trusted for.
        architecture: The foreign class, as in ``BertForSequenceClassification``.
        extra: What `FolderFamily.write` needs beside.
    """

    body: dict[str, Any]
    head: dict[str, Any] | None = None
    label_names: tuple[str, ...] | None = None
    facts: ImageFacts | TextFacts | None = None
    prefix: str = ""
    assumed: tuple[str, ...] = ()
    architecture: str = ""
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class FolderFamily:
    """One family of checkpoint folders from one origin.

    Attributes:
        name: The table's name, as in provenance and errors: ``hf_bert``.
        model_types: Values of the config's ``model_type``; for timm, how ``architecture`` begins.
        origin: Whose layout it is.
        body: Body family it maps to.
        describe: From the config and the shapes present to what they mean; raises `HubError` with
            all contradictions, and refuses by name what would change the function computed.
        table: The mapping table of what was described.
        write: The config to export; describing it again gives the same.
    """

    name: str
    model_types: tuple[str, ...]
    origin: Literal["hf", "timm", "plain"]
    body: str
    describe: Callable[[Mapping[str, Any], Shapes], Described]
    table: Callable[[Described], Table]
    write: Callable[[Described], dict[str, Any]]
