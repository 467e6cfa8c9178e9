"""Words, the words around them, and words drawn at random: what word vectors are trained on.

Shapes: b rows, c places around a word (twice the window), k negatives, v words.

References: Mikolov et al. 2013 (skip-gram, CBOW); Mikolov et al. 2013b, section 2.2 (negatives) and
2.3 (frequent words left out).
"""

import dataclasses
import functools
import math

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64

from tlearn.data.errors import DataError, closest
from tlearn.data.streams import permutation, stream
from tlearn.data.token_store import TokenStore

METHODS = ("skip-gram", "cbow")
POWER = 0.75
"""Of the frequencies that negatives come from, as published."""
_AT_ONCE = 1 << 24


@dataclasses.dataclass(frozen=True, eq=False)
class WordPairs:
    """Reads a store in blocks, each once an epoch, in a fresh order every epoch.

    Words are counted, rare and special ones left out of the text; of the others word ``w`` stays at
    an occurrence with the chance ``sqrt(threshold / frequency(w))``. What stays closes up, as in
    the published program: a window reaches past what was left out. A window has between 1 and
    ``window`` words on either side, as many as is drawn for it, and ends at documents and blocks.

    A batch is a dictionary of new arrays: ``words`` int32 [b], ``around`` int32 [b c] (-1 where
    there is none), ``negatives`` int32 [b c k], for cbow [b k]; ``count`` is the number of rows in
    use, the first ones. Numbers are places in ``kept``. Everything is a pure function of (seed,
    step).

    Args:
        store: The tokens, a word each.
        method: ``skip-gram`` predicts the words around a word, ``cbow`` a word by those around it.
        seed: Of all that is drawn.
        block: Words of the text read at a step.
        window: The most words on either side.
        negatives: Words drawn for each that is predicted.
        threshold: Frequency above which occurrences are left out; 0 leaves out none.
        min_count: Words that occur less often are left out.

    Raises:
        DataError: If a number makes no sense, or fewer than two words are left.
    """

    store: TokenStore
    method: str = "skip-gram"
    _: dataclasses.KW_ONLY
    seed: int
    block: int = 4096
    window: int = 5
    negatives: int = 5
    threshold: float = 1e-3
    min_count: int = 5
    _orders: dict[int, np.ndarray] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        problems = []
        if self.method not in METHODS:
            problems.append(f"method={self.method!r}: {closest(self.method, METHODS)}")
        for name in ("block", "window", "negatives", "min_count"):
            if getattr(self, name) < 1:
                problems.append(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.threshold < 1:
            problems.append(f"threshold is a frequency in [0, 1), got {self.threshold}")
        if self.seed < 0:
            problems.append(f"seed {self.seed} is negative")
        if not problems and len(self.kept) < 2:
            problems.append(
                f"{self.store.name}: {len(self.kept)} words occur min_count={self.min_count} times "
                "or more; two are needed"
            )
        if problems:
            raise DataError("no words to train on: " + "; ".join(problems))

    @functools.cached_property
    def _counted(self) -> tuple[np.ndarray, np.ndarray]:
        found = np.zeros(self.store.vocab_size, np.int64)
        for start in range(0, len(self.store.tokens), _AT_ONCE):
            part = np.asarray(self.store.tokens[start : start + _AT_ONCE])
            found += np.bincount(part, minlength=len(found))
        found[sorted(set(self.store.special.values()))] = 0
        order = np.argsort(-found, kind="stable")
        chosen = order[found[order] >= self.min_count]
        return chosen, found[chosen]

    @property
    def kept(self) -> Int64[np.ndarray, " v"]:
        """The store's numbers of the words that are trained, most frequent first."""
        return self._counted[0]

    @property
    def counts(self) -> Int64[np.ndarray, " v"]:
        """How often each of them occurs."""
        return self._counted[1]

    @functools.cached_property
    def stays(self) -> Float64[np.ndarray, " v"]:
        """The chance of each word that an occurrence stays in the text."""
        frequency = self.counts / self.counts.sum()
        if not self.threshold:
            return np.ones_like(frequency)
        return np.minimum(1.0, np.sqrt(self.threshold / frequency))

    @functools.cached_property
    def _drawn_by(self) -> Float64[np.ndarray, " v"]:
        weights = self.counts.astype(np.float64) ** POWER
        return np.cumsum(weights) / weights.sum()

    @functools.cached_property
    def _numbers(self) -> Int32[np.ndarray, " _"]:
        numbers = np.full(self.store.vocab_size, -1, np.int32)
        numbers[self.kept] = np.arange(len(self.kept))
        return numbers

    @property
    def steps_per_epoch(self) -> int:
        """Blocks of the text."""
        return math.ceil(len(self.store.tokens) / self.block)

    @property
    def rows(self) -> int:
        """Rows of a batch."""
        return min(self.block, len(self.store.tokens))

    def at(self, step: int) -> dict[str, np.ndarray]:
        """Makes the batch of a step; the same one every time."""
        if step < 0:
            raise DataError(f"step {step} is negative")
        epoch, place = divmod(step, self.steps_per_epoch)
        order = self._order(epoch)
        start = int(order[place]) * self.block
        words, documents = self._read(start, stream(self.seed, "words that stay", step))
        count = len(words)
        around = self._around(words, documents, stream(self.seed, "windows", step))
        shape = (self.rows, self.negatives)
        if self.method == "skip-gram":
            shape = (self.rows, 2 * self.window, self.negatives)
        negatives = np.zeros(shape, np.int32)
        negatives[:count] = self.draw(stream(self.seed, "negatives", step), (count, *shape[1:]))
        out = np.zeros(self.rows, np.int32)
        out[:count] = words
        near = np.full((self.rows, 2 * self.window), -1, np.int32)
        near[:count] = around
        return {
            "words": out,
            "around": near,
            "negatives": negatives,
            "count": np.asarray(count, np.int32),
        }

    def draw(self, chance: np.random.Generator, shape: tuple[int, ...]) -> Int32[np.ndarray, "..."]:
        """Draws words by their frequency to the power of 3/4."""
        places = np.searchsorted(self._drawn_by, chance.random(shape), side="right")
        return np.minimum(places, len(self.kept) - 1).astype(np.int32)

    def _order(self, epoch: int) -> np.ndarray:
        known = self._orders.get(epoch)
        if known is None:
            known = permutation(self.seed, "blocks", self.steps_per_epoch, epoch)
            # A new dictionary in the old one's place: other threads may be reading that.
            object.__setattr__(self, "_orders", {epoch: known})
        return known

    def _read(self, start: int, chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The words of a block that stay, and the document of each."""
        tokens = np.asarray(self.store.tokens[start : start + self.block]).astype(np.int64)
        words = self._numbers[tokens]
        # As many are drawn whatever stays.
        lucky = chance.random(len(words))
        stays: Bool[np.ndarray, " n"] = (words >= 0) & (lucky < self.stays[np.maximum(words, 0)])
        places = start + np.flatnonzero(stays)
        documents = np.searchsorted(np.asarray(self.store.starts), places, side="right")
        return words[stays], documents

    def _around(
        self, words: np.ndarray, documents: np.ndarray, chance: np.random.Generator
    ) -> Int32[np.ndarray, "n c"]:
        """The words within each word's window."""
        radius = chance.integers(1, self.window + 1, len(words))
        reach = np.arange(1, self.window + 1)
        offsets = np.concatenate([-reach[::-1], reach])
        places = np.arange(len(words))[:, None] + offsets
        inside = (places >= 0) & (places < len(words)) & (np.abs(offsets) <= radius[:, None])
        places = np.where(inside, places, 0)
        same = documents[places] == documents[:, None] if len(words) else inside
        return np.where(inside & same, words[places] if len(words) else -1, -1).astype(np.int32)

    def __str__(self) -> str:
        return (
            f"{len(self.kept):,} words that occur {self.min_count} times or more, "
            f"{self.counts.sum():,} occurrences of which {self.counts @ self.stays:,.0f} stay an "
            f"epoch; {self.steps_per_epoch:,} blocks of {self.block:,}"
        )
