"""Small runs on texts for tests: a BERT of two blocks and a vocabulary of some words."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlearn import heads, hub
from tlearn.bodies import build, describe
from tlearn.bodies.facts import TextFacts
from tlearn.hub.foreign_folder import export_folder
from tlearn.model import Model, initialise
from tlearn.runs.config import DataConfig, OptimizerConfig, RunConfig, TrainConfig
from tlearn.runs.config import replace as change
from tlearn.runs.training import Result, start

GOOD, BAD = ("fine", "lovely", "bright"), ("dull", "poor", "grey")
PLAIN = ("the", "film", "was", "a", "story", "of", "it", "and", "play", "song")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *PLAIN)
BODY = {
    "family": "bert",
    "vocab_size": len(WORDS),
    "width": 16,
    "depth": 2,
    "heads": 2,
    "feed_forward": 32,
    "positions": 64,
    "types": 2,
}
INPUTS = tuple(jax.ShapeDtypeStruct((1, 4), jnp.int32) for _ in range(3))


def bert_folder(folder: Path) -> Path:
    """A checkpoint as transformers would leave it: drawn weights and a vocabulary."""
    body = build(BODY)
    params, _ = initialise(Model(body, heads.Linear(1)), jax.random.key(0), *INPUTS)
    special = tuple((name, WORDS.index(f"[{name.upper()}]")) for name in ("cls", "sep", "mask"))
    source = hub.Source(
        # Larger than a BERT is drawn, so that a few steps show.
        params={p: 5 * np.asarray(v) for p, v in params.items() if p.startswith("body/")},
        collections={},
        body=describe(body),
        facts=TextFacts(
            vocab_size=len(WORDS),
            max_length=64,
            pad=0,
            special=special,
            lowercase=True,
            pair_types=True,
        ),
        files={
            "vocab.txt": "\n".join(WORDS).encode() + b"\n",
            "tokenizer_config.json": json.dumps({"do_lower_case": True}).encode(),
        },
    )
    return export_folder(source, folder)


def averaged(folder: Path) -> Path:
    """Makes a checkpoint a sentence encoder's, as those of MiniLM are: it says to take the mean."""
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return folder


def review(rng: np.random.Generator, label: int) -> str:
    """A few plain words with one or two that tell the label."""
    words = [str(w) for w in rng.choice(PLAIN, int(rng.integers(2, 9)))]
    for word in rng.choice((BAD, GOOD)[label], int(rng.integers(1, 3))):
        words.insert(int(rng.integers(len(words) + 1)), str(word))
    return " ".join(words)


def reviews(folder: Path, train: int = 96, test: int = 24) -> Path:
    """A folder with train.tsv and test.tsv: text and label, half of them ``good``."""
    folder.mkdir(parents=True)
    rng, seen = np.random.default_rng(0), set()
    for name, count in (("train", train), ("test", test)):
        lines = ["text\tlabel"]
        while len(lines) <= count:
            label = len(lines) % 2
            text = review(rng, label)
            if text not in seen:
                seen.add(text)
                lines.append(f"{text}\t{('bad', 'good')[label]}")
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def config(source: Path | str, data: Path | str, **changes: Any) -> RunConfig:
    """Some batches of reviews."""
    whole = RunConfig(
        data=DataConfig(data=str(data), test_split="test", validation="25%", widths="16"),
        source=source if isinstance(source, str) else f"hf:{source}",
        optimizer=OptimizerConfig(optimizer="adamw", rate=3e-3),
        train=TrainConfig(length="12st", batch_size=12, report_every=4, checkpoint_every=5),
    )
    return change(whole, **changes)


def finetune(source: Path | str, data: Path | str, out: Path, **changes: Any) -> Result:
    """Carries a source over to reviews."""
    return start(config(source, data, **changes), out, say=list().append, quiet=True)
