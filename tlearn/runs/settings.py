"""Settings of a body as they are typed: ``field=value``."""

from typing import Any


def read_setting(text: str) -> tuple[str, Any]:
    """Reads ``field=value``: numbers, true/false, names, and tuples of numbers by commas.

    Raises:
        ValueError: If there is no ``=``.

    Example:
        >>> read_setting("stage_widths=8,16"), read_setting("norm=group")
        (('stage_widths', (8, 16)), ('norm', 'group'))
    """
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise ValueError(f"setting {text!r}: write field=value, as in stage_widths=8,16,32")
    parts = [_literal(part) for part in value.split(",") if part]
    return name, tuple(parts) if "," in value else parts[0]


def _literal(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
