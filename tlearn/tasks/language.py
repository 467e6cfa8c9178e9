"""Learning from plain text: a corpus as rows, and what is predicted of it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from tlearn.bodies.facts import TextFacts
from tlearn.data import Tokenizer
from tlearn.data.token_store import TokenStore
from tlearn.objectives import (
    MaskedPairs,
    MaskedTokens,
    NextTokens,
    ReplacedTokens,
    Seq2Seq,
    Sums,
)
from tlearn.tasks.row_making import CorpusBatches, Rows

_EXAMPLE_ROWS = 1
_PAIRS = {"next_sentence", "sentence_order"}
"""Objectives that ask about pairs of segments too."""


@dataclasses.dataclass(frozen=True, eq=False)
class LanguageTask:
    """A corpus, and what a body is to predict of it.

    Attributes:
        train: What is learned from, as tokens on disk.
        validation: What choices are made on; None if nothing is chosen.
        test: What is reported, read once at the end; None if nothing is.
        facts: How texts are made numbers: the body's own.
        tokenizer: What made them.
        rows: How tokens become rows.
        goal: The loss.
        head: The head it needs, as a config.
        remember: What nothing is learned from: measured before and after, it says what the body
            forgets.
        told: What there is to say about the corpora.
    """

    train: TokenStore
    validation: TokenStore | None
    test: TokenStore | None
    facts: TextFacts
    tokenizer: Tokenizer
    rows: Rows
    goal: Any
    head: Mapping[str, Any]
    remember: TokenStore | None = None
    told: tuple[str, ...] = ()

    label_names = ()
    outputs = 0

    @property
    def streams(self) -> bool:
        """Whether rows go on from batch to batch, so that a body's state is carried."""
        return self.rows.streams

    @property
    def unit(self) -> str:
        """What the loss is a mean over: ``targets``, or rows."""
        return "targets" if self.goal.unit == "targets" else "examples"

    @property
    def files(self) -> Mapping[str, bytes]:
        """Files that travel with the weights: the tokenizer's."""
        return self.tokenizer.files

    @property
    def parts(self) -> dict[str, TokenStore]:
        """The parts there are, by name."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        parts["remember"] = self.remember
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def digests(self) -> dict[str, str]:
        """Fingerprints of the parts' tokens, to notice a corpus or tokenizer that changed."""
        return {name: part.digest for name, part in self.parts.items()}

    @property
    def example(self) -> dict[str, jax.ShapeDtypeStruct]:
        """A batch of one row, as shapes."""
        batch = self.rows.batches(self.train, _EXAMPLE_ROWS, seed=0, shuffle=False).at(0)
        kinds = {"i": jnp.int32, "f": jnp.float32}
        return {
            name: jax.ShapeDtypeStruct(value.shape, kinds[value.dtype.kind])
            for name, value in batch.items()
            if name != "index"
        }

    def objective(self, outputs: Any, batch: Mapping[str, Any], /) -> Sums:
        """Sums of loss and metrics over a batch."""
        return self.goal(outputs, batch)

    def kept(self, outputs: Any, batch: Mapping[str, Any], /) -> Array:
        """Loss sum, targets and right ones of each row [b 3], not the scores of a vocabulary."""
        return self.goal.kept(outputs, batch)

    def metrics(self, outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """The perplexity of a part: the exponential of the mean loss of a target."""
        loss, count, _ = outputs.astype(np.float64).sum(0)
        if not isinstance(self.goal, NextTokens | MaskedTokens | Seq2Seq) or not count:
            return {}
        return {"perplexity": float(np.exp(min(loss / count, 700.0)))}

    def train_batches(self, batch_size: int, seed: int) -> CorpusBatches:
        """Shuffled rows of the training part, of two objectives in their shares."""
        return self.rows.batches(self.train, batch_size, seed=seed, shuffle=True)

    def eval_batches(self, dataset: Any, batch_size: int) -> CorpusBatches:
        """One pass over a part, the same every time."""
        return self.rows.batches(dataset, batch_size, seed=0, shuffle=False)

    def __str__(self) -> str:
        lines = [f"{name}: {part}" for name, part in self.parts.items()]
        lines += self.told
        lines.append(f"tokens: {self.tokenizer}")
        lines.append(str(self.rows))
        return "\n".join(lines)


def goal_of(
    objective: str,
    also: str = "",
    *,
    activation_penalty: float = 0.0,
    change_penalty: float = 0.0,
) -> Any:
    """The loss of an objective by its name, and of a second one beside it."""
    kinds = (objective, also) if also else ()
    if objective == "next_tokens":
        return NextTokens(activation_penalty, change_penalty)
    if _PAIRS & {objective, also}:
        return MaskedPairs()
    if objective == "masked_tokens":
        return MaskedTokens()
    return ReplacedTokens() if objective == "replaced_tokens" else Seq2Seq(kinds)


def head_of(
    objective: str, body: Any, also: str = "", *, penalised: bool, generator: float
) -> dict[str, Any]:
    """The config of the head that an objective needs above a body.

    Args:
        objective: Its name.
        body: The body.
        also: A second objective that the same head serves; empty for none.
        penalised: Whether the loss reads the last activations.
        generator: Width of a generator as a share of the body's.
    """
    from tlearn.heads import describe
    from tlearn.heads.replaced_training import training_head

    if objective == "next_tokens":
        recurrent = hasattr(body, "initial_carry")
        return {
            "family": "causal_lm",
            **({"use_bias": True, "activations": penalised} if recurrent else {}),
        }
    if objective in ("span_corruption", "prefix_lm"):
        return {"family": "causal_lm", "scaled": True}
    if objective == "replaced_tokens":
        return describe(training_head(body, fraction=generator))
    same = {"activation": body.activation, "norm_epsilon": body.norm_epsilon}
    return {"family": "pretraining" if _PAIRS & {objective, also} else "masked_lm", **same}
