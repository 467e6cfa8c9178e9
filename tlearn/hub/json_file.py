"""JSON from outside: a file of bounded size that holds an object, or an error that says why not."""

import json
from pathlib import Path
from typing import Any

from tlearn.hub.errors import HubError

JSON_LIMIT = 16 * 2**20
"""Bytes of the largest description of a model."""


def read_json(path: Path, limit: int = JSON_LIMIT) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        HubError: If the file is absent, too large, no JSON, nested too deeply, or no object.
    """
    try:
        size = path.stat().st_size
        if size > limit:
            raise HubError(f"{path} has {size} bytes, more than {limit}: no description of a model")
        content = path.read_bytes()
    except OSError as error:
        raise HubError(f"{path} cannot be read: {error}") from error
    return parse_json(content, str(path))


def parse_json(content: bytes, name: str) -> dict[str, Any]:
    """Reads a JSON object from bytes; ``name`` stands in errors.

    Raises:
        HubError: If it is no JSON, nested too deeply, or no object.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise HubError(f"{name} is no JSON: {reason}") from error
    if not isinstance(found, dict):
        raise HubError(f"{name} is no JSON object, but a {type(found).__name__}")
    return found
