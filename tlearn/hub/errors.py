"""The one error of the hub, and how it lists what is wrong."""

from collections.abc import Sequence

_SHOWN = 20


class HubError(ValueError):
    """Weights from outside cannot be used as asked; the message names every reason."""


def listed(problems: Sequence[str], shown: int = _SHOWN) -> str:
    """Lays problems out one a line; cuts a long list and says how many are left."""
    lines = [f"  {problem}" for problem in problems[:shown]]
    if len(problems) > shown:
        lines.append(f"  ... and {len(problems) - shown} more")
    return "\n".join(lines)


def quoted(text: object, limit: int = 80) -> str:
    """Quotes a value that came from outside, cut to a length a terminal can bear."""
    if not isinstance(text, (str, int, float, bool, bytes, type(None))):
        # The repr of a hostile structure can be deep or endless.
        return f"a {type(text).__name__}"
    if isinstance(text, int) and text.bit_length() > 200:
        return f"a whole number of {text.bit_length()} bits"
    shown = repr(text[: limit + 1] if isinstance(text, (str, bytes)) else text)
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
