"""What a report is made of: sections of lists, tables, plots, facts and folded parts.

They are values. The page, the Markdown and the LaTeX table are renderings of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tlearn.studies.drawing import Plot
from tlearn.studies.statistics import Comparison, Interval, show

Look = Literal["figures", "text", "prose", "chip", "strip"]


@dataclass(frozen=True)
class Cell:
    """A place in a table."""

    text: str = ""
    aside: str = ""
    """What belongs to the text and is set smaller: an interval, a count of failures."""
    kind: str = ""
    """A verdict's kind, which gives the cell its colour; ``better`` is bold."""
    why: str = ""
    """The reason of the verdict."""
    strip: Comparison | None = None
    """A difference to be drawn as a strip with its interval and the zero line."""

    @property
    def says(self) -> bool:
        """Whether there is more in it than a dash."""
        drawn = self.strip is not None and self.strip.interval is not None
        return bool(self.text.strip("–")) or drawn


@dataclass(frozen=True)
class Column:
    """A column's title, and how its cells are set."""

    title: str
    look: Look = "figures"


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns; the first cell of a row is its name."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    reference: str = ""
    """The row that the others are compared with."""
    wide: bool = True
    """Whether it takes the whole width of the page."""

    def filled(self) -> "Table":
        """Gives the table without the columns that hold nothing but dashes and blanks."""
        kept = [i for i in range(len(self.columns)) if i == 0 or any(r[i].says for r in self.rows)]
        return Table(
            [self.columns[i] for i in kept],
            [[row[i] for i in kept] for row in self.rows],
            self.note,
            self.reference,
            self.wide,
        )


@dataclass(frozen=True)
class Lines:
    """Sentences, a point each."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Code:
    """Text as it is typed or stored."""

    text: str


@dataclass(frozen=True)
class Facts:
    """Names and what they are."""

    facts: Mapping[str, str]


@dataclass(frozen=True)
class Plots:
    """Pictures side by side where there is room."""

    plots: Sequence[Plot]


@dataclass(frozen=True)
class Folded:
    """What is shown only when asked for."""

    title: str
    blocks: Sequence["Block"]


Block = Table | Lines | Text | Code | Facts | Plots | Folded


@dataclass(frozen=True)
class Section:
    """Blocks under a title; without blocks it is left out."""

    title: str
    blocks: Sequence[Block]


def table(
    columns: Sequence[Column | str],
    rows: Sequence[Sequence[Cell | str]],
    *,
    note: str = "",
    reference: str = "",
    wide: bool = True,
) -> Table:
    """Builds a table; a bare string is a column of figures or a plain cell.

    Raises:
        ValueError: If a row is not as long as the columns.
    """
    given = [
        Column(c, "text" if i == 0 else "figures") if isinstance(c, str) else c
        for i, c in enumerate(columns)
    ]
    wrong = [str(row[0]) for row in rows if len(row) != len(given)]
    if wrong:
        raise ValueError(f"rows that have not {len(given)} cells: {', '.join(wrong)}")
    cells = [[Cell(c) if isinstance(c, str) else c for c in row] for row in rows]
    return Table(given, cells, note, reference, wide)


def plots_of(blocks: Sequence[Block]) -> list[Plot]:
    """Lists the pictures in blocks, folded ones too."""
    found: list[Plot] = []
    for block in blocks:
        if isinstance(block, Plots):
            found += block.plots
        elif isinstance(block, Folded):
            found += plots_of(block.blocks)
    return found


def signed(value: float | int | None, interval: Interval | None = None) -> str:
    """Renders a difference with its sign; three decimals where the interval is not finer."""
    if value is None:
        return "–"
    if interval is not None and interval.half_width >= 1e-3 and abs(value) < 1e-3:
        return f"{value:+.3f}"
    return ("+" if value >= 0 else "-") + show(abs(value))
