"""Checks every image body makes before anything is traced."""

from typing import Any


def check_choices(module: Any, **choices: tuple[str, ...]) -> list[str]:
    """Lists the fields of a module whose value is none of their choices."""
    return [
        f"{field} is one of {', '.join(map(repr, known))}, got {getattr(module, field)!r}"
        for field, known in choices.items()
        if getattr(module, field) not in known
    ]


def check_channels(body: str, got: int, wanted: int) -> None:
    """Checks that pictures have as many channels as the body was built for.

    Raises:
        ValueError: If not, saying how to change either side.
    """
    if got != wanted:
        raise ValueError(
            f"this {body} takes pictures of {wanted} channel(s) (in_channels={wanted}), got {got}: "
            f"convert the pictures, or build the body with in_channels={got} and carry its first "
            "kernel over with tlearn.bodies.adapt_input_channels"
        )
