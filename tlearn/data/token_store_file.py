"""The folder of a token store: how it is written whole or not at all, and how it opens.

A store holds ``tokens-00000.bin``, ``tokens-00001.bin``, ... of bounded size, ``starts.bin``,
``sentences.bin``, ``words.bin`` where words are made of several tokens, ``ids.bin`` with
``id_starts.bin``, and ``meta.json``, which is written last. Numbers are little-endian.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from tlearn.data.errors import DataError
from tlearn.data.spliced import Spliced
from tlearn.data.whole_folder import whole_folder

FORMAT = 1
SHARD = 1 << 26
"""Tokens of a file at most."""


class Mapped(np.memmap):
    """A file of numbers mapped into memory; another process maps it too rather than copy it."""

    _file: tuple[str, str] | None = None

    @classmethod
    def open(cls, path: str, dtype: str) -> "Mapped":
        """Maps a whole file."""
        found = cls(path, dtype=dtype, mode="r")
        found._file = (path, dtype)
        return found

    def __array_finalize__(self, obj: Any) -> None:
        super().__array_finalize__(obj)
        # A slice or another view is not the file.
        self._file = None

    def __reduce__(self) -> Any:
        if self._file is not None:
            return Mapped.open, self._file
        return np.array(self).__reduce__()


class Ids(Sequence[str]):
    """Names of documents, read from their file when asked for."""

    def __init__(self, text: Any, starts: Any):
        """Joins the bytes of all names, end to end, with where each begins."""
        self._text, self._starts = text, starts

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[int(index)]
        begin, end = int(self._starts[index]), int(self._starts[index + 1])
        return np.asarray(self._text[begin:end]).tobytes().decode()


class Writer:
    """Appends documents to the files of a store that is not there yet."""

    def __init__(self, folder: Path, dtype: np.dtype, words: bool, shard: int):
        """Opens the files in a folder of its own."""
        self._folder, self._dtype, self._shard_size = folder, dtype, shard
        names = ("starts", "sentences", "ids", "id_starts", *(["words"] if words else []))
        self._files: dict[str, IO[bytes]] = {
            name: (folder / f"{name}.bin").open("wb") for name in names
        }
        self._shards: list[int] = []
        self._shard: IO[bytes] | None = None
        self.tokens = self.documents = self.sentences = self._id_bytes = 0
        self._starts([0])
        self._files["id_starts"].write(_int64([0]))

    def _starts(self, values: Sequence[int]) -> None:
        self._files["starts"].write(_int64(values))

    def add(self, tokens: np.ndarray, sentences: np.ndarray, words: np.ndarray | None) -> None:
        """Adds tokens to the document that is being written.

        Args:
            tokens: [t].
            sentences: Where sentences begin among them.
            words: [t], whether a token begins a word.
        """
        self._files["sentences"].write(_int64(sentences + self.tokens))
        self.sentences += len(sentences)
        if words is not None:
            self._files["words"].write(words.astype(np.uint8).tobytes())
        begin = 0
        while begin < len(tokens):
            if self._shard is None or self._shards[-1] == self._shard_size:
                self._next_shard()
            end = min(len(tokens), begin + self._shard_size - self._shards[-1])
            if self._shard is not None:
                self._shard.write(tokens[begin:end].astype(self._dtype).tobytes())
            self._shards[-1] += end - begin
            begin = end
        self.tokens += len(tokens)

    def end(self, name: str) -> None:
        """Ends a document."""
        self._starts([self.tokens])
        data = name.encode("utf-8", "replace")
        self._files["ids"].write(data)
        self._id_bytes += len(data)
        self._files["id_starts"].write(_int64([self._id_bytes]))
        self.documents += 1

    def _next_shard(self) -> None:
        if self._shard is not None:
            self._shard.close()
        self._shard = (self._folder / f"tokens-{len(self._shards):05d}.bin").open("wb")
        self._shards.append(0)

    def close(self) -> None:
        """Closes the files."""
        for handle in (*self._files.values(), *([self._shard] if self._shard else [])):
            handle.close()

    def finish(self, about: dict[str, Any]) -> None:
        """Writes what the store is of, with the size of every file."""
        self.close()
        sizes = {file.name: file.stat().st_size for file in sorted(self._folder.iterdir())}
        meta = {
            "format": FORMAT,
            "dtype": self._dtype.str,
            "documents": self.documents,
            "tokens": self.tokens,
            "sentences": self.sentences,
            "shards": self._shards,
            "files": sizes,
            **about,
        }
        (self._folder / "meta.json").write_text(json.dumps(meta, indent=1))


def _int64(values: Any) -> bytes:
    return np.asarray(values, "<i8").tobytes()


def read_meta(folder: Path) -> dict[str, Any] | None:
    """What a store is of; None where there is no whole store.

    Raises:
        DataError: If there is one whose files are not what it says.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: no readable token store: {error}; remove it") from error
    if meta.get("format") != FORMAT:
        return None
    wrong = []
    for name, size in meta["files"].items():
        path = folder / name
        found = path.stat().st_size if path.exists() else None
        if found != size:
            wrong.append(f"{name} has {found} bytes" if path.exists() else f"{name} is missing")
    if wrong:
        raise DataError(
            f"{folder}: this token store was changed after it was built ({'; '.join(wrong)}); "
            "remove the folder, and it is built again"
        )
    return meta


def map_files(folder: Path, meta: dict[str, Any]) -> dict[str, Any]:
    """Maps the files of a store into memory; none is read."""

    def mapped(name: str, dtype: str) -> Any:
        if not meta["files"][name]:
            return np.empty(0, dtype)
        return Mapped.open(str((folder / name).absolute()), dtype)

    lengths = np.array(meta["shards"], np.int64)
    shards = [mapped(f"tokens-{n:05d}.bin", meta["dtype"]) for n in range(len(lengths))]
    tokens: Any = shards[0]
    if len(shards) > 1:
        starts = np.concatenate([[0], np.cumsum(lengths)])
        tokens = Spliced(shards, np.zeros_like(lengths), starts, np.arange(len(lengths)))
    words = mapped("words.bin", "?") if "words.bin" in meta["files"] else None
    return {
        "tokens": tokens,
        "starts": mapped("starts.bin", "<i8"),
        "sentences": mapped("sentences.bin", "<i8"),
        "word_starts": words,
        "ids": Ids(mapped("ids.bin", "u1"), mapped("id_starts.bin", "<i8")),
    }


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yields a folder that becomes ``folder`` on success and vanishes on failure.

    Raises:
        DataError: If something else is there.
    """
    # Where another process has built the same in the meantime, its store is as good.
    with whole_folder(folder, replace=False) as partial:
        yield partial
    if not (folder / "meta.json").exists():
        raise DataError(f"{folder}: is no token store and in the way of one; remove it")
