"""Batches need no more memory than themselves, and are what they were when they took more.

The references are the definitions by whole arrays that the tables on disk took the place of, and
digests of the batches that were made of those. Breaks tried: draws dealt by their lowest bits;
rows numbered by their last pieces; an order of all rows sorted in memory; runs of documents joined
over a gap.
"""

import errno
import gc
import hashlib
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tests import stores
from tlearn.data import (
    DataError,
    MaskedBatches,
    Masking,
    PackedBatches,
    PairBatches,
    SpanBatches,
    StreamBatches,
    TokenStore,
    open_corpus,
    read_texts,
    scratch,
    split_store,
)
from tlearn.data.corpus import TextCorpus
from tlearn.data.joined_store import with_replay
from tlearn.data.long_orders import in_two, long_permutation
from tlearn.data.pieces import cut, pack
from tlearn.data.streams import permutation

EOS = 6
KINDS = {
    "stream": lambda *row, **drawn: StreamBatches(*row, eos=EOS, **drawn),
    "backward": lambda *row, **drawn: StreamBatches(*row, backward=True, **drawn),
    "packed": lambda *row, **drawn: PackedBatches(*row, bos=5, eos=EOS, **drawn),
    "across": lambda *row, **drawn: PackedBatches(*row, eos=EOS, cross=True, **drawn),
    "masked": MaskedBatches,
    "words": lambda *row, **drawn: MaskedBatches(*row, masking=Masking(unit="word"), **drawn),
    "next": PairBatches,
    "swap": lambda *row, **drawn: PairBatches(*row, order="swap", short=0.5, **drawn),
    "spans": lambda *row, **drawn: SpanBatches(
        *row, eos=EOS, sentinels=tuple(range(99, 79, -1)), **drawn
    ),
    "prefix": lambda *row, **drawn: SpanBatches(*row, eos=EOS, objective="prefix", **drawn),
}
GOLDEN = {
    "stream": "02b14ee5c97ccf11",
    "backward": "fca76e4c073c3cd7",
    "packed": "147431029c8350d4",
    "across": "8bd759ce0b74753b",
    "masked": "3e1d2bcc9457fe04",
    "words": "a2654f4b40c8347d",
    "next": "b2b2503bac6d6696",
    "swap": "3f4912ed707578df",
    "spans": "30333a429b214980",
    "prefix": "0baeb51371f0afeb",
}
"""Digests of batches as they were made before their tables lay in files."""


def made(kind, store, *, shuffle=True):
    return KINDS[kind](store, 4, 16, seed=3, shuffle=shuffle)


def code(batches) -> str:
    """A digest of some batches of four epochs."""
    count = batches.steps_per_epoch
    found = hashlib.sha256()
    for step in (0, 1, count // 2, count - 1, count, 3 * count + 2):
        for name, value in sorted(batches.at(step).items()):
            found.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
    return found.hexdigest()[:16]


@pytest.fixture
def in_files(monkeypatch):
    """Every table lies in files and is worked out a few numbers at a time."""
    monkeypatch.setattr(scratch, "CHUNK", 13)
    monkeypatch.setattr(scratch, "_SMALL", 0)


def corpus() -> TokenStore:
    """The training part of random documents, with some of another store."""
    train, _ = split_store(stores.random(150, 60, words=True), 0.1, seed=1)
    return with_replay(train, stores.random(80, 90, seed=1, words=True), 0.2, seed=2)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_what_they_were(kind, request):
    assert code(made(kind, corpus())) == GOLDEN[kind]
    still = code(made(kind, corpus(), shuffle=False))
    request.getfixturevalue("in_files")
    assert code(made(kind, corpus())) == GOLDEN[kind]
    assert code(made(kind, corpus(), shuffle=False)) == still


def test_orders_are_those_of_short_ones(in_files):
    for count in (1, 13, 14, 200, 1000):
        order = long_permutation(5, "order", count, 2, near=None)
        np.testing.assert_array_equal(order, permutation(5, "order", count, 2))
        first, rest = in_two(order, count // 3, None)
        np.testing.assert_array_equal(first, np.sort(order[: count // 3]))
        np.testing.assert_array_equal(rest, np.sort(order[count // 3 :]))


def packed_in_memory(costs, room):
    """Rows as lists of pieces: longest first, where least is left, by arrays of all pieces."""
    by_cost = np.argsort(-costs, kind="stable")
    counts = np.bincount(costs, minlength=room + 1)
    open_rows = [[] for _ in range(room + 1)]
    row_of = np.empty(len(costs), np.int64)
    placed = made = 0
    for cost in range(room, 0, -1):
        left = int(counts[cost])
        while left:
            space = next((s for s in range(cost, room) if open_rows[s]), room)
            if space < room:
                found = open_rows[space].pop()
                if len(found) > left:
                    open_rows[space].append(found[left:])
                    found = found[:left]
            else:
                new = -(-left // (room // cost))
                found = np.arange(made, made + new)
                made += new
            row_of[by_cost[placed : placed + len(found)]] = found
            placed, left = placed + len(found), left - len(found)
            open_rows[space - cost].append(found)
    rows = [np.flatnonzero(row_of == row).tolist() for row in range(made)]
    return sorted(rows, key=lambda row: row[0])


@pytest.mark.parametrize("seed", range(6))
def test_pieces_and_rows_are_those_of_whole_arrays(seed, in_files):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 60, 120)
    pieces = cut(lengths, 16)
    found = pieces.of(np.arange(len(pieces)))
    wanted = [(d, b, min(16, n - b)) for d, n in enumerate(lengths) for b in range(0, n, 16)]
    assert list(zip(*(part.tolist() for part in found), strict=True)) == wanted
    costs = pieces.costs(np.arange(17) + 2)
    np.testing.assert_array_equal(costs, found.counts + 2)
    packing = pack(costs, 18)
    _, _, piece = packing.of(np.arange(len(packing)))
    rows = np.split(piece, np.cumsum(np.diff(packing.starts))[:-1])
    assert [row.tolist() for row in rows] == packed_in_memory(np.asarray(costs), 18)


def test_a_part_has_the_tokens_of_its_documents(in_files):
    store = stores.random(60, 20)
    chosen = np.random.default_rng(0).permutation(60)[:40]
    chosen = np.concatenate([chosen, [3, 4, 5, 5, 6]])
    part = pickle.loads(pickle.dumps(store.part(chosen)))
    for place, number in enumerate(chosen):
        np.testing.assert_array_equal(part.document(place), store.document(number))
    begins = np.isin(np.arange(len(store.tokens)), store.sentences)
    places = np.concatenate([np.arange(store.starts[i], store.starts[i + 1]) for i in chosen])
    np.testing.assert_array_equal(part.sentences[:], np.flatnonzero(begins[places]))


@pytest.fixture(scope="module")
def many() -> TokenStore:
    """Five million tokens in half a million documents."""
    rng = np.random.default_rng(0)
    starts = np.concatenate([[0], np.cumsum(rng.integers(1, 20, 500_000))])
    count = int(starts[-1])
    return TokenStore(
        name="many",
        tokens=rng.integers(stores.FIRST, 100, count, np.uint16),
        starts=starts,
        sentences=starts[:-1],
        word_starts=None,
        ids=["0"] * 500_000,
        vocab_size=100,
        special=stores.SPECIAL,
        pad=0,
        digest="0",
        how="random",
    )


@pytest.mark.parametrize("kind", ["across", "packed", "next"])
def test_memory_is_no_more_than_a_few_megabytes(many, kind):
    gc.collect()
    tracemalloc.start()
    try:
        batches = made(kind, split_store(many, 0.05, seed=0)[0])
        for step in (0, 1, batches.steps_per_epoch):
            batches.at(step)
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 7e6
    assert left < 3e6


def test_nothing_is_left_behind_and_a_folder_that_takes_no_file_is_done_without(
    tmp_path, monkeypatch, in_files
):
    numbers = [np.arange(begin, begin + 9) for begin in range(0, 900, 9)]
    for near in (tmp_path, tmp_path / "absent"):
        found = scratch.filled(iter(numbers), near)
        assert isinstance(found, scratch.Scratch)
        np.testing.assert_array_equal(found, np.arange(900))
        assert isinstance(scratch.empty(900, np.int64, near), scratch.Scratch)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1
    # Neither folder takes one: memory does.
    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    np.testing.assert_array_equal(scratch.filled(iter(numbers), tmp_path), np.arange(900))
    assert not isinstance(scratch.empty(900, np.int64, tmp_path), scratch.Scratch)


def refused(dir: Path | None = None, **_: object) -> None:
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_full_disk_is_told(monkeypatch, in_files):
    full = open("/dev/full", "wb", 0)  # closed by what is tested
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)
    with pytest.raises(DataError, match=r"cannot be written: .*No space left.*TMPDIR"):
        scratch.filled([np.arange(900)])
    assert full.closed


def test_a_table_is_read_in_turn(tmp_path):
    file = tmp_path / "a.csv"
    line = "word " * 400
    file.write_text("text,label\n" + "".join(f'"{line}{i}",x\n' for i in range(2_000)))
    tracemalloc.start()
    try:
        corpus = open_corpus(f"table:{file}")
        count = sum(len(document.text) for document in corpus)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count > 3.9e6
    assert peak < 1e6
    whole = TextCorpus(read_texts(file))
    assert corpus.digest == whole.digest
    assert next(iter(corpus)) == next(iter(whole)) == (f"{line}0", "a.csv/0")
