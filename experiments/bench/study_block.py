"""Many runs in one program against the same runs one after another, and against torch's loop.

    python experiments/bench/study_block.py top --data DIR [--json]
    python experiments/bench/study_block.py resnet|bert [--runs 16] [--json]

``top``: 5 rates × 4 strengths of a pull × 8 seeds of the top block and the head of a small ViT
(trained on MNIST; DIR holds w_vit_mnist/) on features of its frozen bottom, computed once, on
digits of 8 × 8 pixels. Every run is compared with its single twin. Beside it the same training of
the same shapes in torch, run by run, and scikit-learn's logistic regression on the pooled features.

``resnet`` and ``bert``: seeds of full fine-tuning of a small ResNet and of a two-layer BERT, by
``vmap``, by ``map`` and one by one. Compilation is told apart from running; seconds are medians.
"""

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import side_by_side

from tlearn.runs.config import BodyConfig, DataConfig, RunConfig, replace
from tlearn.runs.study.gathering import gather
from tlearn.runs.study.group import Group
from tlearn.runs.study.many import Looks, run_group, run_many
from tlearn.studies.block import Block, Compiler, train_block

RATES, STRENGTHS, SEEDS = (1e-3, 2e-3, 5e-3, 1e-2, 2e-2), (0.0, 0.01, 0.1, 1.0), range(8)
STEPS, BATCH = 60, 32
SAMPLE = 4
"""Runs that slow ways are timed on."""


def timed(run: Callable[[], Any], repeats: int = 3) -> float:
    """The median of some calls, after one that does not count, in seconds."""
    run()
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def train(group: Group, compiler: Compiler, block: Block, how: Any) -> Any:
    """Trains some runs from their beginning to their end."""
    steps = group.timeline.steps
    batches = group.batches(0, steps, steps, block.lines)
    block, _ = train_block(compiler, group.steps[0], block, group.source, batches, steps, how=how)
    return jax.block_until_ready(block.states.trainable)


def ways(group: Group, repeats: int) -> dict[str, float]:
    """Seconds of all runs by vmap, by map, and one by one with a program compiled once."""
    # Made before the clock runs: what trains is read and drawn for every block.
    whole = group.block(range(len(group.configs)))
    single = [group.block([run]) for run in range(len(group.configs))]
    found: dict[str, float] = {}
    for how in ("vmap", "map"):
        compiler = Compiler()
        began = time.perf_counter()
        train(group, compiler, whole, how)
        found[f"{how}, first time"] = time.perf_counter() - began
        found[how] = timed(lambda c=compiler, h=how: train(group, c, whole, h), repeats)
        found[f"{how}, programs"] = sum(compiler.compilations.values())
    compiler = Compiler()

    def one_by_one() -> None:
        for block in single:
            train(group, compiler, block, "map")

    found["one by one"] = timed(one_by_one, repeats)
    return found


def top(data: Path, repeats: int) -> dict[str, Any]:
    """The top block and head of a ViT, 160 runs."""
    base = replace(
        RunConfig(
            data=DataConfig(data="digits", test_split="test", validation="20%", per_class=10),
            source=f"hf:{data}/w_vit_mnist",
        ),
        channels="convert",
        freeze="bottom:6",
        features="once",
        optimizer="adamw",
        length=f"{STEPS}st",
        batch_size=BATCH,
        schedule="cosine:warmup=10%",
        pull="l2sp",
        pull_way="decoupled",
    )
    configs = [
        replace(base, rate=rate, pull_strength=strength, seed=seed)
        for rate, strength, seed in itertools.product(RATES, STRENGTHS, SEEDS)
    ]
    looks = Looks(metric="accuracy", points=1)
    compiler = Compiler()
    began = time.perf_counter()
    many = run_many(configs, looks, compiler=compiler, how="vmap")
    whole = time.perf_counter() - began
    group, twin = gather(configs), Compiler()
    worst, unlike = 0.0, 0
    for run, found in enumerate(many):
        (alone,) = run_group(group, looks, [run], compiler=twin, how="map")
        worst = max(worst, abs(alone.metrics["loss"] / found.metrics["loss"] - 1))
        unlike += int(np.sum(np.asarray(alone.right) != np.asarray(found.right)))
    began = time.perf_counter()
    for config in configs[:SAMPLE]:
        run_many([config], looks, how="map")
    singly = (time.perf_counter() - began) / SAMPLE * len(configs)
    return {
        "runs": len(configs),
        "trained parameters": group.plans[0][0].totals()["trained"],
        "programs compiled": dict(compiler.compilations),
        "whole study, one program, s": whole,
        "each run by itself (read, compiled, trained), s, from a few": singly,
        "largest relative difference of the loss to the single twin": worst,
        "test examples told otherwise, of all runs": unlike,
        "training only, s": ways(group, repeats),
        "torch, run by run, s": torch_loop(group, len(configs)),
        "scikit-learn logistic regression, run by run, s": sklearn_loop(group),
    }


def torch_loop(group: Group, runs: int) -> float:
    """Seconds of as many runs in torch: a block of the same shapes and a head, AdamW, a pull."""
    import torch  # noqa: TID251 - the peer
    from torch import nn  # noqa: TID251 - the peer

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    batches = group.batches(0, STEPS, STEPS, range(len(group.lines)))
    body: Any = group.whole.body
    features, label = torch.tensor(batches["features"]), torch.tensor(batches["label"]).long()
    width, hidden, heads = body.width, body.feed_forward, body.heads

    def one(run: int) -> None:
        torch.manual_seed(run)
        block = nn.TransformerEncoderLayer(
            width, heads, hidden, 0.0, "gelu", batch_first=True, norm_first=True
        )
        head = nn.Linear(width, 10)
        moving = [*block.parameters(), *head.parameters()]
        start = [p.detach().clone() for p in block.parameters()]
        optimizer = torch.optim.AdamW(moving, lr=1e-3, weight_decay=0.0)
        line = int(group.line[run])
        for step in range(STEPS):
            logits = head(block(features[line, step])[:, 0])
            loss = nn.functional.cross_entropy(logits, label[line, step])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for p, s in zip(block.parameters(), start, strict=True):
                    p.sub_(1e-3 * 0.1 * (p - s))

    return timed(lambda: [one(run) for run in range(SAMPLE)], 3) * runs / SAMPLE


def sklearn_loop(group: Group) -> float:
    """Seconds of a logistic regression for every seed, rate and strength, on pooled features."""
    from sklearn.linear_model import LogisticRegression

    batches = group.batches(0, STEPS, STEPS, range(len(group.lines)))
    features = batches["features"].mean(axis=-2)
    count = len(features)

    def all_runs() -> None:
        for line in range(count):
            x = features[line].reshape(-1, features.shape[-1])[:100]
            y = batches["label"][line].reshape(-1)[:100]
            for c in np.logspace(-2, 2, len(group.configs) // count):
                LogisticRegression(C=c, max_iter=1000).fit(x, y)

    return timed(all_runs, 3)


def resnet(runs: int) -> list[RunConfig]:
    """Seeds of a small ResNet on the digits, everything trained."""
    body = BodyConfig(settings=("stage_widths=8,16,32", "stage_blocks=1,1,1", "stem_width=8"))
    base = RunConfig(data=DataConfig(data="digits", test_split="test", per_class=20), body=body)
    base = replace(base, length=f"{STEPS}st", batch_size=BATCH, optimizer="adamw", rate=1e-2)
    return [replace(base, seed=seed) for seed in range(runs)]


def bert(runs: int, place: Path) -> list[RunConfig]:
    """Seeds of a two-layer BERT of width 128 on short texts, everything trained."""
    from tlearn.data.corpus_opening import open_corpus
    from tlearn.data.tokenizer_training import save_tokenizer, train_tokenizer

    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(200)]
    lines = ["text\tlabel"]
    for i in range(600):
        kind = i % 4
        drawn = rng.choice(words[50 * kind : 50 * kind + 90], 20)
        lines.append(" ".join(drawn) + f"\tk{kind}")
    (place / "train.tsv").write_text("\n".join(lines[:400]) + "\n")
    (place / "test.tsv").write_text("\n".join(lines[:1] + lines[400:]) + "\n")
    (place / "corpus.txt").write_text("\n".join(lines[1:]) + "\n")
    corpus = open_corpus(f"lines:{place / 'corpus.txt'}")
    save_tokenizer(train_tokenizer(corpus, "wordpiece", 400), place / "tokenizer")
    base = RunConfig(
        data=DataConfig(data=f"text:{place}", test_split="test", widths="32", max_length=32),
        body=BodyConfig(body="bert-tiny", tokenizer=str(place / "tokenizer")),
    )
    base = replace(base, length=f"{STEPS}st", batch_size=16, optimizer="adamw", rate=1e-3)
    return [replace(base, seed=seed) for seed in range(runs)]


def main() -> None:
    """Measures, prints, and with --json keeps it beside the other results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("top", "resnet", "bert"))
    parser.add_argument("--data", type=Path, help="folder of w_vit_mnist/")
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.what == "top":
        measured = top(asked.data, asked.repeats)
    elif asked.what == "resnet":
        measured = ways(gather(resnet(asked.runs)), asked.repeats)
    else:
        with tempfile.TemporaryDirectory() as place:
            measured = ways(gather(bert(asked.runs, Path(place))), asked.repeats)
    print(json.dumps(measured, indent=1))
    if asked.json:
        file = Path(__file__).parent / "results" / f"study_block_{asked.what}.json"
        side_by_side.write(file, measured, what=asked.what)


if __name__ == "__main__":
    main()
