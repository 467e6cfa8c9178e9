"""Plain text tables, for plans, reports and golden tests."""

from collections.abc import Sequence
from typing import Any


def table(
    header: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[int] = ()
) -> str:
    """Lays out rows under a header in columns of equal width.

    Args:
        header: Names of the columns.
        rows: Cells; anything but strings is rendered with `str`.
        right: Indices of the columns to align to the right (numbers).

    Raises:
        ValueError: If a row has another number of cells than the header.

    Example:
        >>> print(table(["path", "size"], [["head/bias", 10]], right=[1]))
        path       size
        ---------  ----
        head/bias    10
    """
    cells = [[str(cell) for cell in row] for row in rows]
    for row in cells:
        if len(row) != len(header):
            raise ValueError(f"a row has {len(row)} cells, the header {len(header)}: {row}")
    widths = [max(len(r[i]) for r in [list(header), *cells]) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        parts = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(parts).rstrip()

    return "\n".join([line(header), line(["-" * w for w in widths]), *map(line, cells)])
