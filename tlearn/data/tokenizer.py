"""Texts to tokens, by the tokenizer that a checkpoint carries in its files.

Shapes: ``n`` examples, ``t`` tokens of all examples.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int8, Int32, Int64

from tlearn.data.errors import DataError
from tlearn.data.tokenizer_files import read_tokenizer

_AT_ONCE = 1024
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of many examples, end to end.

    Attributes:
        ids: Number of every token.
        types: 1 within the second text of a pair, where the tokenizer tells them apart.
        starts: Where each example begins; the last entry is where the last one ends.
        cut: Which examples lost tokens to the greatest length.
        unknown: How many tokens stand for something the vocabulary lacks.
        special: How many tokens are special ones.
    """

    ids: Int32[np.ndarray, " t"]
    types: Int8[np.ndarray, " t"]
    starts: Int64[np.ndarray, " n1"]
    cut: Bool[np.ndarray, " n"]
    unknown: int = 0
    special: int = 0

    @property
    def lengths(self) -> Int64[np.ndarray, " n"]:
        """Tokens of each example, special ones included."""
        return np.diff(self.starts)

    @property
    def unknown_share(self) -> float:
        """Share of unknown tokens among those that are not special."""
        return self.unknown / max(len(self.ids) - self.special, 1)

    def __len__(self) -> int:
        return len(self.cut)

    def __str__(self) -> str:
        lengths = self.lengths
        cut = int(self.cut.sum())
        spread = f"{lengths.min()} to {lengths.max()} tokens, mean {lengths.mean():.1f}"
        lost = f"{cut} cut ({cut / len(self):.1%})" if cut else "none cut"
        return f"{spread}; {lost}; unknown tokens {self.unknown} ({self.unknown_share:.2%})"


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
    """A tokenizer as a value.

    Attributes:
        definition: The whole of it as the ``tokenizers`` package writes it, without a greatest
            length or padding: these belong to the batches.
        special: Special tokens by what they are for, as in ``(("cls", 101), ("pad", 0))``.
        max_length: The greatest length its files name, if they do.
        files: The files it came from; they travel with weights.
    """

    definition: str
    special: tuple[tuple[str, int], ...] = ()
    max_length: int | None = None
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict, repr=False)

    @classmethod
    def from_files(
        cls, files: Mapping[str, bytes], *, lowercase: bool | None = None
    ) -> "Tokenizer":
        """Reads a checkpoint's tokenizer.

        Args:
            files: Contents by name: ``tokenizer.json``; or ``vocab.txt`` (BERT), ``vocab.json`` and
                ``merges.txt`` (GPT-2, RoBERTa) or ``spiece.model`` (ALBERT, T5; needs the package
                sentencepiece); with ``tokenizer_config.json`` and ``special_tokens_map.json``.
            lowercase: Whether texts are lowercased, where only ``vocab.txt`` is there and nothing
                else says so.

        Raises:
            DataError: If there is no tokenizer among them, or it cannot be read.
        """
        definition, special, max_length = read_tokenizer(files, lowercase)
        return cls(definition, special, max_length, dict(files))

    @functools.cached_property
    def vocabulary(self) -> dict[str, int]:
        """Numbers of all tokens, by how they are spelt."""
        return self._backend(None).get_vocab(with_added_tokens=True)

    @property
    def size(self) -> int:
        """Rows of an embedding that every token has its own row in: the greatest number + 1."""
        return max(self.vocabulary.values()) + 1

    @property
    def pad(self) -> int:
        """Number of the padding token; 0 where there is none, as padding is masked anyway."""
        return dict(self.special).get("pad", 0)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of what it does: two that read the same texts alike and are written alike."""
        plain = json.dumps(json.loads(self.definition), sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()

    @functools.cached_property
    def unknown(self) -> int | None:
        """Number of the token for what the vocabulary lacks; None where it lacks nothing."""
        model = json.loads(self.definition)["model"]
        if model.get("unk_id") is not None:
            return int(model["unk_id"])
        return self.vocabulary.get(model.get("unk_token") or "")

    def token(self, name: str) -> int | None:
        """Number of the special token for a purpose (``cls``, ``sep``, ``mask``), or None."""
        return dict(self.special).get(name)

    def number(self, text: str) -> int | None:
        """Number of a token as it is spelt in the vocabulary, or None."""
        return self.vocabulary.get(text)

    def encode(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
        progress: Progress | None = None,
    ) -> Tokens:
        """Turns texts, or pairs of them, into tokens, special ones as the checkpoint wants them.

        Args:
            texts: The texts.
            pairs: The second text of each.
            max_length: Most tokens of an example, special ones included: longer ones are cut at
                their end, of a pair the longer text first. None cuts nothing.
            progress: Called with (texts done, texts in all).

        Raises:
            DataError: If there are no texts, or the greatest length leaves no room for them.
        """
        if not len(texts):
            raise DataError("there is no text to make tokens of")
        backend = self._backend(max_length, pairs is not None)
        ids, types, lengths, cut = [], [], [], []
        for start in range(0, len(texts), _AT_ONCE):
            some: Any = list(texts[start : start + _AT_ONCE])
            if pairs is not None:
                some = list(zip(some, pairs[start : start + _AT_ONCE], strict=True))
            for encoding in backend.encode_batch_fast(some):
                found = encoding.ids
                ids.append(np.array(found, np.int32))
                types.append(np.array(encoding.type_ids, np.int8))
                lengths.append(len(found))
                cut.append(bool(encoding.overflowing))
            if progress is not None:
                progress(len(lengths), len(texts))
        flat = np.concatenate(ids)
        special = [token for _, token in self.special if token != self.unknown]
        return Tokens(
            ids=flat,
            types=np.concatenate(types),
            starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            cut=np.array(cut, bool),
            unknown=0 if self.unknown is None else int(np.sum(flat == self.unknown)),
            special=int(np.isin(flat, special).sum()),
        )

    def backend(self) -> Any:
        """The ``tokenizers`` object for plain text: ``[SEP]`` in it is three words like any."""
        backend = self._backend(None)
        backend.encode_special_tokens = True
        return backend

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Writes tokens as text again, special ones left out."""
        return self._backend(None).decode([int(i) for i in ids], skip_special_tokens=True)

    def _backend(self, max_length: int | None, pair: bool = False) -> Any:
        """The ``tokenizers`` object, with a greatest length of its own."""
        from tokenizers import Tokenizer as Backend

        backend: Any = Backend.from_str(self.definition)
        if max_length is not None:
            added = backend.num_special_tokens_to_add(pair)
            least = added + (2 if pair else 1)
            if max_length < least:
                raise DataError(
                    f"max_length {max_length} leaves no room: {added} special tokens and one of "
                    f"each text make {least}"
                )
            backend.enable_truncation(max_length)
        return backend

    def __str__(self) -> str:
        named = ", ".join(f"{name} {number}" for name, number in self.special)
        return f"{len(self.vocabulary)} tokens ({named or 'no special ones'})"
