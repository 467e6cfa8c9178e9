"""What a run predicts: labels, or parts of plain texts; nothing heavy is imported."""

import dataclasses
from typing import Literal

Objective = Literal[
    "labels",
    "next_tokens",
    "masked_tokens",
    "next_sentence",
    "sentence_order",
    "replaced_tokens",
    "span_corruption",
    "prefix_lm",
]
Also = Literal[
    "", "masked_tokens", "next_sentence", "sentence_order", "span_corruption", "prefix_lm"
]
SOURCE = "source"
"""As what to remember: what the source's own run was judged on."""
BESIDE: dict[str, tuple[str, ...]] = {
    "span_corruption": ("prefix_lm",),
    "prefix_lm": ("span_corruption",),
    "masked_tokens": ("next_sentence", "sentence_order"),
    "next_sentence": ("masked_tokens",),
    "sentence_order": ("masked_tokens",),
}
"""What one body with one head can learn beside an objective, from the same corpus."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """What is predicted, and how a corpus becomes rows."""

    objective: Objective = "labels"
    """labels of a dataset; or of a corpus next_tokens (GPT, AWD-LSTM), masked_tokens (RoBERTa),
    next_sentence (BERT) or sentence_order (ALBERT) with masked tokens, replaced_tokens (ELECTRA),
    span_corruption or prefix_lm (T5)."""
    also: Also = ""
    """A second objective on the same corpus, whose rows stand beside those of the first in every
    batch: span_corruption with prefix_lm (T5), masked_tokens with next_sentence or sentence_order;
    empty for none."""
    also_share: float = 0.25
    """Share of a batch's rows that are of the second objective, to the nearest row."""
    row_length: int = 128
    """Tokens of a row; what truncated back-propagation goes through at a step."""
    rows: Literal["auto", "streams", "packed", "crossing"] = "auto"
    """Rows of next_tokens: streams that go on from batch to batch; documents packed apart; or
    packed and seen across. auto is streams for bodies that carry a state, packed for others."""
    direction: Literal["forward", "backward"] = "forward"
    """Whether streams, or texts with labels, are read from the front or from the back. A run reads
    as its source did; what does not say so, such as fast.ai's files, is taken at this word."""
    mask_rate: float = 0.15
    """Share of the tokens that is predicted, or dropped in spans."""
    mask_unit: Literal["token", "word", "ngram"] = "token"
    """What is masked as a whole: a token, a word, or up to three words."""
    masks: int = 0
    """Fixed masks of each row; 0 draws a new one every epoch."""
    span_length: float = 3.0
    """Mean tokens of a dropped span."""
    generator: float = 0.25
    """Width of the generator of replaced_tokens, as a share of the body's."""
    activation_penalty: float = 0.0
    """Weight of the mean square of a recurrent body's last activations (AR)."""
    change_penalty: float = 0.0
    """Weight of the mean square of their change from token to token (TAR)."""
    language_loss: float = 0.0
    """Weight of the loss of a labelled text's next tokens beside that of its label, for GPT and
    GPT-2, which took 0.5; 0 for labels alone."""
    consistency: float = 0.0
    """Weight of how far two passes with other dropout differ in the classes they give (R-Drop),
    at twice the computation; 0 for one pass."""
    replay: str = ""
    """A second corpus that is mixed in, so that an adapted body forgets less; empty for none."""
    replay_share: float = 0.25
    """Share of the tokens that are of the replayed corpus."""
    remember: str = ""
    """A corpus that nothing is trained on: the loss on it is measured before and after, beside
    labels by the source's own head; source for what the source's own run was judged on."""
    held_out: tuple[str, ...] = ()
    """Datasets whose texts no corpus may hold, as in text:DIR@test: documents that hold one of them
    are left out."""
    vocabulary: Literal["strict", "remap"] = "strict"
    """When --tokenizer is not the source's own: refuse; or carry rows of embeddings over by token,
    with the mean row for tokens that are new."""
    stores: str = ""
    """Folder where corpora are kept as tokens; empty for ~/.cache/tlearn."""


def problems(asked: ObjectiveConfig) -> list[str]:
    """Lists what cannot be meant."""
    found = []
    if asked.row_length < 2:
        found.append(f"row_length is {asked.row_length}; it must be at least 2")
    for name, low, high in (
        ("mask_rate", 0.0, 1.0),
        ("generator", 0.0, 1.0),
        ("replay_share", 0.0, 1.0),
        ("also_share", 0.0, 1.0),
    ):
        value = getattr(asked, name)
        if not low < value <= high or (name != "generator" and value == high):
            found.append(f"{name} is {value}; it must be above 0 and below 1")
    if asked.also and asked.also not in BESIDE.get(asked.objective, ()):
        found.append(_alone(asked))
    if asked.span_length < 1:
        found.append(f"span_length is {asked.span_length}; it must be at least 1")
    for name in ("activation_penalty", "change_penalty", "language_loss", "consistency", "masks"):
        if getattr(asked, name) < 0:
            found.append(f"{name} is {getattr(asked, name)}; it must be at least 0")
    if asked.consistency and asked.language_loss:
        found.append("consistency and language_loss are not had together: give one of them")
    return found


def _alone(asked: ObjectiveConfig) -> str:
    """Says why a second objective does not go with the first, and what does."""
    text = f"also={asked.also} does not go with objective={asked.objective}: "
    if asked.objective == "next_tokens":
        return (
            text
            + "next_tokens already asks for every token, there is nothing to mix: leave also out"
        )
    if asked.objective == "labels":
        return text + "it is for corpora; labels have language_loss, for GPT and GPT-2"
    if asked.objective == asked.also:
        return text + "that is one objective; leave also out"
    others = BESIDE.get(asked.objective, ())
    if others:
        return text + f"give {' or '.join(others)}"
    pairs = sorted({" with ".join(sorted((one, two))) for one in BESIDE for two in BESIDE[one]})
    return text + f"there are {', '.join(pairs)}"
