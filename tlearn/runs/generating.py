"""Texts out of a run or any source that decodes: from text to tokens, and back.

A model of backward texts makes what comes before a text: the text's tokens are turned round for it,
and what it makes is turned round again.
"""

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
from tlearn.runs.made_by import config_of
from tlearn.runs.reading import Say
from tlearn.runs.use import Loaded, load


@dataclasses.dataclass(frozen=True)
class Made:
    """A text that was made.

    Attributes:
        given: What it goes on from (from its beginning, where the model reads backward), or what an
            encoder-decoder read.
        text: What was made.
        goes_on: Whether it belongs to what was given, as one text.
        before: Whether it comes before what was given, not after it.
        tokens: How many tokens that is, an end included.
        ended: Whether it came to an end by itself.
        score: As `tlearn.generation.Generated` has it.
    """

    given: str
    text: str
    goes_on: bool
    before: bool
    tokens: int
    ended: bool
    score: float

    @property
    def whole(self) -> str:
        """The text, with what it goes on from."""
        if not self.goes_on:
            return self.text
        return self.text + self.given if self.before else self.given + self.text


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

    Ends and padding, where the options name none, are those of the source's tokenizer. A run is
    given texts as its rows held them: behind the token that stood before every document, with no
    other around them; a source from elsewhere as its tokenizer begins them. A text that is too long
    to go on from loses what is farthest from where it goes on. A text of nothing is begun by the
    token that begins texts. What is drawn for a text depends on the seed and on its number among
    those given.

    Args:
        spec: A run's folder or a source with a head of next tokens.
        given: The texts.
        options: How.
        seed: Of the draws.
        batch_size: Texts given at a time.
        say: Told where texts are cut, and where nothing ends those that are made.

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
    facts, tokenizer = loaded.source.facts, _tokenizer(loaded.source)
    backward = isinstance(facts, TextFacts) and bool(facts.backward)
    goes_on = not getattr(loaded.model.body, "decoder_depth", 0)
    if backward and not goes_on:
        raise ValueError(
            f"{spec} reads texts backward, and an encoder-decoder writes texts of its own: what it "
            "was trained to write is not known; take a body that goes on from a text (awd-lstm)"
        )
    begin, end, rows_began = _marks(loaded, tokenizer, backward)
    if not options.ends:
        options = dataclasses.replace(options, ends=() if end is None else (end,))
    if not options.ends:
        say(
            "warning: the tokenizer has no token that ends texts (eos, sep): each goes on for "
            f"{options.steps} tokens"
        )
    if not options.pad:
        options = dataclasses.replace(options, pad=tokenizer.pad)
    room = getattr(loaded.model.body, "positions", None) if goes_on else None
    if goes_on:
        most = None if room is None else room - options.steps + 1
        rows = _beginnings(tokenizer, given, begin, most, say, backward, rows_began)
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
                    text=_written(tokenizer, rows[number] if goes_on else None, new, backward),
                    goes_on=goes_on,
                    before=backward,
                    tokens=int(length),
                    ended=ended,
                    score=float(score),
                )


def _tokenizer(source: hub.Source) -> Tokenizer:
    lowercase = source.facts.lowercase if isinstance(source.facts, TextFacts) else None
    return Tokenizer.from_files(source.files, lowercase=lowercase)


def _marks(
    loaded: Loaded, tokenizer: Tokenizer, backward: bool
) -> tuple[int | None, int | None, bool]:
    """The tokens that begin and end a text, if any, and whether a run's rows began texts so."""
    from tlearn.runs.corpora import rows_of

    marks, facts = dict(tokenizer.special), loaded.source.facts
    config = config_of(loaded.source)
    if config is not None and config.objective.objective == "next_tokens":
        if isinstance(facts, TextFacts):
            rows = rows_of(config, loaded.model.body, facts, marks, ())
            return rows.beginning, rows.ending, True
    end = marks.get("eos", marks.get("sep"))
    return end if backward else marks.get("bos", end), end, False


def _beginnings(
    tokenizer: Tokenizer,
    given: Sequence[str],
    begin: int | None,
    most: int | None,
    say: Say,
    backward: bool,
    rows_began: bool,
) -> list[np.ndarray]:
    """The tokens of texts to go on from as the model reads them, at most so many of each."""
    rows, cut, empty = [], 0, []
    for number, encoding in enumerate(tokenizer.backend().encode_batch(list(given)), 1):
        ids = np.array(encoding.ids, np.int32)
        own = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
        if backward or rows_began:
            # What a tokenizer puts around a text stands around no document of a row.
            ids = ids[own][:: -1 if backward else 1]
        else:
            # What a tokenizer puts behind a text would end it.
            ids = ids[: own[-1] + 1] if len(own) else ids[:0]
        if not len(ids):
            if begin is None:
                empty.append(number)
                continue
            ids = np.array([begin], np.int32)
        elif rows_began and begin is not None:
            ids = np.concatenate([[begin], ids]).astype(np.int32)
        if most is not None and len(ids) > most:
            cut += 1
            ids = ids[len(ids) - most :]
        rows.append(ids)
    if empty:
        raise DataError(
            f"texts {', '.join(map(str, empty[:6]))} have no tokens, and the tokenizer has none "
            f"that begins texts ({'eos, sep' if backward else 'bos, eos, sep'}): give each at "
            "least one word"
        )
    if cut:
        lost = "end" if backward else "beginning"
        say(f"{cut} of {len(rows)} texts lose their {lost}: there is room for {most} tokens")
    return rows


def _written(
    tokenizer: Tokenizer, read: np.ndarray | None, made: np.ndarray, backward: bool
) -> str:
    """What was made as text, with the space between it and what was read where it goes on."""
    if read is None:
        return tokenizer.decode(made)
    turn = slice(None, None, -1 if backward else 1)
    given = tokenizer.decode(read[turn])
    whole = tokenizer.decode(np.concatenate([read, made])[turn])
    if backward and whole.endswith(given):
        return whole[: len(whole) - len(given)]
    if not backward and whole.startswith(given):
        return whole[len(given) :]
    return tokenizer.decode(made[turn])
