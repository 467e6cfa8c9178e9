"""Heads by config; imports one only when it is built."""

from collections.abc import Mapping
from typing import Any

from tlearn.bodies.registry import Registry

HEADS = Registry(
    kind="head",
    families={
        "linear": "tlearn.heads.classifiers:Linear",
        "mlp": "tlearn.heads.classifiers:MLP",
        "cosine": "tlearn.heads.classifiers:Cosine",
        "distilled": "tlearn.heads.distilled:Distilled",
        "masked_lm": "tlearn.heads.language:MaskedLM",
        "pretraining": "tlearn.heads.language:Pretraining",
        "replaced_token": "tlearn.heads.language:ReplacedToken",
        "replaced_token_training": "tlearn.heads.replaced_training:ReplacedTokenTraining",
        "tagging": "tlearn.heads.tokens:Tagging",
        "span": "tlearn.heads.tokens:Span",
        "causal_lm": "tlearn.heads.causal_lm:CausalLM",
        "ulmfit": "tlearn.heads.ulmfit:ULMFiT",
    },
)

CLASSIFIERS = ("linear", "mlp", "cosine", "distilled", "ulmfit")
"""Heads that give a whole example one label, or one number."""


def describe(head: Any) -> dict[str, Any]:
    """Writes a head as ``{"family": ..., fields}``, ready for JSON; `build` is its inverse."""
    return HEADS.describe(head)


def build(config: Mapping[str, Any]) -> Any:
    """Builds the head a config describes.

    Raises:
        ValueError: If the family or a field is unknown, with the nearest valid names.
    """
    return HEADS.build(config)


def create(name: str, **fields: Any) -> Any:
    """Builds a head by name, such as ``create("linear", classes=10)``.

    Raises:
        ValueError: If the name or a field is unknown, with the nearest valid names.
    """
    return HEADS.create(name, **fields)


def names() -> tuple[str, ...]:
    """Lists the names `create` knows."""
    return HEADS.names()
