"""A corpus as tokens on disk: built once, mapped into memory, read at any place.

Shapes: ``t`` tokens of all documents, ``n`` documents, ``m`` sentences.
"""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64

from tlearn.data.corpus import Corpus
from tlearn.data.errors import DataError
from tlearn.data.sentences import pieces
from tlearn.data.spliced import Spliced
from tlearn.data.streams import permutation
from tlearn.data.token_store_file import FORMAT, SHARD, Writer, map_files, new_folder, read_meta
from tlearn.data.tokenizer import Tokenizer
from tlearn.data.word_starts import WordStarts

_ENDS_AT_ONCE = 1 << 14
"""Documents that end in a batch at most, however short they are."""
Progress = Callable[[int, int], None]
_AT_ONCE = 1 << 19
"""Characters that are tokenised together: enough for all cores, little memory."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TokenStore:
    """The tokens of a corpus, without special ones, opened read-only.

    Attributes:
        name: The corpus.
        tokens: [t], all documents end to end, uint16 or int32; an array or `Spliced`.
        starts: [n + 1], where each document begins; the last entry is where the last one ends.
        sentences: [m], where sentences begin, the beginning of every document among them.
        word_starts: [t], whether a token begins a word; None where every token is a word.
        ids: [n], names of the documents.
        vocab_size: Rows of an embedding that every token has its own row in.
        special: Special tokens by what they are for, as in ``{"cls": 101, "pad": 0}``.
        pad: The token to pad with.
        digest: SHA-256 of the texts and of what made tokens of them.
        how: The tokenizer's digest and the store's format.
        origin: ``"built"``, ``"reopened"``, or ``"rebuilt: "`` and which file has changed.
        empty: Documents that were left out because they have no token.
        left_out: Documents, or docstrings, left out for a held-out text; None where nothing was
            held out, or a store of an earlier version did not count.
        folder: Where it lies; None for a part of one.
    """

    name: str
    tokens: Any
    starts: Any
    sentences: Any
    word_starts: Any
    ids: Sequence[str]
    vocab_size: int
    special: Mapping[str, int]
    pad: int
    digest: str
    how: str
    origin: str = "reopened"
    empty: int = 0
    left_out: int | None = None
    folder: Path | None = None

    def __len__(self) -> int:
        """The number of documents."""
        return len(self.starts) - 1

    def document(self, index: int | np.integer) -> Int32[np.ndarray, " t"]:
        """Reads the tokens of one document."""
        index = range(len(self))[int(index)]
        found = self.tokens[int(self.starts[index]) : int(self.starts[index + 1])]
        return np.asarray(found).astype(np.int32)

    def part(self, documents: Int64[np.ndarray, " k"]) -> "TokenStore":
        """Looks at some documents, in the order given, as at a store of their own.

        Raises:
            DataError: If there are none, or one is no document of this store.
        """
        chosen = np.asarray(documents, np.int64)
        if not chosen.size or chosen.min() < 0 or chosen.max() >= len(self):
            raise DataError(
                f"{self.name}: a part of {chosen.size} documents, numbers "
                f"{chosen.min() if chosen.size else '-'} to {chosen.max() if chosen.size else '-'};"
                f" expected at least one, from 0 to {len(self) - 1}"
            )
        begins, ends = np.asarray(self.starts[chosen]), np.asarray(self.starts[chosen + 1])
        lengths = ends - begins
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        first = np.searchsorted(self.sentences, begins)
        counts = np.searchsorted(self.sentences, ends) - first
        words = self.word_starts
        code = hashlib.sha256(f"{self.digest} part".encode() + chosen.astype("<i8").tobytes())
        return dataclasses.replace(
            self,
            tokens=Spliced([self.tokens], begins, lengths),
            starts=starts,
            sentences=Spliced([self.sentences], first, counts, shifts=starts[:-1] - begins),
            word_starts=None if words is None else Spliced([words], begins, lengths),
            ids=_Chosen(self.ids, chosen),
            digest=code.hexdigest(),
            folder=None,
            empty=0,
            left_out=None,
        )

    def __str__(self) -> str:
        mean = len(self.tokens) / max(len(self), 1)
        empty = f", {self.empty} empty ones left out" if self.empty else ""
        return (
            f"{self.name}: {len(self.tokens):,} tokens in {len(self):,} documents{empty}, mean "
            f"{mean:.0f}, {len(self.sentences):,} sentences, vocabulary of {self.vocab_size:,}"
        )


class _Chosen(Sequence[str]):
    def __init__(self, ids: Sequence[str], chosen: np.ndarray):
        self._ids, self._chosen = ids, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._ids[int(i)] for i in self._chosen[index]]
        return self._ids[int(self._chosen[index])]


def build_store(
    corpus: Corpus,
    tokenizer: Tokenizer,
    cache_folder: str | Path,
    *,
    shard: int = SHARD,
    progress: Progress | None = None,
) -> TokenStore:
    """Opens a corpus's token store, and builds it first where there is none.

    The corpus is read through for its digest every time, so a file that has changed is noticed;
    a store of its old contents stays, and a new one is built beside it. Building holds a batch of
    sentences in memory, never the corpus. A folder appears when it is whole.

    Args:
        corpus: The documents.
        tokenizer: What makes tokens of them.
        cache_folder: Where stores lie, each in a folder of its own.
        shard: Tokens of a file at most.
        progress: Called with (documents done, 0), as nobody knows how many there are.

    Raises:
        DataError: If the corpus cannot be read, holds no token, or changes while it is read.
    """
    cache = Path(cache_folder).expanduser()
    before = corpus.digest
    key = hashlib.sha256(f"{tokenizer.digest} {before} {FORMAT}".encode()).hexdigest()
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", corpus.name).strip("-.")[:48] or "corpus"
    folder = cache / f"{slug}-{key[:16]}"
    meta = read_meta(folder)
    if meta is not None:
        return _opened(folder, meta, tokenizer, "reopened")
    parts = dict(corpus.parts)
    changed = _changed(cache, corpus.name, tokenizer, parts)
    words = WordStarts.of(tokenizer)
    dtype = np.dtype("<u2" if tokenizer.size <= 1 << 16 else "<i4")
    with new_folder(folder) as partial:
        writer = Writer(partial, dtype, words is not None, shard)
        try:
            empty = _write(corpus, tokenizer, words, writer, progress)
        finally:
            writer.close()
        if not writer.documents:
            raise DataError(f"{corpus.name}: holds no text: {empty} documents, all empty")
        if corpus.digest != before:
            now = [name for name, digest in corpus.parts.items() if parts.get(name) != digest]
            raise DataError(
                f"{corpus.name}: changed while its tokens were made ({', '.join(now[:5])}); run "
                "again when nobody writes to it"
            )
        writer.finish(
            {
                "name": corpus.name,
                "digest": key,
                "tokenizer": tokenizer.digest,
                "corpus": before,
                "parts": parts,
                "empty": empty,
                "left_out": corpus.left_out,
            }
        )
    meta = read_meta(folder)
    if meta is None:
        raise DataError(f"{folder}: the token store vanished after it was built")
    return _opened(folder, meta, tokenizer, f"rebuilt: {changed}" if changed else "built")


def _opened(folder: Path, meta: dict[str, Any], tokenizer: Tokenizer, origin: str) -> TokenStore:
    return TokenStore(
        name=meta["name"],
        **map_files(folder, meta),
        vocab_size=tokenizer.size,
        special=dict(tokenizer.special),
        pad=tokenizer.pad,
        digest=meta["digest"],
        how=f"{meta['tokenizer']} format={meta['format']}",
        origin=origin,
        empty=meta["empty"],
        left_out=meta.get("left_out"),
        folder=folder,
    )


def _changed(cache: Path, name: str, tokenizer: Tokenizer, parts: Mapping[str, str]) -> str:
    """Which file differs from the newest store of the same name and tokenizer; empty if none."""
    if not cache.is_dir():
        return ""
    found = []
    for path in cache.glob("*/meta.json"):
        if path.parent.name.startswith("."):
            continue
        try:
            meta = read_meta(path.parent)
        except DataError:
            continue  # A store of its own trouble is not asked about this corpus.
        if meta and (meta["name"], meta["tokenizer"]) == (name, tokenizer.digest):
            found.append((path.stat().st_mtime, path.parent.name, meta["parts"]))
    if not found:
        return ""
    _, _, old = max(found, key=lambda entry: entry[:2])
    told = [f"{part} is new" for part in parts if part not in old]
    told += [f"{part} is gone" for part in old if part not in parts]
    told += [
        f"{part} has changed" for part, digest in parts.items() if old.get(part, digest) != digest
    ]
    return (
        ", ".join(told[:5]) + (f" and {len(told) - 5} more" if len(told) > 5 else "")
        if told
        else "it is read in another way"
    )


def _write(
    corpus: Corpus,
    tokenizer: Tokenizer,
    words: WordStarts | None,
    writer: Writer,
    progress: Progress | None,
) -> int:
    """Writes all documents; gives the number of those without tokens."""
    empty = done = 0
    held = 0
    for ids, sentence, document in _encoded(corpus, tokenizer):
        if document is not None:
            if writer.tokens == held:
                empty += 1
            else:
                writer.end(document)
                held = writer.tokens
            done += 1
            if progress is not None:
                progress(done, 0)
            continue
        first = writer.tokens == held
        begins = np.flatnonzero(sentence)
        if first and len(ids) and not sentence[0]:
            begins = np.concatenate([[0], begins])
        marks = None if words is None else words.of_tokens(ids, first)
        writer.add(ids, begins.astype(np.int64), marks)
    return empty


def _encoded(
    corpus: Corpus, tokenizer: Tokenizer
) -> Iterator[tuple[np.ndarray, np.ndarray, str | None]]:
    """Tokens of some sentences with where these begin; then a document's name where it ends."""
    backend = tokenizer.backend()
    waiting: list[tuple[str, bool]] = []
    ends: list[tuple[int, str]] = []
    size = 0
    for document in corpus:
        for piece in pieces(document.text):
            waiting.append(piece)
            size += len(piece[0])
            if size >= _AT_ONCE:
                yield from _flushed(backend, waiting, ends)
                waiting, ends, size = [], [], 0
        ends.append((len(waiting), document.id))
        if len(ends) >= _ENDS_AT_ONCE:
            yield from _flushed(backend, waiting, ends)
            waiting, ends, size = [], [], 0
    yield from _flushed(backend, waiting, ends)


def _flushed(
    backend: Any, waiting: list[tuple[str, bool]], ends: list[tuple[int, str]]
) -> Iterator[tuple[np.ndarray, np.ndarray, str | None]]:
    found = backend.encode_batch_fast([text for text, _ in waiting], add_special_tokens=False)
    begin = 0
    for end, name in [*ends, (len(waiting), None)]:
        if end > begin:
            parts = [np.array(encoding.ids, np.int32) for encoding in found[begin:end]]
            ids = np.concatenate(parts)
            sentence = np.zeros(len(ids), bool)
            at = 0
            for part, (_, begins) in zip(parts, waiting[begin:end], strict=True):
                if begins and len(part):
                    sentence[at] = True
                at += len(part)
            if len(ids):
                yield ids, sentence, None
            begin = end
        if name is not None:
            yield np.empty(0, np.int32), np.empty(0, bool), name


def split_store(store: TokenStore, share: float, seed: int) -> tuple[TokenStore, TokenStore]:
    """Divides a store in a training and a validation part by whole documents.

    Args:
        store: What to divide.
        share: Size of the validation part in tokens; met as nearly as whole documents in a random
            order allow, with at least one document on each side.
        seed: Which documents.

    Raises:
        DataError: If the share is outside 0..1, or there is but one document.
    """
    if not 0 < share < 1:
        raise DataError(f"{store.name}: a validation share of {share}; expected one within 0..1")
    if len(store) < 2:
        raise DataError(
            f"{store.name}: has one document, which cannot be divided; give validation texts of "
            "their own, or read it as blank: or lines:"
        )
    order = permutation(seed, "corpus validation", len(store))
    lengths = np.diff(np.asarray(store.starts))
    reached = np.cumsum(lengths[order])
    count = int(np.argmin(np.abs(reached - share * reached[-1]))) + 1
    count = min(max(count, 1), len(store) - 1)
    name = store.name
    held, kept = np.sort(order[:count]), np.sort(order[count:])
    train = dataclasses.replace(store.part(kept), name=f"{name} (training)")
    return train, dataclasses.replace(store.part(held), name=f"{name} (validation)")
