"""What a SavedModel says of itself beside its variables: Keras' descriptions, and its operations.

Formats: saved_model.proto, meta_graph.proto, graph.proto, function.proto, saved_object_graph.proto
of TensorFlow; saved_metadata.proto of Keras. No graph is run or rebuilt.
"""

import collections
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlearn.hub.errors import HubError
from tlearn.hub.json_file import parse_json
from tlearn.hub.protobuf import fields

GRAPH_FILE = "saved_model.pb"
"""The file that makes a folder a SavedModel."""

_KERAS_FILE = "keras_metadata.pb"
_LIMIT = 2**30
_META_GRAPH, _OBJECTS, _NODES, _USER_OBJECT, _IDENTIFIER, _METADATA = 2, 7, 1, 4, 1, 3
_KERAS_NODES, _KERAS_IDENTIFIER, _KERAS_METADATA = 1, 4, 5
_GRAPH_DEF, _LIBRARY, _FUNCTION, _NODE, _OPERATION = 2, 2, 1, 3, 2


def keras_descriptions(folder: Path) -> Iterator[dict[str, Any]]:
    """Lists Keras' own descriptions of a SavedModel's objects, the model's first.

    TensorFlow up to 2.4 keeps them in ``saved_model.pb``, later ones in ``keras_metadata.pb``;
    Keras 3 writes none.

    Raises:
        HubError: If a file is unsound.
    """
    try:
        for said in _objects(folder):
            if b"keras" in said[0] and said[1]:
                yield parse_json(said[1], f"the description in {folder}")
    except (TypeError, AttributeError) as error:
        raise HubError(f"{folder} is unsound: {error}") from error


def _objects(folder: Path) -> Iterator[tuple[bytes, bytes]]:
    """Identifier and description of every object."""
    if (folder / _KERAS_FILE).is_file():
        for number, node in fields(_content(folder / _KERAS_FILE)):
            said = dict(fields(node)) if number == _KERAS_NODES else {}
            yield said.get(_KERAS_IDENTIFIER, b""), said.get(_KERAS_METADATA, b"")
    for field, graph in fields(_content(folder / GRAPH_FILE)):
        objects = dict(fields(graph)).get(_OBJECTS, b"") if field == _META_GRAPH else b""
        for number, node in fields(objects):
            user = dict(fields(node)).get(_USER_OBJECT) if number == _NODES else None
            said = dict(fields(user)) if isinstance(user, bytes) else {}
            yield said.get(_IDENTIFIER, b""), said.get(_METADATA, b"")


def operations(folder: Path) -> list[collections.Counter[str]]:
    """Counts the kinds of operations of every function in a SavedModel: ``Softmax``, ``MatMul``.

    Raises:
        HubError: If ``saved_model.pb`` is unsound.
    """
    found = []
    try:
        for graph in _each(_content(folder / GRAPH_FILE), _META_GRAPH):
            for definition in _each(graph, _GRAPH_DEF):
                for library in _each(definition, _LIBRARY):
                    found += [_counted(function) for function in _each(library, _FUNCTION)]
    except (TypeError, AttributeError) as error:
        raise HubError(f"{folder / GRAPH_FILE} is unsound: {error}") from error
    return found


def _each(message: bytes, wanted: int) -> Iterator[bytes]:
    return (content for number, content in fields(message) if number == wanted)


def _counted(function: bytes) -> collections.Counter[str]:
    # The first field that is the operation's: what follows are its inputs and attributes.
    kinds = (next(_each(node, _OPERATION), b"") for node in _each(function, _NODE))
    return collections.Counter(kind.decode("utf-8", "replace") for kind in kinds)


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LIMIT:
            raise HubError(f"{path} has {path.stat().st_size} bytes: no description is so large")
        return path.read_bytes()
    except OSError as error:
        raise HubError(f"{path} cannot be read: {error}") from error
