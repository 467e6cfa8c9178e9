"""ELECTRA as it was trained, taken apart: the discriminator and the generator as plain models."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tlearn.hub.errors import HubError
from tlearn.hub.source import Source

JOINT = "replaced_token_training"
"""The family of the head that holds a generator."""

_SHARED = tuple(f"body/embeddings/{part}/" for part in ("tokens", "positions", "types", "norm"))
_SIZES = ("width", "depth", "heads", "feed_forward")
_OTHERS = ("activation", "norm_epsilon", "dropout", "attention_dropout", "init_std", "dtype")


def discriminator(source: Source) -> Source:
    """Takes the discriminator out of a model trained to find replaced tokens.

    Its body is that of the source, its head the family ``replaced_token``.

    Raises:
        HubError: If the source is no such model.
    """
    head = _joint(source)
    return dataclasses.replace(
        source,
        params=_renamed(source.params, (("body/", "body/"), ("head/replaced_token/", "head/"))),
        head=_head("replaced_token", head, ("activation",)),
        provenance=_provenance(source, "discriminator", "ElectraForPreTraining"),
    )


def generator(source: Source) -> Source:
    """Takes the generator out of a model trained to find replaced tokens.

    Its body is a BERT with the embeddings that it shared with the discriminator, its head the
    family ``masked_lm``.

    Raises:
        HubError: If the source is no such model.
    """
    from tlearn import bodies

    head = _joint(source)
    body = bodies.describe(bodies.build(source.body))
    body["embedding_width"] = body["embedding_width"] or body["width"]
    # Nothing of it is pooled in training; the first token needs no parameters.
    body |= {name: head[name] for name in (*_SIZES, *_OTHERS)} | {"pooling": "first"}
    rules = (
        *((prefix, prefix) for prefix in _SHARED),
        ("head/generator/projection/", "body/embeddings/projection/"),
        ("head/generator/", "body/"),
        ("head/masked_lm/", "head/"),
    )
    return dataclasses.replace(
        source,
        params=_renamed(source.params, rules),
        body=body,
        head=_head("masked_lm", head, ("activation", "norm_epsilon")),
        provenance=_provenance(source, "generator", "ElectraForMaskedLM"),
    )


def _joint(source: Source) -> dict[str, Any]:
    """The full config of the head.

    Raises:
        HubError: If it is another one.
    """
    from tlearn import heads

    family = None if source.head is None else source.head.get("family")
    if source.head is None or family != JOINT:
        raise HubError(
            f"only a model with the head {JOINT!r} holds a generator and a discriminator; the head "
            f"of this one is {family!r}"
        )
    return heads.describe(heads.build(source.head))


def _head(family: str, joint: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The full config of one of the heads within."""
    from tlearn import heads

    return heads.describe(heads.create(family, **{name: joint[name] for name in names}))


def _renamed(params: Mapping[str, Any], rules: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """The parameters under the prefixes on the left, with those on the right; the first counts."""
    found = {}
    for path, value in params.items():
        rule = next((rule for rule in rules if path.startswith(rule[0])), None)
        if rule is not None:
            found[rule[1] + path.removeprefix(rule[0])] = value
    return dict(sorted(found.items()))


def _provenance(source: Source, part: str, architecture: str) -> dict[str, Any]:
    """Names the foreign class: a BERT may have the same arrays."""
    told = {"table": "hf_electra", "architecture": architecture, "origin": source.provenance}
    spec = f"the {part} of {source.provenance.get('spec', 'a model made in memory')}"
    return {"spec": spec, "licence": source.provenance.get("licence"), **told}
