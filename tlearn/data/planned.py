"""Data that is not here: so many examples of so many classes, or so many tokens.

What a training would cost depends on little more than these numbers, so `planned:1281167x1000`
stands for pictures or texts with labels, and `planned:3300000000` for a corpus, where costs are
counted; nothing can be read from it.
"""

import dataclasses
import hashlib
import re
from typing import Any, NoReturn

from tlearn.data.errors import DataError

PREFIX = "planned:"
_FORM = re.compile(r"(?P<count>\d[\d_,]*)(?:x(?P<classes>\d[\d_,]*))?")


@dataclasses.dataclass(frozen=True)
class Planned:
    """Numbers in the place of data.

    Attributes:
        count: Examples; tokens of a corpus.
        classes: Classes of the examples; 0 for a corpus.
    """

    count: int
    classes: int = 0


class PlannedExamples:
    """As many examples as are planned; a dataset to count, not to read."""

    in_memory = False

    def __init__(self, count: int, label_names: tuple[str, ...]):
        """Takes the number of examples and the names of their classes."""
        self.count, self.label_names = count, label_names

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        """Refuses.

        Raises:
            DataError: Always.
        """
        refuse_planned(f"{PREFIX}{self.count}x{len(self.label_names)}")

    @property
    def digest(self) -> str:
        """SHA-256 of the numbers."""
        names = "\0".join(self.label_names)
        return hashlib.sha256(f"{PREFIX}{self.count}\0{names}".encode()).hexdigest()


def is_planned(spec: object) -> bool:
    """Whether a dataset's name stands for data that is not here."""
    return str(spec).startswith(PREFIX)


def read_planned(spec: str) -> Planned:
    """Reads ``planned:EXAMPLESxCLASSES`` or ``planned:TOKENS``.

    Raises:
        DataError: If it is neither, or a number is too small to train on.
    """
    match = _FORM.fullmatch(spec.removeprefix(PREFIX))
    numbers = [] if match is None else [_number(each) for each in match.groups() if each]
    if not numbers or min(numbers) < 1 or numbers[1:] == [1]:
        raise DataError(
            f"{spec!r} cannot be planned with; write planned:EXAMPLESxCLASSES with two classes or "
            "more, as in planned:1281167x1000, or planned:TOKENS for a corpus"
        )
    return Planned(*numbers)


def refuse_planned(spec: object) -> NoReturn:
    """Refuses to read data that is not here.

    Raises:
        DataError: Always.
    """
    raise DataError(
        f"{str(spec)!r} stands for data that is not here: `tlearn explain` counts with it, but "
        "there is nothing to read; name the data itself"
    )


def _number(text: str) -> int:
    return int(re.sub("[_,]", "", text))
