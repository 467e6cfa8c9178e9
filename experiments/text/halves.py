"""Recipes for SST-2 on its training texts alone: each half is judged by a run on the other.

A tenth of the training texts tells two recipes apart only where they differ by some points; two
halves judge every one of them, at the price of one run on all. The reported part is not read.

    python experiments/text/halves.py --model DIR --data DIR --out experiments/results

DIR of --model is a Hugging Face folder; DIR of --data holds sst2/. What is in the results is not
run again. Recipes that begin with film reviews need `--reviews RUN`, as `finetuning.py` has it, and
those that begin with reading them `--read RUN`, a run that has learned masked tokens of IMDb's
reviews (training and unlabelled ones) and has seen no label:

    tlearn adapt --source hf:DIR --objective masked_tokens --head-weights fresh \
        --data "dataset:text:DIR/imdb@train+lines:DIR/imdb/unsup_5k.txt.gz" \
        --held-out text:DIR/sst2@dev --row-length 128 --validation 1% --optimizer adamw \
        --rate 2e-4 --schedule linear:warmup=6% --weight-decay 0.01 --clip 1 --batch-size 32 \
        --length 900st --out RUN
"""

import argparse
import json
import tempfile
from pathlib import Path

import jax
import numpy as np
import protocol
from finetuning import config, write

from tlearn.runs.config import replace
from tlearn.runs.training import start

RECIPES: dict[str, dict] = {
    "1e-4, 2 epochs": {"length": "2ep"},
    "1e-4, 3 epochs": {"length": "3ep"},
    "embeddings frozen": {"length": "2ep", "freeze": "bottom:1"},
    "pulled, 0.01": {"length": "2ep", "pull_strength": 0.01},
    "averaged, 0.99": {"length": "3ep", "ema": 0.99},
    "two passes, 0.5": {"length": "3ep", "consistency": 0.5},
    "two passes, 2": {"length": "4ep", "consistency": 2.0},
    "two passes, 4": {"length": "4ep", "consistency": 4.0},
    "two passes, 2, averaged": {"length": "4ep", "consistency": 2.0, "ema": 0.99},
    "two passes, 4, averaged, 6 epochs": {"length": "6ep", "consistency": 4.0, "ema": 0.99},
    "two passes, 4, averaged, 2e-4": {
        "length": "4ep",
        "consistency": 4.0,
        "ema": 0.99,
        "rate": 2e-4,
    },
    "two passes, 2, averaged, as written": {"length": "4ep", "consistency": 2.0, "ema": 0.99},
    "film reviews first, two passes, 2, averaged, 5e-5": {
        "length": "4ep",
        "consistency": 2.0,
        "ema": 0.99,
        "rate": 5e-5,
    },
    "film reviews first, two passes, 2, averaged, 5e-5, as written": {
        "length": "4ep",
        "consistency": 2.0,
        "ema": 0.99,
        "rate": 5e-5,
    },
    "two passes, 2, averaged, 2e-4 and 0.8 of it a layer down, as written": {
        "length": "4ep",
        "consistency": 2.0,
        "ema": 0.99,
        "layer_decay": 0.8,
        "rate": 2e-4,
    },
    "film reviews read first, two passes, 2, averaged, as written": {
        "length": "4ep",
        "consistency": 2.0,
        "ema": 0.99,
    },
}
WRITTEN = ", as written"
"""How a recipe's name ends whose texts are as people write them (`protocol.as_written`)."""
REVIEWS, READ = "film reviews first", "film reviews read first"
"""How a recipe's name begins that starts from the run of --reviews or of --read."""
RATE, SEED, SPLIT = 1e-4, 0, 7
"""The rate where none is said, the seed of the runs, and the one that makes the halves."""


def halves(asked: argparse.Namespace, place: Path, written: bool) -> list[Path]:
    """Two folders of tables: the first half is judged after learning from the second, then back.

    The texts are without the treebank's tokens if they are wanted as people write.
    """
    whole = protocol.rows(asked.data / "sst2" / "train.tsv")
    if written:
        whole = [(protocol.as_written(text), label) for text, label in whole]
    order = np.random.default_rng(SPLIT).permutation(len(whole))
    parts = [[whole[i] for i in part] for part in np.array_split(order, 2)]
    return [
        # The table that is never read must be there.
        write({"train": learned, "validation": judged, "reported": judged}, place / str(number))
        for number, (judged, learned) in enumerate((parts, parts[::-1]))
    ]


def judge(asked: argparse.Namespace, place: Path, recipe: str) -> list[float]:
    """Accuracy of a recipe on both halves."""
    changes = dict(RECIPES[recipe])
    for begins, source in _sources(asked).items():
        if recipe.startswith(begins):
            changes["source"] = f"run:{source}"
    found = []
    for folder in halves(asked, place, recipe.endswith(WRITTEN)):
        plain = config(asked, folder, (RATE, 1), SEED, chosen=False)
        run = replace(plain, **changes)
        result = start(run, place / f"run {folder.name}", say=lambda text: None, quiet=True)
        if result.test is None:
            raise RuntimeError("the run read no part")
        found.append(result.test.metrics["accuracy"])
    return found


def _sources(asked: argparse.Namespace) -> dict[str, Path | None]:
    """The runs that recipes start from, by how their names begin."""
    return {REVIEWS: asked.reviews, READ: asked.read}


def table(found: dict[str, dict]) -> str:
    """The figures as Markdown."""
    best = max(found, key=lambda recipe: found[recipe]["accuracy"])
    lines = [
        "# SST-2's recipes on its training texts",
        "",
        "Accuracy on all 6,920 of them, each half judged by a run on the other; rate "
        f"{RATE:g} unless the name says another, seed {SEED}. One figure is known to about 0.4 "
        "points, and the best of so many is flattered by being the best. Reviews are IMDb's, with "
        "their labels; where they are only read, masked tokens of them were learned and no label. "
        "As written is without the treebank's tokens.",
        "",
        "| recipe | epochs | first half | second half | all |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for recipe, one in found.items():
        first, second = one["halves"]
        epochs = RECIPES[recipe]["length"].removesuffix("ep")
        total = f"{one['accuracy']:.4f}"
        total = f"**{total}**" if recipe == best else total
        lines.append(f"| {recipe} | {epochs} | {first:.4f} | {second:.4f} | {total} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs what is not in the results yet, and writes them after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--reviews", type=Path, help="run that learned film reviews first")
    parser.add_argument("--read", type=Path, help="run that learned their masked tokens")
    parser.add_argument("--recipe", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    asked = parser.parse_args()
    for begins, source in _sources(asked).items():
        if source is None and any(recipe.startswith(begins) for recipe in asked.recipe):
            parser.error(f"recipes that begin with {begins!r} need a run to start from: see --help")
    asked.out.mkdir(parents=True, exist_ok=True)
    file = asked.out / "sst2_halves.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    jax.config.update("jax_compilation_cache_dir", str(asked.out / "compiled"))
    for recipe in asked.recipe:
        if recipe in found:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            scores = judge(asked, Path(temporary), recipe)
        found[recipe] = {"halves": scores, "accuracy": float(np.mean(scores))}
        print(recipe, found[recipe], flush=True)
        file.write_text(json.dumps(found, indent=1) + "\n")
    file.with_suffix(".md").write_text(table(found))


if __name__ == "__main__":
    main()
