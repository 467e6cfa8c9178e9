"""What both sides of the comparison agree on: texts, parts, lengths, recipe."""

import csv
from pathlib import Path

import numpy as np

TASKS = ("sst2", "trec6")
REPORTED = {"sst2": "dev.tsv", "trec6": "test.tsv"}
"""SST-2 is reported on its dev part, TREC-6 on its test part; nothing is chosen on either."""
SEEDS, PILOT = (0, 1, 2), 100
TRIALS = ((1e-4, 2), (1e-4, 3), (2e-4, 3))
"""Rates and epochs tried for fine-tuning everything; the other arms take the best over."""
TRIALS_AFTER_REVIEWS = ((1e-4, 2), (5e-5, 2), (3e-5, 3))
"""For a body that learned from film reviews first: no larger rates, there is less to learn."""
TRIAL_TWO_PASSES, TWO_PASSES = (1e-4, 4), {"consistency": 2.0, "ema": 0.99}
TRIAL_REVIEWS_TWICE = (5e-5, 4)
"""SST-2 with two passes of every text, and the same after film reviews: chosen by `halves.py` on
the training texts."""
AS_WRITTEN = {
    " n't": "n't",
    "-lrb-": "(",
    "-rrb-": ")",
    "``": '"',
    "''": '"',
    "`": "'",
    "\\/": "/",
}
"""What the treebank's tokens stand for. The encoder learned texts as people write them; what else
the treebank parts, its tokenizer parts too."""
SCRATCH_RATE = 5e-4
"""From scratch a larger rate is usual; it was not chosen on any of these texts."""
BATCH, MAX_LENGTH = 32, 64
WEIGHT_DECAY, CLIP = 0.01, 1.0
HELD = 0.1
"""Share of the training part that is chosen on. Once that is done it is trained on like the rest,
by both sides."""


def rows(file: Path) -> list[tuple[str, str]]:
    """Reads a table of text and label; quotes are text."""
    with file.open(encoding="utf-8", newline="") as stream:
        table = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(row["text"], row["label"]) for row in table]


def as_written(text: str) -> str:
    """A text without the treebank's tokens."""
    for token, written in AS_WRITTEN.items():
        text = text.replace(token, written)
    return text


def read(data: Path, task: str, *, written: bool = False) -> dict[str, list[tuple[str, str]]]:
    """The parts of a task, without the treebank's tokens if they are wanted as people write.

    ``train`` and ``validation`` are chosen on, ``whole`` is both of them, ``reported`` is read once
    a run.
    """
    whole, reported = (
        [(as_written(text), label) if written else (text, label) for text, label in rows(file)]
        for file in (data / task / "train.tsv", data / task / REPORTED[task])
    )
    order = np.random.default_rng(PILOT).permutation(len(whole))
    held = round(HELD * len(whole))
    return {
        "train": [whole[i] for i in order[held:]],
        "validation": [whole[i] for i in order[:held]],
        "whole": whole,
        "reported": reported,
    }


def labels(parts: dict[str, list[tuple[str, str]]]) -> list[str]:
    """The labels, sorted."""
    return sorted({label for _, label in parts["whole"]})


def columns(parts: dict[str, list[tuple[str, str]]], name: str) -> tuple[list[str], list[int]]:
    """Texts and label numbers of a part."""
    names = labels(parts)
    return [text for text, _ in parts[name]], [names.index(label) for _, label in parts[name]]
