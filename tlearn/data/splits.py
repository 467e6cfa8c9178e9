"""Split expressions: ``train[:10%]``, ``train[100:200]``, ``train[-10%:]``, ``train+test``."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sized
from fractions import Fraction
from typing import Any, TypeVar

from tlearn.data.errors import DataError, closest, listing
from tlearn.data.view import Joined, View

_T = TypeVar("_T", bound=Sized)
_TERM = re.compile(
    r"\s*(?P<name>[\w.\-]+?)\s*(?:\[\s*(?P<start>[^:\[\]]*?)\s*:\s*(?P<stop>[^:\[\]]*?)\s*\])?\s*"
)
_BOUND = re.compile(r"(?P<number>-?\d+(?:\.\d+)?)(?P<percent>\s*%)?")
_HELD = ("validation", "val", "valid", "dev")
"""Names of the same split: ImageNet's own folders say val, TFDS says validation."""
_FORMS = "NAME, NAME[start:stop], NAME[10%:-5%], and sums of these with +"


@dataclasses.dataclass(frozen=True)
class Slice:
    """A stretch of a named split; bounds are counts, or percentages of the split."""

    name: str
    start: str = ""
    stop: str = ""

    def bounds(self, count: int) -> tuple[int, int]:
        """Counts out the stretch in a split of ``count`` examples.

        Percentages are rounded to the nearest example, so ``[:p%]`` and ``[p%:]`` share none and
        leave none out.

        Raises:
            DataError: If a bound lies outside the split or nothing is left.
        """
        start = self._place(self.start, 0, count)
        stop = self._place(self.stop, count, count)
        if start >= stop:
            raise DataError(
                f"split {self} holds no example: it runs from {start} to {stop} of {count}"
            )
        return start, stop

    def _place(self, bound: str, default: int, count: int) -> int:
        match = _BOUND.fullmatch(bound)
        if match is None:
            return default
        negative = match["number"].startswith("-")
        number = abs(Fraction(match["number"]))
        if match["percent"]:
            # From the end as from the start, so that [:90%] and [-10%:] meet exactly.
            return round((100 - number if negative else number) * count / 100)
        if number > count:
            raise DataError(f"split {self}: {bound} is outside the {count} examples")
        return count - int(number) if negative else int(number)

    def __str__(self) -> str:
        return f"{self.name}[{self.start}:{self.stop}]" if self.start or self.stop else self.name


def parse_split(text: str) -> tuple[Slice, ...]:
    """Reads a split expression without looking at any data.

    Raises:
        DataError: Naming every part that cannot be read, with the forms that can.

    Example:
        >>> [str(part) for part in parse_split("train[:10%] + test")]
        ['train[:10%]', 'test']
    """
    slices, problems = [], []
    for term in text.split("+"):
        match = _TERM.fullmatch(term)
        if match is None:
            problems.append(f"{term.strip()!r}")
            continue
        bounds = {edge: match[edge] or "" for edge in ("start", "stop")}
        for bound in bounds.values():
            read = _BOUND.fullmatch(bound)
            if bound and read is None:
                problems.append(f"{bound!r} in {term.strip()!r} is no whole number or percentage")
            elif read and not read["percent"] and "." in read["number"]:
                problems.append(f"{bound!r} in {term.strip()!r} is a fraction of an example")
            elif read and read["percent"] and abs(Fraction(read["number"])) > 100:
                problems.append(f"{bound!r} in {term.strip()!r} is outside -100%..100%")
        slices.append(Slice(match["name"], **bounds))
    if problems:
        raise DataError(
            f"cannot read the split expression {text!r} (expected {_FORMS}):\n{listing(problems)}"
        )
    return tuple(slices)


def select_split(
    splits: Mapping[str, Callable[[], _T]],
    expression: str | None,
    *,
    what: str = "dataset",
    join: Callable[[list[Any]], Any] = Joined,
    cut: Callable[..., Any] = View,
) -> _T:
    """Opens what a split expression asks for; each split it names is opened once.

    Args:
        splits: For every split a function that opens it.
        expression: See the module; ``all`` joins every split. May be left out where there is one.
            ``validation``, ``val``, ``valid`` and ``dev`` are one name where only one is there.
        what: What messages call the whole.
        join: Puts several parts end to end.
        cut: Called with a whole split, a range of its places, and a ``name``; gives that part.

    Raises:
        DataError: If a split does not exist (with the nearest one), or the expression is missing,
            unreadable or out of range.
    """
    if expression is None:
        if len(splits) > 1:
            raise DataError(f"{what} has several splits; choose one of: {', '.join(splits)}")
        expression = next(iter(splits))
    slices = parse_split(expression)
    named = dict(splits)
    named.setdefault("all", lambda: join([splits[name]() for name in splits]))
    held = [name for name in _HELD if name in splits]
    if len(held) == 1:
        named |= {name: splits[held[0]] for name in _HELD}
    unknown = [
        f"{part.name!r}: {closest(part.name, splits)}" for part in slices if part.name not in named
    ]
    if unknown:
        raise DataError(f"{what} has no such split:\n{listing(unknown)}")
    opened: dict[str, _T] = {}
    parts: list[_T] = []
    for part in slices:
        if part.name not in opened:
            opened[part.name] = named[part.name]()
        whole = opened[part.name]
        if not part.start and not part.stop:
            parts.append(whole)
            continue
        start, stop = part.bounds(len(whole))
        name = f"{getattr(whole, 'name', what)}[{part.start}:{part.stop}]"
        parts.append(cut(whole, range(start, stop), name=name))
    return parts[0] if len(parts) == 1 else join(parts)
