"""Raw readers of word-vector files: GloVe text, word2vec text, word2vec binary.

A text line is a word and its numbers. word2vec begins with a line of two counts, words and width;
its binary form has each word, a space, and the numbers as little-endian float32, with or without a
line break before the next word (the original program writes one, gensim does not).
"""

import dataclasses
import mmap
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tlearn.hub.errors import HubError, listed, quoted
from tlearn.hub.raw import existing_file
from tlearn.params import nearest

_LONGEST_LINE = 2**20
_LONGEST_WORD = 2**12
_WIDEST = 2**16
_SHOWN = 20


@dataclasses.dataclass(frozen=True, eq=False)
class Vectors:
    """Words and their vectors.

    Attributes:
        words: Distinct words in the file's order.
        table: One row a word, float32, all finite; of that shape, but NaN and without memory, if
            the numbers were not read.
        format: ``glove``, ``word2vec text`` or ``word2vec binary``.
    """

    words: tuple[str, ...]
    table: np.ndarray
    format: str


def read_glove(file: str | Path, *, numbers: bool = True) -> Vectors:
    """Reads a GloVe text file: no header, a word and its numbers a line.

    Args:
        file: The file.
        numbers: False reads the words alone.

    Raises:
        HubError: If the file is none, naming lines with other counts of numbers, numbers that are
            not finite, and words that occur twice.
    """
    path, content = _open(file)
    first = _line(content, 0)
    if _header(first) is not None and _fields(_line(content, len(first) + 1)) != 2:
        raise HubError(
            f"{path} begins with two counts, as word2vec files do: load it with 'word2vec:{path}'"
        )
    width = _width(path, content)
    words, table = _text(path, content, 0, width, None, numbers)
    return _checked(path, words, table, "glove", numbers)


def read_word2vec(file: str | Path, *, numbers: bool = True) -> Vectors:
    """Reads a word2vec file, text or binary: told by what follows the header.

    Args:
        file: The file.
        numbers: False reads the words alone.

    Raises:
        HubError: If the file is none, is shorter or longer than its header says, holds numbers that
            are not finite, or a word twice.
    """
    path, content = _open(file)
    first = _line(content, 0)
    counts = _header(first)
    if counts is None:
        raise HubError(
            f"{path} does not begin with two counts (words and width) but with {quoted(first)}; "
            f"a file without them is read by 'glove:{path}'"
        )
    count, width = counts
    if not 1 <= width <= _WIDEST or count < 1:
        raise HubError(f"{path} claims {count} words of {width} numbers: no such vectors exist")
    start = len(first) + 1
    # A word has at least one byte and a space; a number in text a digit and a space.
    least = {"binary": count * (2 + 4 * width), "text": count * (1 + 2 * width)}
    form = "text" if _is_text(content, start, width) else "binary"
    if len(content) - start + 1 < least[form]:
        raise HubError(
            f"{path} claims {count} words of {width} numbers, at least {least[form]} bytes of "
            f"{form}, but has {len(content) - start} after its header: it is cut short, or its "
            "header lies"
        )
    read: Callable[..., tuple[list[str], np.ndarray]] = _text if form == "text" else _binary
    words, table = read(path, content, start, width, count, numbers)
    return _checked(path, words, table, f"word2vec {form}", numbers)


def _open(file: str | Path) -> tuple[Path, mmap.mmap]:
    path = existing_file(file)
    try:
        with path.open("rb") as stream:
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise HubError(f"{path} cannot be read: {error}") from error
    magic = content[:4]
    for start, name, tool in ((b"\x1f\x8b", "gzip", "gunzip"), (b"PK\x03\x04", "zip", "unzip")):
        if magic.startswith(start):
            raise HubError(f"{path} is packed by {name}: unpack it first ({tool} {path.name})")
    return path, content


def _line(content: mmap.mmap, start: int) -> bytes:
    end = content.find(b"\n", start, start + _LONGEST_LINE)
    return content[start : end if end >= 0 else min(len(content), start + _LONGEST_LINE)]


def _fields(line: bytes) -> int:
    return len(line.split())


def _header(line: bytes) -> tuple[int, int] | None:
    parts = line.split()
    if len(parts) == 2 and all(part.isdigit() and len(part) < 16 for part in parts):
        return int(parts[0]), int(parts[1])
    return None


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _width(path: Path, content: mmap.mmap) -> int:
    """Takes the count of numbers that most of the first lines agree on."""
    counts: list[int] = []
    start = 0
    for _ in range(25):
        line = _line(content, start)
        start += len(line) + 1
        parts = line.rstrip(b"\r ").split(b" ")
        numbers = 0
        while numbers < len(parts) - 1 and _is_number(parts[-1 - numbers]):
            numbers += 1
        if line:
            counts.append(numbers)
        if start >= len(content):
            break
    width = max(set(counts), key=counts.count) if counts else 0
    if not 1 <= width <= _WIDEST:
        raise HubError(
            f"{path} holds no word vectors: its lines should be a word and its numbers, the first "
            f"is {quoted(_line(content, 0))}"
        )
    return width


def _is_text(content: mmap.mmap, start: int, width: int) -> bool:
    parts = _line(content, start).rstrip(b"\r ").split(b" ")
    return len(parts) > width and all(_is_number(part) for part in parts[-width:])


def _text(
    path: Path, content: mmap.mmap, start: int, width: int, count: int | None, numbers: bool
) -> tuple[list[str], np.ndarray]:
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        # numpy only warns of text that is no number.
        warnings.simplefilter("error", DeprecationWarning)
        return _text_lines(path, content, start, width, count, numbers)


def _text_lines(
    path: Path, content: mmap.mmap, start: int, width: int, count: int | None, numbers: bool
) -> tuple[list[str], np.ndarray]:
    lines = count if count is not None else _count_lines(content)
    table = _room(lines, width, numbers)
    words: list[str] = []
    problems: list[str] = []
    number = 1 if start == 0 else 2
    while start < len(content) and len(problems) < _SHOWN:
        line = _line(content, start)
        start += len(line) + 1
        if not line.strip() and start >= len(content):
            break
        if len(words) == lines:
            problems.append(f"line {number}: the header says {count} words, but there are more")
            break
        try:
            word, row = _parted(line, width)
            if numbers:
                table[len(words)] = _parsed(row, line, width)
            words.append(word.decode("utf-8"))
        except (ValueError, UnicodeDecodeError) as error:
            problems.append(f"line {number}: {error}")
        number += 1
    if count is not None and len(words) < count and not problems:
        problems.append(f"the header says {count} words, but there are {len(words)}")
    if problems:
        raise HubError(f"{path} is no sound file of word vectors:\n{listed(problems)}")
    return words, table[: len(words)]


def _room(lines: int, width: int, numbers: bool) -> np.ndarray:
    """A table to fill, or its shape alone."""
    if numbers:
        return np.empty((lines, width), np.float32)
    return np.broadcast_to(np.float32(np.nan), (lines, width))


def _parted(line: bytes, width: int) -> tuple[bytes, list[bytes]]:
    """Parts a line into its word, which may hold spaces, and its numbers."""
    parts = line.rstrip(b"\r ").rsplit(b" ", width)
    if len(parts) <= width:
        raise ValueError(f"{len(parts) - 1} numbers, but {width} are wanted ({quoted(line, 40)})")
    word = parts[0]
    if not word or len(word) > _LONGEST_WORD:
        raise ValueError(f"the word has {len(word)} bytes ({quoted(line, 40)})")
    extra = word.rsplit(b" ", 1)
    if len(extra) > 1 and _is_number(extra[1]):
        raise ValueError(f"more than {width} numbers ({quoted(line, 40)})")
    return word, parts[1:]


def _parsed(row: list[bytes], line: bytes, width: int) -> np.ndarray:
    try:
        numbers = np.fromstring(b" ".join(row), dtype=np.float64, sep=" ")
    except (DeprecationWarning, ValueError):
        numbers = np.empty(0)
    if len(numbers) != width:
        raise ValueError(f"not all of its {width} numbers are numbers ({quoted(line, 40)})")
    return numbers


def _count_lines(content: mmap.mmap) -> int:
    count, step = 0, 2**24
    for start in range(0, len(content), step):
        count += content[start : start + step].count(b"\n")
    return count + 1


def _binary(
    path: Path, content: mmap.mmap, start: int, width: int, count: int, numbers: bool
) -> tuple[list[str], np.ndarray]:
    table = _room(count, width, numbers)
    words: list[str] = []
    size = 4 * width
    for row in range(count):
        if content[start : start + 1] == b"\n":
            start += 1
        space = content.find(b" ", start, start + _LONGEST_WORD)
        if space <= start or space + 1 + size > len(content):
            raise HubError(
                f"{path} is cut short, or its header lies: word {row + 1} of {count} should begin "
                f"at byte {start} of {len(content)}"
            )
        try:
            words.append(content[start:space].decode("utf-8"))
        except UnicodeDecodeError as error:
            raise HubError(f"{path}: word {row + 1}, at byte {start}, is no UTF-8") from error
        if numbers:
            table[row] = np.frombuffer(content[space + 1 : space + 1 + size], "<f4")
        start = space + 1 + size
    if content[start : start + 1] == b"\n":
        start += 1
    if start < len(content):
        raise HubError(
            f"{path} has {len(content) - start} bytes after the {count} words its header claims"
        )
    return words, table


def _checked(path: Path, words: list[str], table: np.ndarray, form: str, numbers: bool) -> Vectors:
    problems: list[str] = []
    seen: dict[str, int] = {}
    for place, word in enumerate(words):
        if word in seen:
            problems.append(f"{quoted(word)} is word {seen[word] + 1} and again word {place + 1}")
        seen.setdefault(word, place)
    bad = np.flatnonzero(~np.isfinite(table).all(1)) if numbers else []
    problems += [f"{quoted(words[i])} has numbers that are not finite" for i in bad[:_SHOWN]]
    if not words:
        problems.append("there are no words")
    if problems:
        raise HubError(f"{path} is no sound file of word vectors:\n{listed(problems)}")
    return Vectors(tuple(words), table, form)


def write_word2vec(
    file: str | Path, words: tuple[str, ...], table: np.ndarray, *, binary: bool = False
) -> Path:
    """Writes word2vec text or binary; `read_word2vec` gives the same float32 numbers back.

    Raises:
        HubError: If a word can't stand in such a file, or it can't be written.
    """
    strange = [word for word in words if not word or word != word.strip() or "\n" in word]
    strange += [word for word in words if binary and " " in word]
    if strange:
        close = nearest(strange[0], [w for w in words if w.strip()], 1)
        raise HubError(
            f"{len(strange)} word(s) cannot stand in a line, as {quoted(strange[0])}"
            + (f" (nearest: {close[0]!r})" if close else "")
        )
    path = Path(file).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            stream.write(f"{len(words)} {table.shape[1]}\n".encode())
            for word, row in zip(words, np.asarray(table, np.float32), strict=True):
                # numpy writes the fewest digits that give the same float32 back.
                numbers = (
                    row.astype("<f4").tobytes() if binary else " ".join(map(str, row)).encode()
                )
                stream.write(word.encode() + b" " + numbers + b"\n")
    except OSError as error:
        raise HubError(f"cannot write {path}: {error}") from error
    return path
