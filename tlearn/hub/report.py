"""What became of every parameter when weights met a model."""

import dataclasses
from collections.abc import Mapping

from tlearn.params import Digest, table

STATUSES = ("loaded", "cast", "resized", "fresh", "left behind")
"""Every leaf has exactly one of these."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One leaf.

    Attributes:
        path: Its path; the collection first for statistics.
        status: One of `STATUSES`.
        shape: Its shape in the model; in the source for what is left behind.
        detail: What was done: the cast, the operation, the rule.
    """

    path: str
    status: str
    shape: tuple[int, ...]
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Report:
    """One entry for every leaf of the model and for every leaf left behind.

    Attributes:
        entries: In the order of paths.
        digests: SHA-256 over the arrays of each status; none if the numbers were not read.
        source: Where the weights came from.
    """

    entries: tuple[Entry, ...]
    digests: Mapping[str, str]
    source: str

    def paths(self, status: str) -> tuple[str, ...]:
        """Lists the paths of one status."""
        return tuple(entry.path for entry in self.entries if entry.status == status)

    def full(self) -> str:
        """Lays out one row for every leaf."""
        rows = [(e.path, e.status, e.shape, e.detail) for e in self.entries]
        return table(("path", "status", "shape", "detail"), rows)

    def __str__(self) -> str:
        rows = []
        for status in STATUSES:
            entries = [entry for entry in self.entries if entry.status == status]
            if entries:
                rows.append(
                    (
                        status,
                        len(entries),
                        sum(_count(entry.shape) for entry in entries),
                        self.digests.get(status, "not read")[:12],
                        _summary(entries),
                    )
                )
        header = ("status", "arrays", "numbers", "digest", "what")
        return f"from {self.source}\n{table(header, rows, right=(1, 2))}"


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _summary(entries: list[Entry]) -> str:
    """Names the layers concerned, and what was done where that is not plain."""
    layers: dict[str, None] = {}
    details: dict[str, None] = {}
    for entry in entries:
        parts = entry.path.split("/")
        layers["/".join(parts[:2]) if parts[0] == "body" else parts[0]] = None
        if entry.detail:
            details[entry.detail] = None
    names = list(layers)
    shown = ", ".join(names) if len(names) <= 4 else f"{len(names)} layers"
    return shown + (f" ({'; '.join(list(details)[:3])})" if details else "")


def make_report(entries: list[Entry], digests: Mapping[str, Digest], source: str) -> Report:
    """Builds a report; ``digests`` are those of the arrays of each status."""
    finished = {status: total.hexdigest() for status, total in digests.items()}
    return Report(tuple(sorted(entries, key=lambda e: (e.path, e.status))), finished, source)
