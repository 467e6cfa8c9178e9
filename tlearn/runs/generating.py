"""Texts out of a run or any source that decodes: from text to tokens, and back."""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from tlearn import hub
from tlearn.bodies.facts import TextFacts
from tlearn.data import DataError, Tokenizer
from tlearn.generation import Options
from tlearn.generation import generate as make
from tlearn.generation.decoding import check
from tlearn.runs.reading import Say
from tlearn.runs.use import load


@dataclasses.dataclass(frozen=True)
class Made:
    """A text that was made.

    Attributes:
        given: What it goes on from, or what an encoder-decoder read.
        text: What was made.
        goes_on: Whether it goes on from what was given.
        tokens: How many tokens that is, an end included.
        ended: Whether it came to an end by itself.
        score: As `tlearn.generation.Generated` has it.
    """

    given: str
    text: str
    goes_on: bool
    tokens: int
    ended: bool
    score: float

    @property
    def whole(self) -> str:
        """The text, with what it goes on from."""
        return self.given + self.text if self.goes_on else self.text


def generate(
    spec: str,
    given: Sequence[str],
    options: Options,
    *,
    seed: int = 0,
    batch_size: int = 8,
    say: Say = lambda text: None,
) -> Iterator[Made]:
    """Makes texts.

    Ends and padding, where the options name none, are those of the source's tokenizer. A text that
    is too long to go on from loses its beginning. A text of nothing is begun by the token that
    begins texts. What is drawn for a text depends on the seed and on its number among those given.

    Args:
        spec: A run's folder or a source with a head of next tokens.
        given: The texts.
        options: How.
        seed: Of the draws.
        batch_size: Texts given at a time.
        say: Told where texts are cut.

    Yields:
        ``options.returned`` texts for each one given, in their order.

    Raises:
        DataError: If a text has no tokens and nothing begins it.
        HubError: If the spec names no model, or one without a head.
        ValueError: If the model generates no texts, or not so.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    loaded = load(spec)
    key = jax.random.key(seed) if options.method == "sample" else None
    # Before texts are read: a text of one token is the least there can be.
    check(loaded.model, np.ones((1, 1), np.int32), options, key)
    tokenizer = _tokenizer(loaded.source)
    if not options.ends:
        end = tokenizer.token("eos")
        options = dataclasses.replace(options, ends=() if end is None else (end,))
    if not options.pad:
        options = dataclasses.replace(options, pad=tokenizer.pad)
    goes_on = not getattr(loaded.model.body, "decoder_depth", 0)
    room = getattr(loaded.model.body, "positions", None) if goes_on else None
    if goes_on:
        most = None if room is None else room - options.steps + 1
        rows = _beginnings(tokenizer, given, most, say)
    else:
        found = tokenizer.encode(given) if given else None
        rows = [] if found is None else np.split(found.ids, found.starts[1:-1])
    # Widths that double, and always as many rows: few programs, whatever is asked for.
    longest = max(map(len, rows), default=1)
    width = max(16, 1 << (longest - 1).bit_length())
    width = width if room is None else max(longest, min(width, room))
    count = min(batch_size, len(rows))
    for start in range(0, len(rows), batch_size):
        numbers = np.arange(start, start + count) % len(rows)
        tokens = np.full((count, width), tokenizer.pad, np.int32)
        segments = np.zeros_like(tokens)
        for row, number in enumerate(numbers):
            tokens[row, : len(rows[number])] = rows[number]
            segments[row, : len(rows[number])] = 1
        found = make(loaded.model, loaded.params, tokens, segments, options, key=key, rows=numbers)
        made, lengths, scores = map(np.asarray, (found.tokens, found.lengths, found.scores))
        for row, number in enumerate(range(start, min(start + count, len(rows)))):
            for text, length, score in zip(made[row], lengths[row], scores[row], strict=True):
                ended = bool(np.isin(text[length - 1], options.ends))
                new = text[: length - ended]
                yield Made(
                    given=given[number],
                    text=_written(tokenizer, rows[number] if goes_on else None, new),
                    goes_on=goes_on,
                    tokens=int(length),
                    ended=ended,
                    score=float(score),
                )


def _tokenizer(source: hub.Source) -> Tokenizer:
    lowercase = source.facts.lowercase if isinstance(source.facts, TextFacts) else None
    return Tokenizer.from_files(source.files, lowercase=lowercase)


def _beginnings(
    tokenizer: Tokenizer, given: Sequence[str], most: int | None, say: Say
) -> list[np.ndarray]:
    """The tokens of texts to go on from, at most so many of each."""
    begin = tokenizer.token("bos")
    begin = tokenizer.token("eos") if begin is None else begin
    rows, cut, empty = [], 0, []
    for number, encoding in enumerate(tokenizer.backend().encode_batch(list(given)), 1):
        ids = np.array(encoding.ids, np.int32)
        # What a tokenizer puts behind a text would end it.
        own = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
        ids = ids[: own[-1] + 1] if len(own) else ids[:0]
        if not len(ids):
            if begin is None:
                empty.append(number)
                continue
            ids = np.array([begin], np.int32)
        if most is not None and len(ids) > most:
            cut += 1
            ids = ids[len(ids) - most :]
        rows.append(ids)
    if empty:
        raise DataError(
            f"texts {', '.join(map(str, empty[:6]))} have no tokens, and the tokenizer has none "
            "that begins texts (bos, eos): give each at least one word"
        )
    if cut:
        say(f"{cut} of {len(rows)} texts lose their beginning: there is room for {most} tokens")
    return rows


def _written(tokenizer: Tokenizer, read: np.ndarray | None, made: np.ndarray) -> str:
    """What was made as text, with the space before it where it goes on from what was read."""
    if read is None:
        return tokenizer.decode(made)
    before, whole = tokenizer.decode(read), tokenizer.decode(np.concatenate([read, made]))
    return whole[len(before) :] if whole.startswith(before) else tokenizer.decode(made)
