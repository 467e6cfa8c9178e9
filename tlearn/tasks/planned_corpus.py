"""A corpus that is not here: so many tokens, rows of their real shapes, for what it would cost."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tlearn.bodies.facts import TextFacts
from tlearn.data.planned import read_planned
from tlearn.data.token_store import TokenStore
from tlearn.tasks.language import LanguageTask
from tlearn.tasks.planned import PlannedBatches
from tlearn.tasks.row_making import Rows

_DOCUMENTS, _ROWS, _SENTENCE = 4, 16, 20
PURPOSES = ("pad", "unk", "cls", "sep", "mask", "eos")
"""What the first numbers of a vocabulary stand for that nobody has trained."""
_MOST_SENTINELS = 100


@dataclasses.dataclass(frozen=True, eq=False)
class PlannedCorpus(LanguageTask):
    """A language task whose store is a few drawn documents, to make rows of the right shapes from.

    Attributes:
        tokenizer: None: nothing is made tokens.
        spec: The name of what is planned.
        tokens: Tokens that there would be.
        batch_size: Rows of a batch.
    """

    tokenizer: Any
    spec: str = ""
    tokens: int = 0
    batch_size: int = 1

    @property
    def files(self) -> Mapping[str, bytes]:
        """Files that travel with the weights: none are here."""
        return {}

    @property
    def rows_per_epoch(self) -> int:
        """Rows that so many tokens make, at as many tokens a row as the drawn documents fill."""
        # Several streams would round up the few drawn tokens; two objectives need a row of each.
        size = self.batch_size if self.rows.also else 1
        made = self.rows.batches(self.train, size, seed=0, shuffle=True)
        return math.ceil(self.tokens * made.examples_per_epoch / len(self.train.tokens))

    def train_batches(self, batch_size: int, seed: int) -> Any:
        """Batches to count."""
        return PlannedBatches(self.spec, batch_size, self.rows_per_epoch, seed)

    def eval_batches(self, dataset: Any, batch_size: int) -> Any:
        """Batches to count."""
        return self.train_batches(batch_size, 0)

    def __str__(self) -> str:
        return (
            f"{self.tokens:,} tokens (planned), {self.rows_per_epoch:,} rows an epoch; {self.rows}"
        )


def planned_corpus(
    spec: str,
    *,
    rows: Rows,
    facts: TextFacts,
    goal: Any,
    head: Mapping[str, Any],
    batch_size: int,
) -> PlannedCorpus:
    """Makes a language task of a corpus that is not here.

    Args:
        spec: ``planned:TOKENS``.
        rows: How tokens would become rows.
        facts: What the body takes.
        goal: The loss.
        head: The head it needs, as a config.
        batch_size: Rows of a batch.

    Raises:
        ValueError: If the name cannot be read, or counts examples with labels.
    """
    planned = read_planned(spec)
    if planned.classes:
        raise ValueError(
            f"{spec!r} counts examples with labels, and {rows.objective} is learned from a corpus: "
            "write planned:TOKENS"
        )
    return PlannedCorpus(
        train=_drawn(spec, rows.length, facts.vocab_size, rows.marks),
        validation=None,
        test=None,
        facts=facts,
        tokenizer=None,
        rows=rows,
        goal=goal,
        head=head,
        spec=spec,
        tokens=planned.count,
        batch_size=batch_size,
    )


def marks_of(vocab_size: int) -> dict[str, int]:
    """Numbers for the special tokens of a vocabulary that there is only the size of."""
    return {name: number for number, name in enumerate(PURPOSES) if number < vocab_size}


def sentinels_of(vocab_size: int) -> tuple[int, ...]:
    """Numbers for what stands for dropped spans: the last ones, as T5 has them."""
    count = min(_MOST_SENTINELS, vocab_size // 4)
    return tuple(range(vocab_size - 1, vocab_size - 1 - count, -1))


def _drawn(spec: str, length: int, vocab_size: int, marks: Mapping[str, int]) -> TokenStore:
    """A few documents of ordinary tokens, many rows long, in sentences of twenty tokens."""
    each = _ROWS * length
    first = len(marks) % vocab_size
    tokens = (first + np.arange(_DOCUMENTS * each) % max(vocab_size - first, 1)).astype(np.int32)
    starts = np.arange(_DOCUMENTS + 1, dtype=np.int64) * each
    sentences = np.unique(np.concatenate([np.arange(0, len(tokens), _SENTENCE), starts[:-1]]))
    return TokenStore(
        name=spec,
        tokens=tokens,
        starts=starts,
        sentences=sentences.astype(np.int64),
        word_starts=np.ones(len(tokens), bool),
        ids=[f"{spec}/{number}" for number in range(_DOCUMENTS)],
        vocab_size=vocab_size,
        special=marks,
        pad=marks.get("pad", 0),
        digest=spec,
        how="planned",
    )
