"""An n-gram model with Kneser-Ney smoothing: what a language model has to beat.

Interpolated modified Kneser-Ney over token numbers (Chen & Goodman 1998, TR-10-98, section 3). The
vocabulary is closed: the lowest order is interpolated with the uniform distribution, so that every
token of it has a probability above zero after any context, and no other token can occur.

Shapes: ``t`` tokens to be predicted, ``v`` vocabulary, ``n`` n-grams of one order, ``h`` contexts.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64, Integer

FALLBACK = (0.5, 1.0, 1.5)
"""Discounts where there is too little text to estimate them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Order:
    """The n-grams of one order, as sorted arrays.

    Attributes:
        grams: Every n-gram that occurs, as one number: its tokens as digits.
        taken: Its count less the discount. The count is how often it occurs at the highest order,
            and below that how many different tokens it follows.
        contexts: Every n-gram less its last token, once.
        totals: Sum of the counts of a context.
        left: Share of a context's probability that its discounts leave to the order below.
        discounts: What is taken off counts of 1, of 2, and of 3 or more.
    """

    grams: Int64[np.ndarray, " n"]
    taken: Float64[np.ndarray, " n"]
    contexts: Int64[np.ndarray, " h"]
    totals: Float64[np.ndarray, " h"]
    left: Float64[np.ndarray, " h"]
    discounts: tuple[float, float, float]


@dataclasses.dataclass(frozen=True, eq=False)
class KneserNey:
    """A fitted n-gram model; `fit` makes one.

    Attributes:
        vocab_size: Tokens that can occur: 0 to ``vocab_size - 1``.
        eos: The token that ends a document, and that a document begins after; None if documents
            have no end, and begin after nothing.
        orders: From unigrams up.
    """

    vocab_size: int
    eos: int | None
    orders: tuple[Order, ...]

    def log_probabilities(
        self, documents: Sequence[Integer[np.ndarray, " _"]]
    ) -> Float64[np.ndarray, " t"]:
        """Computes the log probability of every token of some documents, and of their ends.

        Raises:
            ValueError: If a token is outside the vocabulary.
        """
        stream, places = _stream(documents, self.vocab_size, self.eos, len(self.orders))
        return np.log(self._probabilities(stream, places))

    def perplexity(self, documents: Sequence[Integer[np.ndarray, " _"]]) -> float:
        """Computes exp of the mean negative log probability of a token.

        With an ``eos``, ends of documents are predicted as well, as a language model reads them:
        a document of n tokens counts n + 1.
        """
        return math.exp(-float(np.mean(self.log_probabilities(documents))))

    def after(self, context: Sequence[int]) -> Float64[np.ndarray, " v"]:
        """Computes the probability of every token after a context; they sum to one.

        Args:
            context: The tokens before, of which the last ones count; a document's begin is ``eos``.
        """
        width = len(self.orders)
        begin = self.vocab_size if self.eos is None else self.eos
        kept = [begin] * (width - 1) + [int(token) for token in context]
        rows = np.tile(np.array([*kept[len(kept) - width + 1 :], 0], np.int64), self.vocab_size)
        places = np.arange(self.vocab_size, dtype=np.int64) * width + width - 1
        rows[places] = np.arange(self.vocab_size)
        return self._probabilities(rows, places)

    def _probabilities(
        self, stream: Int64[np.ndarray, " _"], places: Int64[np.ndarray, " t"]
    ) -> Float64[np.ndarray, " t"]:
        """Computes the probability of the tokens at some places of a stream, order by order."""
        base = self.vocab_size + 1
        found = np.full(len(places), 1 / self.vocab_size)
        for size, order in enumerate(self.orders, start=1):
            grams = _grams(stream, places, size, base)
            context, known = _look_up(order.contexts, grams // base)
            gram, seen = _look_up(order.grams, grams)
            share = np.where(seen, order.taken[gram], 0.0) / order.totals[context]
            # After a context that never occurred, the order below has all to say.
            found = np.where(known, share + order.left[context] * found, found)
        return found


def fit(
    documents: Sequence[Integer[np.ndarray, " _"]],
    vocab_size: int,
    *,
    eos: int | None = None,
    order: int = 3,
) -> KneserNey:
    """Counts n-grams and estimates their discounts.

    The discounts of an order are, with n_i the number of its n-grams of count i and
    Y = n_1 / (n_1 + 2 n_2): D_1 = 1 - 2 Y n_2 / n_1, D_2 = 2 - 3 Y n_3 / n_2,
    D_3+ = 3 - 4 Y n_4 / n_3 (Chen & Goodman 1998, equation 17). Where one of n_1 to n_4 is zero,
    they are 0.5, 1 and 1.5.

    Args:
        documents: Tokens of every document, without special ones.
        vocab_size: Tokens that can occur, ``eos`` included.
        eos: The token that ends every document and that every document begins after.
        order: Longest n-gram; 3 for trigrams.

    Raises:
        ValueError: If there is nothing to count, a token is outside the vocabulary, or the order
            and the vocabulary are too large for n-grams to be numbered.
    """
    base = vocab_size + 1
    if order < 1 or base**order > np.iinfo(np.int64).max:
        raise ValueError(
            f"order {order} with a vocabulary of {vocab_size}: expected an order from 1 up, and "
            "(vocabulary + 1) ** order below 2 ** 63; take a lower order"
        )
    stream, places = _stream(documents, vocab_size, eos, order)
    if not len(places):
        raise ValueError("there are no tokens to count n-grams of")
    grams, counts = np.unique(_grams(stream, places, order, base), return_counts=True)
    found = []
    for size in range(order, 0, -1):
        found.append(_order(grams, counts, base))
        # Below the highest order an n-gram counts once for every token it follows.
        grams, counts = np.unique(grams % base ** (size - 1), return_counts=True)
    return KneserNey(vocab_size, eos, tuple(reversed(found)))


def discounts(counts: Integer[np.ndarray, " n"]) -> tuple[float, float, float]:
    """Estimates what to take off counts of 1, of 2 and of 3 or more; see `fit`."""
    n1, n2, n3, n4 = (int(np.sum(counts == i)) for i in (1, 2, 3, 4))
    if not min(n1, n2, n3, n4):
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    raw = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    # Odd counts of counts can ask for less than nothing.
    one, two, more = (max(0.0, each) for each in raw)
    return one, two, more


def _order(grams: Int64[np.ndarray, " n"], counts: Integer[np.ndarray, " n"], base: int) -> Order:
    """Takes the discounts off the counts of one order, and adds up what that leaves."""
    off = discounts(counts)
    less = np.array((0.0, *off))[np.minimum(counts, 3)]
    # Sorted n-grams have sorted contexts: each is one run.
    contexts, first = np.unique(grams // base, return_index=True)
    totals = np.add.reduceat(counts.astype(np.float64), first)
    return Order(
        grams=grams,
        taken=counts - less,
        contexts=contexts,
        totals=totals,
        left=np.add.reduceat(less, first) / totals,
        discounts=off,
    )


def _stream(
    documents: Sequence[Integer[np.ndarray, " _"]], vocab_size: int, eos: int | None, order: int
) -> tuple[Int64[np.ndarray, " _"], Int64[np.ndarray, " t"]]:
    """Lays documents end to end, each after a full context; and says which places are predicted."""
    # One more than the last token: it is part of contexts only.
    begin = np.full(order - 1, vocab_size if eos is None else eos, np.int64)
    end = np.array([] if eos is None else [eos], np.int64)
    parts: list[np.ndarray] = []
    predicted: list[np.ndarray] = []
    for number, document in enumerate(documents):
        tokens = np.asarray(document, np.int64)
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() < vocab_size:
            raise ValueError(
                f"document {number} has tokens from {tokens.min()} to {tokens.max()}; the "
                f"vocabulary has 0 to {vocab_size - 1}"
            )
        parts += [begin, tokens, end]
        predicted += [np.zeros(len(begin), bool), np.ones(len(tokens) + len(end), bool)]
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(parts), np.flatnonzero(np.concatenate(predicted)).astype(np.int64)


def _grams(
    stream: Int64[np.ndarray, " _"], places: Int64[np.ndarray, " t"], size: int, base: int
) -> Int64[np.ndarray, " t"]:
    """Numbers the n-grams that end at some places."""
    number = np.zeros(len(places), np.int64)
    for back in range(size - 1, -1, -1):
        number = number * base + stream[places - back]
    return number


def _look_up(
    table: Int64[np.ndarray, " n"], wanted: Int64[np.ndarray, " t"]
) -> tuple[Int64[np.ndarray, " t"], np.ndarray]:
    """Finds where numbers stand in a sorted table; any place where they do not, and False."""
    place = np.minimum(np.searchsorted(table, wanted), len(table) - 1)
    return place, table[place] == wanted
