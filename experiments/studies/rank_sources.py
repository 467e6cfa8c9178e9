"""Does a score of a source's features say which source is best to fine-tune?

Real sources are ranked on at most 500 training examples of a target (`tlearn rank`). Then all of
them are fine-tuned there for real, on four fifths of those: all parameters, few updates, two rates,
of which the one better on the last fifth is reported, two seeds, at most 300 test examples. What is
compared is the order of the sources by a score with their order by the mean test accuracy.

Pictures: ResNet-20 and ResNet-32 (CIFAR-10), a ViT (MNIST), MobileNetV2 (ImageNet, fed 64 pixels).
Texts: MiniLM-L6 and its lower 3 and 1 blocks, and tlearn's own bodies, pre-trained for a minute.

    tlearn pipeline ulmfit-demo --out demo/
    tlearn tokenizer --corpus embedded:stdlib --kind wordpiece --vocab-size 3000 --out own/tokens
    tlearn pretrain --data embedded:stdlib --objective masked_tokens --body bert-tiny \
        --settings width=128 depth=2 heads=4 feed_forward=512 positions=128 \
        --tokenizer own/tokens --row-length 64 --batch-size 32 --optimizer adamw --rate 1e-3 \
        --schedule linear:warmup=5% --weight-decay 0.01 --clip 1 --length 800st --out own/bert
    python experiments/studies/rank_sources.py --data DIR --minilm DIR --demo demo/ \
        --bert own/bert --work DIR --out experiments/results

DIR of --data (default: environment variable TLEARN_DATA) has the data and weights, --minilm is
MiniLM's Hugging Face folder, --work keeps features and finished runs: started again, the script
goes on where it was.
"""

import argparse
import dataclasses
import datetime
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import rank_tables

from tlearn import hub
from tlearn.heads import Linear
from tlearn.model import Model
from tlearn.runs.rank import RankConfig, rank
from tlearn.runs.rank_sources import Candidate, candidates, open_examples
from tlearn.runs.reading import Selection
from tlearn.runs.versions import versions
from tlearn.studies.arms import Bench, Setting, run_cell
from tlearn.train.schedules import parse
from tlearn.transfer.optimizer import adamw
from tlearn.transfer.strategy import Strategy

EXAMPLES, HELD, TEST, MAX_LENGTH, PIXELS = 500, 5, 300, 32, 64
SEEDS, STEPS = (0, 1), 30
BATCH = {"pictures": 16, "texts": 8}
RATES = {"pictures": (3e-4, 2e-3), "texts": (2e-4, 1e-3)}
"""Of AdamW; which of the two is chosen for every source and target on its own."""
CLASSES = {"pictures": 10, "texts": 6}
"""Outputs of every head, so that all targets of a source share a compiled program."""
SCHEDULE = "cosine:warmup=10%"
JUNK = "train/ants/imageNotFound.gif"


@dataclasses.dataclass(frozen=True)
class Target:
    """A data set to transfer to: its training part and its test part."""

    train: Selection
    test: Selection


def targets(asked: argparse.Namespace) -> dict[str, dict[str, Target]]:
    """All targets by what they hold."""

    def both(data: str, test: str = "test", **options: Any) -> Target:
        return Target(Selection(data, "train", **options), Selection(data, test, **options))

    data = asked.data
    return {
        "pictures": {
            "mnist": both(f"mnist:{data}/mnist"),
            "hymenoptera": Target(
                Selection(f"folder:{data}/hymenoptera", "train", exclude=(JUNK,)),
                Selection(f"folder:{data}/hymenoptera", "val", exclude=(JUNK,)),
            ),
            "digits": both("digits"),
            "cifar10_jpeg": both(f"tar:{data}/cifar10_jpeg"),
        },
        "texts": {
            "trec6": both(f"text:{data}/trec6"),
            "sst2": both(f"text:{data}/sst2"),
            "subj": both(f"text:{data}/subj"),
        },
    }


def chosen_targets(asked: argparse.Namespace, takes: str) -> dict[str, Target]:
    """The targets of a kind that were asked for; all where none was named."""
    found = targets(asked)
    unknown = set(asked.targets) - {name for kind in found.values() for name in kind}
    if unknown:
        raise ValueError(f"no such targets: {', '.join(sorted(unknown))}")
    return {k: v for k, v in found[takes].items() if not asked.targets or k in asked.targets}


def sources(asked: argparse.Namespace, takes: str) -> dict[str, str]:
    """All sources of a kind; those that differ from a file are written beside."""
    return pictures(asked) if takes == "pictures" else texts(asked)


def kept(asked: argparse.Namespace, name: str, source: hub.Source) -> str:
    """Writes a source as a run's folder, once."""
    folder = asked.work / "sources" / name
    if not (folder / "model").is_dir():
        hub.save_model(folder, source)
    return f"run:{folder}"


def pictures(asked: argparse.Namespace) -> dict[str, str]:
    """Sources that take pictures."""
    data = asked.data
    mobile = hub.load(
        f"safetensors:{data}/w_mobilenet_v2_imagenet/mobilenet_v2_dequantized_fp16.safetensors"
    )
    if mobile.facts is None:
        raise ValueError("MobileNetV2 does not say how its pictures were prepared")
    small = dataclasses.replace(mobile, facts=dataclasses.replace(mobile.facts, size=PIXELS))
    return {
        "ResNet-20, CIFAR-10": f"torch:{data}/w_resnet_cifar10/resnet20-12fca82f.th",
        "ResNet-32, CIFAR-10": f"torch:{data}/w_resnet_cifar10/resnet32-d509ac18.th",
        "ViT, MNIST": f"hf:{data}/w_vit_mnist",
        "MobileNetV2, ImageNet": kept(asked, "mobilenet", small),
    }


def texts(asked: argparse.Namespace) -> dict[str, str]:
    """Sources that take texts."""
    minilm = hub.load(f"hf:{asked.minilm}")
    bert = hub.load(f"run:{asked.bert}")
    # It was left to pool by the first token, which learning to predict tokens never trained.
    bert = dataclasses.replace(bert, body={**bert.body, "pooling": "mean"})
    stages = {
        name: next(iter(sorted(asked.demo.glob(f"{name}-*/model")))).parent
        for name in ("pretrain", "adapt")
    }
    return {
        "MiniLM, 6 blocks": f"hf:{asked.minilm}",
        "MiniLM, lower 3": kept(asked, "minilm-3", hub.lower_blocks(minilm, 3)),
        "MiniLM, lower 1": kept(asked, "minilm-1", hub.lower_blocks(minilm, 1)),
        "own BERT, stdlib": kept(asked, "bert", bert),
        "own AWD-LSTM, stdlib": f"run:{stages['pretrain']}",
        "own AWD-LSTM, + scipy": f"run:{stages['adapt']}",
    }


def prepared(
    one: Candidate, chosen: Selection, count: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs of a body, and labels; of the training part the examples that the ranking takes."""
    said: list[str] = []
    dataset = open_examples(one, chosen, examples=count, seed=0, say=said.append)
    if one.takes == "texts":
        made = one.reader.prepare([dataset[i]["text"] for i in range(len(dataset))])
    else:
        batch = one.reader.batches(dataset, len(dataset)).at(0)
        made = {"image": np.asarray(batch["image"])}
    return made, np.asarray(dataset.labels)


def filled(arrays: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """Repeats examples up to a number of rows, of texts also padding up to the longest width."""
    made = {}
    for name, value in arrays.items():
        if name != "image":
            value = np.pad(value, [(0, 0), (0, MAX_LENGTH - value.shape[1])])
        made[name] = np.resize(value, (rows, *value.shape[1:]))
    return made


def bench_of(one: Candidate, steps: int) -> Bench:
    """A source with a new head; its examples are put in target by target."""
    body: Any = one.model.body
    return Bench(
        model=Model(body, Linear(CLASSES[one.takes])),
        params={p: np.asarray(v) for p, v in one.source.params.items() if p.startswith("body/")},
        collections={p: np.asarray(v) for p, v in one.source.collections.items()},
        examples={},
        label=np.zeros(0, np.int32),
        steps=steps,
        batch_size=BATCH[one.takes],
    )


def finetuned(bench: Bench, one: Candidate, target: Target) -> dict[str, Any]:
    """Fine-tunes all of a source at two rates; the one that is better on a held part is reported.

    A fifth of the training examples is held; the others are trained on, at every rate and seed.
    """
    train, label = prepared(one, target.train, EXAMPLES)
    test, truth = prepared(one, target.test, TEST)
    order = np.random.default_rng(0).permutation(len(label))
    held, rest = order[: len(order) // HELD], order[len(order) // HELD :]
    judged = {
        name: np.concatenate(
            [
                filled({name: part[name]}, rows)[name]
                for part, rows in (
                    ({n: a[held] for n, a in train.items()}, EXAMPLES // HELD),
                    (test, TEST),
                )
            ]
        )
        for name in train
    }
    whole = np.resize(label, EXAMPLES).astype(np.int32)
    given = dataclasses.replace(bench, examples=filled(train, EXAMPLES), label=whole)
    # MobileNetV2's BatchNorm is folded into its convolutions: it must not normalise by the batch.
    means = [np.asarray(v) for p, v in one.source.collections.items() if p.endswith("/mean")]
    modes = ((".*", "eval"),) if means and not any(mean.any() for mean in means) else ()
    trials, reported = {}, {}
    for rate in RATES[one.takes]:
        setting = Setting(
            name="all",
            strategy=Strategy(modes=modes),
            optimizer=adamw(rate, parse(SCHEDULE), clip=1.0),
        )
        cell = run_cell(given, setting, [rest] * len(SEEDS), SEEDS, evaluate_on=judged)
        answers = cell.logits.argmax(-1)
        right = answers[:, : len(held)] == label[held]
        trials[rate] = 0.0 if cell.failed else float(right.mean())
        at = EXAMPLES // HELD
        reported[rate] = (answers[:, at : at + len(truth)] == truth).mean(axis=1)
    best = max(trials, key=lambda rate: trials[rate])
    return {
        "rate": best,
        "trials": {f"{rate:g}": score for rate, score in trials.items()},
        "accuracy": {str(s): float(x) for s, x in zip(SEEDS, reported[best], strict=True)},
        "train_examples": len(rest),
        "test_examples": len(truth),
    }


def measure(asked: argparse.Namespace, takes: str) -> dict[str, Any]:
    """Ranks and fine-tunes all there is, target by target; what was done before is looked up."""
    progress = asked.work / f"{takes}.json"
    cells = json.loads(progress.read_text()) if progress.exists() else {}
    named = sources(asked, takes)
    found, problems = candidates(list(named.values()), max_length=MAX_LENGTH, say=print)
    if problems:
        raise ValueError("\n".join(problems))
    by_spec = {one.spec: one for one in found}
    benches = {one.spec: bench_of(one, asked.steps) for one in found}
    wanted = chosen_targets(asked, takes)
    for name, target in wanted.items():
        if f"{name} ranked" not in cells:
            cells[f"{name} ranked"] = ranked(asked, named, name, target)
            progress.write_text(json.dumps(cells, indent=1))
    for name, target in wanted.items():
        if name in asked.unlearned:
            continue
        for label, spec in named.items():
            key = f"{name}, {label}, {asked.steps} updates"
            if key not in cells:
                began = time.perf_counter()
                cell = finetuned(benches[spec], by_spec[spec], target)
                cells[key] = cell | {"wall_s": round(time.perf_counter() - began, 1)}
                progress.write_text(json.dumps(cells, indent=1))
                print(key, cells[key], flush=True)
    return cells


def ranked(
    asked: argparse.Namespace, named: Mapping[str, str], name: str, target: Target
) -> dict[str, Any]:
    """Scores of every source on a target, by the source's name here."""
    config = RankConfig(examples=EXAMPLES, max_length=MAX_LENGTH)
    found = rank(list(named.values()), target.train, config, out=asked.work / name, say=print)
    specs = {spec: label for label, spec in named.items()}
    return {
        specs[row.source]: {
            "scores": {n: dataclasses.asdict(one) for n, one in row.scores.items()},
            "seconds": row.seconds,
            "parameters": row.parameters,
            "width": row.width,
        }
        for row in found.rows
    }


def main() -> None:
    """Measures, compares, writes the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = os.environ.get("TLEARN_DATA")
    parser.add_argument("--data", type=Path, default=data, required=data is None)
    parser.add_argument("--minilm", type=Path, required=True, help="MiniLM's folder")
    parser.add_argument("--demo", type=Path, required=True, help="a finished ulmfit-demo")
    parser.add_argument("--bert", type=Path, required=True, help="run of the tiny BERT")
    parser.add_argument("--work", type=Path, required=True, help="features and finished runs")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    parser.add_argument("--steps", type=int, default=STEPS, help="updates of a run")
    parser.add_argument("--of", nargs="+", default=("pictures", "texts"), help="one, or both")
    parser.add_argument("--targets", nargs="+", default=(), help="some of them; all by default")
    parser.add_argument(
        "--unlearned", nargs="+", default=(), help="targets that are only ranked on, not learned"
    )
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    # Runs of one shape share their compiled programs, when started again too.
    jax.config.update("jax_compilation_cache_dir", str(asked.work / "compiled"))
    cells = {takes: measure(asked, takes) for takes in asked.of}
    content = {
        "about": (__doc__ or "").split("\n\n    ")[0],
        "command": "python experiments/studies/rank_sources.py --data DIR --minilm DIR "
        f"--demo demo/ --bert own/bert --work DIR --steps {asked.steps}"
        + (f" --targets {' '.join(asked.targets)}" if asked.targets else "")
        + (f" --unlearned {' '.join(asked.unlearned)}" if asked.unlearned else ""),
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "protocol": {
            "examples": EXAMPLES,
            "updates": asked.steps,
            "batch": BATCH,
            "rates": RATES,
            "schedule": SCHEDULE,
            "optimizer": "adamw, clip 1",
            "test_examples": TEST,
            "seeds": SEEDS,
            "max_length": MAX_LENGTH,
            "MobileNetV2_pixels": PIXELS,
        },
        "measured": {
            takes: rank_tables.compare(
                cells[takes],
                list(sources(asked, takes)),
                [name for name in chosen_targets(asked, takes) if name not in asked.unlearned],
                [name for name in chosen_targets(asked, takes) if name in asked.unlearned],
                asked.steps,
            )
            for takes in asked.of
        },
    }
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "rank_sources.json").write_text(json.dumps(content, indent=1) + "\n")
    page = rank_tables.page(content)
    (asked.out / "rank_sources.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
