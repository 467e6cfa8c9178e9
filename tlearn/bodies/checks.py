"""Checks that bodies make before anything is traced."""

from typing import Any


def check_choices(module: Any, **choices: tuple[str, ...]) -> list[str]:
    """Lists the fields of a module whose value is none of their choices."""
    return [
        f"{field} is one of {', '.join(map(repr, known))}, got {getattr(module, field)!r}"
        for field, known in choices.items()
        if getattr(module, field) not in known
    ]


def check_sizes(
    module: Any,
    *,
    ones: tuple[str, ...] = (),
    zeros: tuple[str, ...] = (),
    chances: tuple[str, ...] = (),
) -> list[str]:
    """Lists the fields of a transformer that are too small, or no chance; its heads too.

    Args:
        module: With ``width`` and ``heads``.
        ones: Fields that are at least 1.
        zeros: Fields that are at least 0.
        chances: Fields in [0, 1).
    """
    problems = [
        f"{name} must be at least {least}, got {getattr(module, name)}"
        for least, names in ((1, ones), (0, zeros))
        for name in names
        if getattr(module, name) < least
    ]
    if module.heads > 0 and module.width % module.heads:
        problems.append(f"width={module.width} is no multiple of heads={module.heads}")
    problems += [
        f"{name} is a chance in [0, 1), got {getattr(module, name)}"
        for name in chances
        if not 0.0 <= getattr(module, name) < 1.0
    ]
    return problems


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
