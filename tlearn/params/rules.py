"""Ordered rules over paths: full match, first wins, everything claimed and everything used."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from tlearn.params.paths import nearest

V = TypeVar("V")
_REQUIRED: Any = object()
_SHOWN = 20


class RuleError(ValueError):
    """Rules and parameters do not fit each other; the message names every misfit."""


def resolve(
    rules: Sequence[tuple[str, V]],
    paths: Iterable[str],
    *,
    default: V = _REQUIRED,
    what: str = "rule",
) -> dict[str, V]:
    """Gives every path the value of the first rule whose pattern matches it in full.

    Args:
        rules: ``(regular expression, value)`` pairs in order of precedence. `re.fullmatch`: a
            pattern ``head`` does not claim ``body/head_norm``.
        paths: The parameters to claim.
        default: Value of paths that no rule claims. Without it they are an error.
        what: What the rules are about; named in the error.

    Returns:
        The value of every path, in the order of ``paths``.

    Raises:
        RuleError: Naming all invalid patterns, all unclaimed paths and all rules that claim
            nothing, each with its nearest misses.

    Example:
        >>> resolve([("head/.*", 10.0), (".*", 1.0)], ["body/stem/kernel", "head/bias"])
        {'body/stem/kernel': 1.0, 'head/bias': 10.0}
    """
    paths = list(paths)
    problems: list[str] = []
    compiled: list[tuple[re.Pattern[str] | None, V]] = []
    for pattern, value in rules:
        try:
            compiled.append((re.compile(pattern), value))
        except re.error as error:
            problems.append(f"  {pattern!r} is no regular expression: {error}")
            compiled.append((None, value))
    used = [expression is None for expression, _ in compiled]
    values: dict[str, V] = {}
    unclaimed: list[str] = []
    for path in paths:
        for index, (expression, value) in enumerate(compiled):
            if expression is not None and expression.fullmatch(path):
                values[path] = value
                used[index] = True
                break
        else:
            if default is _REQUIRED:
                unclaimed.append(path)
            else:
                values[path] = default
    problems += [f"  no {what} for parameter {path}" for path in unclaimed[:_SHOWN]]
    if len(unclaimed) > _SHOWN:
        problems.append(f"  ... and for {len(unclaimed) - _SHOWN} more")
    for (pattern, _), hit in zip(rules, used, strict=True):
        if not hit:
            problems.append(f"  {what} {pattern!r} {_why_idle(pattern, rules, paths)}")
    if problems:
        raise RuleError(f"the {what}s do not fit the model:\n" + "\n".join(problems))
    return values


def _why_idle(pattern: str, rules: Sequence[tuple[str, Any]], paths: list[str]) -> str:
    """Says why a rule claimed nothing: it matches nothing, or earlier rules took it all."""
    matched = [path for path in paths if re.fullmatch(pattern, path)]
    if matched:
        return (
            f"is never reached: earlier rules claim all it matches ({matched[0]}, ...); move it up"
        )
    wanted = pattern.replace(".*", "").strip("/")
    # Compared with as much of each path as the pattern spells out.
    parts = wanted.count("/") + 1
    close = nearest(wanted, dict.fromkeys("/".join(path.split("/")[:parts]) for path in paths))
    hint = f" (closest: {', '.join(close)})" if close else ""
    return f"matches nothing{hint}; patterns must match the whole path, as in 'head/.*'"
