"""Which tokens begin a word, told from the vocabulary alone: for masking whole words."""

import dataclasses
import json
from typing import Any

import numpy as np
from jaxtyping import Bool, Int8, Int32

from tlearn.data.tokenizer import Tokenizer

_SPACE, _LETTER, _DIGIT, _OTHER = range(4)


@dataclasses.dataclass(frozen=True, eq=False)
class WordStarts:
    """What every token of a vocabulary begins and ends with.

    Where pieces inside a word are marked (``##ing``) a token begins a word if it has no mark.
    Elsewhere a word begins at white space, and where letters, digits and other signs meet.

    Attributes:
        first: [v], kind of a token's first character.
        last: [v], kind of its last one.
        inside: [v], whether it is marked as going on.
    """

    first: Int8[np.ndarray, " v"]
    last: Int8[np.ndarray, " v"]
    inside: Bool[np.ndarray, " v"] | None

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "WordStarts | None":
        """Reads a vocabulary; None where every token is a word."""
        definition = json.loads(tokenizer.definition)
        model = definition["model"]
        backend = tokenizer.backend()
        size = tokenizer.size
        first, last = np.full(size, _OTHER, np.int8), np.full(size, _OTHER, np.int8)
        if model["type"] == "WordLevel":
            return None
        if model["type"] == "WordPiece":
            prefix = model["continuing_subword_prefix"]
            inside = np.zeros(size, bool)
            for text, number in backend.get_vocab(with_added_tokens=True).items():
                inside[number] = text.startswith(prefix) and text != prefix
            return cls(first, last, inside)
        byte_level = _mentions(definition, "ByteLevel")
        letters = _byte_letters() if byte_level else {}
        for text, number in backend.get_vocab(with_added_tokens=True).items():
            plain = text.replace("▁", " ").replace("</w>", " ")
            if byte_level:
                data = bytes(letters.get(letter, 32) for letter in text)
                plain = data.decode("utf-8", "replace")
            if plain:
                first[number], last[number] = _kind(plain[0]), _kind(plain[-1])
        return cls(first, last, None)

    def of_tokens(self, ids: Int32[np.ndarray, " t"], new: bool) -> Bool[np.ndarray, " t"]:
        """Tells which tokens begin a word.

        Args:
            ids: Tokens of one document that follow each other.
            new: Whether the document begins with them.
        """
        if self.inside is not None:
            marks = ~self.inside[ids]
        else:
            marks = self.first[ids] == _SPACE
            marks[1:] |= self.first[ids[1:]] != self.last[ids[:-1]]
        if len(marks) and new:
            marks[0] = True
        return marks


def _kind(letter: str) -> int:
    if letter.isspace():
        return _SPACE
    # Part of a character that takes several tokens counts as a letter.
    if letter.isalpha() or letter == "\ufffd":
        return _LETTER
    return _DIGIT if letter.isnumeric() else _OTHER


def _mentions(definition: dict[str, Any], kind: str) -> bool:
    parts = (definition.get("pre_tokenizer"), definition.get("decoder"))
    return any(f'"{kind}"' in json.dumps(part) for part in parts)


def _byte_letters() -> dict[str, int]:
    """The letter that stands for each byte in byte-level vocabularies (GPT-2), by letter.

    Bytes that print stand for themselves; the others, in order, for the letters from U+0100 up.
    """
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    found = {chr(byte): byte for byte in printed}
    others = (byte for byte in range(256) if byte not in set(printed))
    return found | {chr(0x100 + place): byte for place, byte in enumerate(others)}
