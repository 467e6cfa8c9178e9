"""Small language models of a corpus, and a table of labels: for tests of what is forgotten."""

import json
import random
from pathlib import Path
from typing import Any

from tlearn.data.corpus_opening import open_corpus
from tlearn.data.tokenizer_training import Kind, save_tokenizer, train_tokenizer
from tlearn.runs.config import DataConfig, RunConfig, replace
from tlearn.runs.objective_config import ObjectiveConfig
from tlearn.runs.training import start

WORDS = "one two three four five six seven eight nine ten".split()
SIZES = ("width=8", "depth=2", "heads=2", "feed_forward=16", "positions=32")
WAYS = {
    "gpt2": ("next_tokens", SIZES, "bpe"),
    "t5-small": (
        "span_corruption",
        ("width=8", "depth=1", "decoder_depth=1", "heads=2", "head_size=4", "feed_forward=16"),
        "unigram",
    ),
    "awd-lstm": ("next_tokens", ("width=6", "hidden=6", "depth=1"), "word"),
    "bert-tiny": ("next_sentence", SIZES, "wordpiece"),
    "bert-tiny of masked tokens": ("masked_tokens", SIZES, "wordpiece"),
}


def said(text: str) -> None:
    """Says nothing."""


def corpora(folder: Path) -> Path:
    """A folder with a corpus, another one, their tokenizers, and a table with labels."""
    rng = random.Random(0)
    texts = ["\n".join(" ".join(rng.choices(WORDS, k=9)) for _ in range(3)) for _ in range(20)]
    (folder / "corpus.txt").write_text("\n\n".join(texts))
    (folder / "other.txt").write_text("\n\n".join(["\n".join(texts[3].split("\n")[:2])] * 9))
    found = open_corpus(f"blank:{folder}/corpus.txt")
    kinds: tuple[tuple[Kind, int], ...] = (("bpe", 270), ("wordpiece", 60), ("word", 20))
    for kind, size in kinds:
        save_tokenizer(train_tokenizer(found, kind, size), folder / kind)
    save_tokenizer(train_tokenizer(found, "unigram", 60, sentinels=10), folder / "unigram")
    table = ["text\tlabel", *(f"{' '.join(rng.choices(WORDS, k=4))}\t{i % 2}" for i in range(40))]
    (folder / "table.tsv").write_text("\n".join(table) + "\n")
    return folder


class Sources:
    """Runs on the corpus, each made once."""

    def __init__(self, place: Path):
        self._place, self._made = place, {}

    def __call__(self, body: str) -> Path:
        """The folder of a run, by its name in `WAYS`."""
        if body not in self._made:
            place, (objective, settings, tokenizer) = self._place, WAYS[body]
            stores = str(place / "stores")
            asked = ObjectiveConfig(objective=objective, row_length=16, stores=stores)
            base = RunConfig(data=DataConfig(data=f"blank:{place}/corpus.txt"), objective=asked)
            shape = {
                "body": body.partition(" ")[0],
                "settings": settings,
                "tokenizer": str(place / tokenizer),
            }
            config = replace(base, **shape, optimizer="adamw", batch_size=4, length="4st")
            self._made[body] = start(config, place / body, say=said, quiet=True).folder
        return self._made[body]


def labels(place: Path, source: Path | str, **changes: Any) -> RunConfig:
    """A run for the table's labels that is to remember the other corpus."""
    base = RunConfig(data=DataConfig(data=f"tsv:{place}/table.tsv"), source=f"run:{source}")
    return replace(
        base,
        **{
            "optimizer": "adamw",
            "rate": 1e-2,
            "batch_size": 8,
            "length": "6st",
            "checkpoint_every": 2,
            "remember": f"blank:{place}/other.txt",
            "stores": str(place / "stores"),
            **changes,
        },
    )


def remembered(folder: Path) -> dict[str, dict[str, float]]:
    """What a run says of it."""
    return json.loads((folder / "report" / "results.json").read_text())["remember"]
