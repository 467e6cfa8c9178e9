"""The same weights, read another way: one vector of a text by another rule."""

import dataclasses

from tlearn import bodies
from tlearn.hub.errors import HubError
from tlearn.hub.source import Source


def pooled(source: Source, pooling: str) -> Source:
    """Changes how a body makes one vector of a text.

    A layer that is then not read, such as BERT's pooler, is left behind. One that is missing then
    is not made up: `reconcile` asks for it by name.

    Args:
        source: Weights of a body for texts.
        pooling: As its body's field of that name.

    Raises:
        HubError: If the body has no such choice, or not this one.
    """
    if "pooling" not in source.body:
        raise HubError(f"pooling={pooling!r}: the body {source.body['family']!r} has no choice")
    body = {**source.body, "pooling": pooling}
    try:
        layers = bodies.build(body).layer_names
    except ValueError as error:
        raise HubError(f"pooling={pooling!r}: {error}") from error
    kept = {
        path: value
        for path, value in source.params.items()
        if path.startswith("head/") or path.split("/")[1] in layers
    }
    return dataclasses.replace(source, params=kept, body=body)
