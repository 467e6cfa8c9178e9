"""T5's objectives on pieces of text: which tokens go to the encoder and which to the decoder.

A side is given as codes end to end: a place in the piece; -1, -2, ... for the first sentinel, the
second, ...; and the piece's count of tokens for the mark that ends it.

Shapes: ``q`` pieces, ``i`` items of all pieces end to end, ``k`` and ``s`` codes of all pieces.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, UInt64

from tlearn.data.pieces import ragged


class Sides(NamedTuple):
    """What encoder and decoder get of each piece: how many codes, and all of them end to end."""

    encoder_sizes: Int64[np.ndarray, " q"]
    encoder: Int64[np.ndarray, " k"]
    decoder_sizes: Int64[np.ndarray, " q"]
    decoder: Int64[np.ndarray, " s"]


class Shares(NamedTuple):
    """How many tokens of each piece are dropped, and in how many spans."""

    dropped: Int64[np.ndarray, " q"]
    spans: Int64[np.ndarray, " q"]


def shares(counts: Int64[np.ndarray, " q"], rate: float, mean: float) -> Shares:
    """Counts dropped tokens and spans, as the published code rounds them.

    At least one token is dropped, in at least one span; at least one is kept, where there are two.
    Spans lie apart, so there are no more of them than tokens kept between.
    """
    dropped = np.rint(counts * rate).astype(np.int64)
    dropped = np.clip(dropped, 1, np.maximum(counts - 1, 1))
    spans = np.maximum(np.rint(dropped / mean).astype(np.int64), 1)
    return Shares(dropped, np.minimum(spans, np.maximum(counts - dropped, 1)))


def side_sizes(
    counts: Int64[np.ndarray, " q"], rate: float, mean: float
) -> tuple[Int64[np.ndarray, " q"], Int64[np.ndarray, " q"]]:
    """Counts what encoder and decoder get: tokens, a sentinel for every span, and the end mark."""
    dropped, spans = shares(counts, rate, mean)
    return counts - dropped + spans + 1, dropped + spans + 1


def filling(length: int, rate: float, mean: float) -> int:
    """Finds how many tokens fill an encoder's row of ``length`` once spans are dropped from them.

    Raffel et al. (2020), section 3.1.4, and the published code: 568 tokens for 512 at 15 % and 3.
    """
    # Of n tokens the encoder keeps about (1 - rate) n: no more than this can fit.
    counts = np.arange(1, 2 + int(2 * length / max(1 - rate, 0.01)))
    fits = side_sizes(counts, rate, mean)[0] <= length
    return int(counts[fits][-1])


def parts(
    items: Int64[np.ndarray, " q"], number: Int64[np.ndarray, " q"], bits: UInt64[np.ndarray, " i"]
) -> Bool[np.ndarray, " i"]:
    """Divides each piece's items into a number of parts, every way being equally likely.

    Args:
        items: How many items there are; at least as many as parts, or none.
        number: How many parts.
        bits: A random number for each item.

    Returns:
        Whether an item is the first of its part.
    """
    owner, place = ragged(items)
    # Sorted by piece and then by draw; each piece's first item always comes first and is chosen.
    keys = np.where(place == 0, np.uint64(0), bits >> np.uint64(1) | np.uint64(1))
    order = np.lexsort((keys, owner))
    begins = np.zeros(len(owner), bool)
    begins[order] = place < number[owner]
    return begins


def corrupt_spans(
    counts: Int64[np.ndarray, " q"],
    given: Shares,
    kept_bits: UInt64[np.ndarray, " i"],
    dropped_bits: UInt64[np.ndarray, " j"],
) -> Sides:
    """Drops random spans of each piece: sentinels stand for them, and come before them in turn.

    Kept tokens and dropped ones are each divided at random into as many parts as there are spans,
    which then alternate, a kept one first (the published code's segmentation): a piece begins with
    a kept token and ends with a dropped one.

    Args:
        counts: Tokens of each piece.
        given: What is dropped of each.
        kept_bits: A random number for each kept token.
        dropped_bits: One for each dropped token.
    """
    kept, spans = counts - given.dropped, given.spans
    own, number = ragged(spans)
    first = np.cumsum(spans) - spans
    kept_of, kept_place = ragged(kept)
    dropped_of, dropped_place = ragged(given.dropped)
    kept_part = _part(kept, parts(kept, spans, kept_bits), kept_of)
    dropped_part = _part(given.dropped, parts(given.dropped, spans, dropped_bits), dropped_of)
    # Tokens kept up to and with each part, and dropped before it, within its piece.
    kept_sizes = np.bincount(first[kept_of] + kept_part, minlength=len(own))
    kept_until = np.cumsum(kept_sizes) - (np.cumsum(kept) - kept)[own]
    dropped_sizes = np.bincount(first[dropped_of] + dropped_part, minlength=len(own))
    before = np.cumsum(dropped_sizes) - dropped_sizes
    before = before - (np.cumsum(given.dropped) - given.dropped)[own]
    encoder_sizes, decoder_sizes = kept + spans + 1, given.dropped + spans + 1
    encoder, decoder = np.repeat(counts, encoder_sizes), np.repeat(counts, decoder_sizes)
    begin = np.cumsum(encoder_sizes) - encoder_sizes
    encoder[begin[kept_of] + kept_place + kept_part] = (
        kept_place + before[first[kept_of] + kept_part]
    )
    encoder[begin[own] + kept_until + number] = -1 - number
    begin = np.cumsum(decoder_sizes) - decoder_sizes
    decoder[begin[dropped_of] + dropped_place + dropped_part + 1] = (
        dropped_place + kept_until[first[dropped_of] + dropped_part]
    )
    decoder[begin[own] + before + number] = -1 - number
    return Sides(encoder_sizes, encoder, decoder_sizes, decoder)


def split_prefix(counts: Int64[np.ndarray, " q"], draws: UInt64[np.ndarray, " q"]) -> Sides:
    """Gives the encoder a random prefix of each piece and the decoder the rest.

    The prefix LM of Raffel et al. (2020), section 3.2.1: every split that leaves both a token is
    equally likely. A piece of one token goes to the decoder.

    Args:
        counts: Tokens of each piece.
        draws: A random number for each.
    """
    choices = np.maximum(counts - 1, 1)
    drawn = (draws >> np.uint64(32)) * choices.astype(np.uint64) >> np.uint64(32)
    prefix = np.minimum(1 + drawn.astype(np.int64), counts - 1)
    owner, place = ragged(prefix + 1)
    encoder = np.where(place == prefix[owner], counts[owner], place)
    owner, place = ragged(counts - prefix + 1)
    return Sides(prefix + 1, encoder, counts - prefix + 1, place + prefix[owner])


def _part(items: np.ndarray, begins: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Number within its piece of the part that each item is in."""
    if not len(owner):
        return np.zeros(0, np.int64)
    number = np.cumsum(begins)
    start = np.minimum(np.cumsum(items) - items, len(owner) - 1)
    return number - number[start][owner]
