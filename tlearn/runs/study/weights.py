"""What the runs of a group begin with: weights that stand still once, the others when needed."""

import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tlearn import hub
from tlearn.model import Model
from tlearn.params import FlatParams
from tlearn.runs.config import RunConfig
from tlearn.runs.initial import Initial, initial, load_source
from tlearn.tasks import Task


@dataclasses.dataclass(frozen=True, eq=False)
class Beginning:
    """What the runs of a line begin with, as far as it takes no memory.

    Attributes:
        config: Of one of the runs: its seed and strategy say what is drawn.
        task: The data.
        shapes: Shapes of all parameters by path.
        fresh: Paths of those that are drawn.
    """

    config: RunConfig
    task: Task
    shapes: FlatParams
    fresh: frozenset[str]


class Weights:
    """The weights of a group of runs, in memory once where anything needs them, and else not.

    What no run ever trains is there from the beginning to the end. The rest is read first when the
    group is made, so that a source that does not fit is told before anything compiles; whoever
    `take`s it is its only holder. Asked again, the file is read again: the loaded weights of what
    trains would otherwise lie beside those that are trained as long as the study goes on.

    Attributes:
        still: Parameters that nobody trains and no seed tells apart, by path.
        loaded: Paths that the source has, in some line at least.
        drawn: Paths that lines may have other values at; none if there is one line.
    """

    def __init__(
        self,
        model: Model,
        lines: Sequence[Beginning],
        moving: Collection[str],
        source: hub.Source | None,
        dtypes: Mapping[str, Any],
    ):
        """Reads and draws everything once.

        Args:
            model: Body and head of the runs.
            lines: What the runs of each line begin with.
            moving: Paths of the parameters that train in any stage.
            source: What is loaded; not held.
            dtypes: What parameters are read in, by path; the model's own by default.

        Raises:
            ValueError: If the source does not fit.
        """
        self._model, self._lines, self._dtypes = model, tuple(lines), dict(dtypes)
        # What several lines load is the same in all: the first of them reads it.
        self._reader: dict[str, int] = {}
        for number, line in enumerate(lines):
            for path in line.shapes.keys() - line.fresh:
                self._reader.setdefault(path, number)
        self.loaded = frozenset(self._reader)
        apart = lines if len(lines) > 1 else ()
        self.drawn = frozenset().union(*(line.fresh for line in apart))
        self._still = frozenset(self.shapes) - frozenset(moving) - self.drawn
        self._digests: dict[Any, Mapping[str, str]] = {}
        self._statistics: dict[int, FlatParams] = {}
        self.still: FlatParams = {}
        for number in range(len(lines)):
            if paths := self._read_by(number, still=True):
                begun = self._initial(number, paths, source)
                self.still |= {path: begun.params[path] for path in paths}
        first = self._begin(range(len(lines)), source)
        # Of a single line also what it drew.
        self.still |= {p: first[0].pop(p) for p in self._still - self.loaded}
        self._first: dict[int, FlatParams] | None = first

    def line(self, number: int) -> FlatParams:
        """All that a line begins with, before anybody took it."""
        return {**self.still, **(self._first or self._begin([number], self._source()))[number]}

    def statistics(self, line: int) -> FlatParams:
        """A line's statistics by path."""
        return self._statistics[line]

    def take(self, lines: Collection[int]) -> dict[int, FlatParams]:
        """What is not `still`, by line; nobody else holds it.

        Raises:
            ValueError: If the source is not what it was when it was first read.
        """
        first, self._first = self._first, None
        if first is None:
            first = self._begin(lines, self._source())
        return {line: first[line] for line in lines}

    def cast(self, paths: Collection[str], dtype: Any) -> None:
        """Keeps some of what stands still in another dtype from now on."""
        for path in self.still.keys() & frozenset(paths):
            self.still[path] = self.still[path].astype(dtype)

    def source(self, paths: Collection[str]) -> FlatParams:
        """The source's weights as they are in its file, and of what no run loads what one drew.

        What stands still is not read for it, unless it is kept in another dtype.

        Args:
            paths: Which parameters.

        Raises:
            ValueError: If the source is not what it was when it was first read.
        """
        held = {
            path: value
            for path, value in self.still.items()
            if path in paths and value.dtype == self.shapes[path].dtype
        }
        absent = frozenset(paths) - held.keys()
        asked = {(self._reader.get(path, self.least), path in self._still) for path in absent}
        source = self._source() if asked else None
        for line, still in sorted(asked):
            mine = self._read_by(line, still=still)
            begun = self._initial(line, mine, source, plain=True)
            drawn = self._lines[line].fresh - self.loaded if line == self.least else frozenset()
            held |= {path: begun.params[path] for path in absent & (mine | drawn)}
        return held

    @functools.cached_property
    def least(self) -> int:
        """The line that draws least."""
        return min(range(len(self._lines)), key=lambda line: len(self._lines[line].fresh))

    @property
    def shapes(self) -> FlatParams:
        """Shapes of all parameters by path."""
        return self._lines[0].shapes

    def _source(self) -> hub.Source | None:
        return load_source(self._lines[0].config)

    def _read_by(self, line: int, *, still: bool) -> frozenset[str]:
        """What a line reads for all, of what stands still or of the rest."""
        mine = frozenset(path for path, reader in self._reader.items() if reader == line)
        return mine & self._still if still else mine - self._still

    def _begin(self, lines: Collection[int], source: hub.Source | None) -> dict[int, FlatParams]:
        """What moves, or is drawn, of some lines."""
        rest = self.shapes.keys() - self.still.keys()
        lent = {line: rest - self._lines[line].fresh for line in lines}
        readers = {self._reader[path] for paths in lent.values() for path in paths}
        read: FlatParams = {}
        found: dict[int, FlatParams] = {}
        for line in sorted({*lines, *readers}):
            mine = self._read_by(line, still=False) if line in readers else frozenset()
            begun = self._initial(line, mine, source)
            read |= {path: begun.params[path] for path in mine}
            if line in lines:
                self._statistics.setdefault(line, begun.collections)
                found[line] = {p: begun.params[p] for p in rest & self._lines[line].fresh}
        return {line: own | {p: read[p] for p in lent[line]} for line, own in found.items()}

    def _initial(
        self, line: int, paths: frozenset[str], source: hub.Source | None, *, plain: bool = False
    ) -> Initial:
        """Draws a line's layers, and reads some parameters and all statistics."""
        asked = self._lines[line]
        dtypes = {} if plain else self._dtypes
        begun = initial(asked.config, source, self._model, asked.task, dtypes=dtypes, only=paths)
        now = {} if begun.report is None else dict(begun.report.digests)
        before = self._digests.setdefault((line, paths, plain and bool(self._dtypes)), now)
        if now != before:
            raise ValueError(
                "the source changed since the study read it: the digests of what is loaded are "
                f"{now}, and were {before}; bring the old file back, or run another study"
            )
        return begun
