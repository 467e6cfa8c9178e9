"""A sentence encoder to sentences with labels: strategies side by side, beside transformers.

Fine-tunes MiniLM-L6 (22 M parameters) on SST-2 or TREC-6 through tlearn's own runs: everything,
everything from scratch, the bottom 3 and 5 of 6 blocks frozen (with the embeddings), and a logistic
regression on features computed once; for SST-2 also everything with two passes that answer alike,
of the texts as they are and as people write them: `halves.py` chose them on the training texts.
Rates and epochs are tried on a part of the training texts with a pilot seed; then all of them are
trained on, and the reported part is read once a run. `trainer_peer.py` does the first arm with
torch.

    python experiments/text/finetuning.py --task sst2 --model DIR --data DIR \
        --peer PEER.json --out experiments/results

DIR of --model is a Hugging Face folder; DIR of --data holds sst2/ and trec6/. With `--reviews RUN`
a further arm starts from the body of a run that learned the sentiment of film reviews first (Phang
et al. 2018, "Sentence encoders on STILTs"): other texts of the task's kind, none of them SST-2's.

    tlearn finetune --source hf:DIR --data text:DIR/imdb --validation 2% --max-length 128 \
        --pooling mean --head-init scaled --head-dropout 0.1 --optimizer adamw --rate 1e-4 \
        --schedule linear:warmup=10% --weight-decay 0.01 --clip 1 --batch-size 32 --length 1ep \
        --out RUN
"""

import argparse
import datetime
import json
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import protocol

from tlearn.data import open_texts
from tlearn.runs.config import DataConfig, RunConfig, replace
from tlearn.runs.reading import Selection
from tlearn.runs.training import start
from tlearn.runs.use import extract
from tlearn.runs.versions import versions
from tlearn.studies.statistics import compare, show, summarize
from tlearn.transfer.logistic import logistic_regression

ARMS = {
    "everything": {},
    "bottom 3 frozen": {"freeze": "bottom:4"},
    "bottom 5 frozen": {"freeze": "bottom:6"},
    "from scratch": {"fresh": "all"},
}
"""Layers are the embeddings and six blocks, so "bottom 3" counts four layers."""
TWO_PASSES = "everything, two passes"
"""Of the same texts, with other dropout, that answer alike (Liang et al. 2021, "R-Drop")."""
PENALTIES = (1e-2, 1e-3, 1e-4)
AS_WRITTEN = f"{TWO_PASSES}, texts as written"
"""The same with texts as people write them (`protocol.as_written`), in all parts."""
AFTER_REVIEWS = "everything, film reviews first"
REVIEWS_TWICE = f"{AFTER_REVIEWS}, two passes, texts as written"
"""All three: the best recipe of `halves.py`."""
Trial = tuple[float, int]
"""Rate and epochs."""


def write(parts: dict, folder: Path) -> Path:
    """Writes parts as tables of one folder."""
    names = {"train": "train", "validation": "dev", "reported": "test"}
    folder.mkdir(parents=True)
    for part, name in names.items():
        lines = ["text\tlabel", *(f"{text}\t{label}" for text, label in parts[part])]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def config(asked: argparse.Namespace, texts: Path, trial: Trial, seed: int, chosen: bool):
    """The run that all arms change; with ``chosen`` it is the one that is reported."""
    base = RunConfig(data=DataConfig(data=f"text:{texts}"), source=f"hf:{asked.model}")
    rate, epochs = trial
    return replace(
        base,
        train_split="train+dev" if chosen else "train",
        validation="0%",
        test_split="test" if chosen else "dev",
        max_length=protocol.MAX_LENGTH,
        optimizer="adamw",
        rate=rate,
        schedule="linear:warmup=10%",
        weight_decay=protocol.WEIGHT_DECAY,
        clip=protocol.CLIP,
        head_init="scaled",
        head_dropout=0.1,
        # As these weights were trained to make one vector of a text.
        pooling="mean",
        length=f"{epochs}ep",
        batch_size=protocol.BATCH,
        checkpoint_every=10**6,
        report_every=50,
        seed=seed,
    )


def run(asked, place: Path, arm: str, trial: Trial, seed: int, *, chosen: bool) -> dict:
    """One run in a folder of its own; its accuracy and wall time. Done once, it is looked up."""
    rate, epochs = trial
    part = "reported" if chosen else "chosen on"
    name = f"{arm}, rate {rate:g}, {epochs} epochs, seed {seed}, {part}"
    progress = asked.out / f"finetuning_{asked.task}.cells.json"
    cells = json.loads(progress.read_text()) if progress.exists() else {}
    if name in cells:
        return cells[name]
    written = arm in (AS_WRITTEN, REVIEWS_TWICE)
    texts = place / ("texts as written" if written else "texts")
    if not texts.exists():
        write(protocol.read(asked.data, asked.task, written=written), texts)
    after = {"source": f"run:{asked.reviews}"}
    others = {
        AFTER_REVIEWS: after,
        TWO_PASSES: protocol.TWO_PASSES,
        AS_WRITTEN: protocol.TWO_PASSES,
        REVIEWS_TWICE: after | protocol.TWO_PASSES,
    }
    changes = (ARMS | others)[arm]
    made = replace(config(asked, texts, trial, seed, chosen), **changes)
    began = time.monotonic()
    result = start(made, place / name, say=lambda text: None, quiet=True)
    if result.test is None:
        raise RuntimeError("the run read no part")
    wall = round(time.monotonic() - began, 1)
    cells[name] = {"accuracy": result.test.metrics["accuracy"], "wall_s": wall}
    progress.write_text(json.dumps(cells, indent=1))
    print(name, cells[name], flush=True)
    return cells[name]


def regression(asked, place: Path) -> float:
    """Logistic regression on features computed once; its penalty is chosen on validation texts."""
    texts = place / "texts"
    if not texts.exists():
        write(protocol.read(asked.data, asked.task), texts)
    features, labels = {}, {}
    for part in ("train", "dev", "train+dev", "test"):
        chosen = Selection(f"text:{texts}", part)
        store = extract(f"hf:{asked.model}", chosen, place / f"features-{part}")
        features[part] = np.asarray(store.rows(np.arange(len(store))))
        labels[part] = np.asarray(open_texts(f"text:{texts}", part).labels)
    count = len(np.unique(labels["train"]))

    def score(l2: float, learned: str, part: str) -> float:
        fit = logistic_regression(features[learned], labels[learned], count, l2)
        return float((fit.logits(features[part]).argmax(-1) == labels[part]).mean())

    best = max(PENALTIES, key=lambda l2: score(l2, "train", "dev"))
    return score(best, "train+dev", "test")


def main() -> None:
    """Tries rates, runs the seeds, writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", choices=protocol.TASKS, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer", type=Path, help="what trainer_peer.py wrote")
    parser.add_argument("--reviews", type=Path, help="run that learned film reviews first")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        # All runs of a shape share their compiled step, in other processes too.
        jax.config.update("jax_compilation_cache_dir", str(asked.out / "compiled"))
        measured = measure(asked, place)
    content = {
        "about": (__doc__ or "").split("\n\n    ")[0],
        "date": datetime.date.today().isoformat(),
        "seeds": protocol.SEEDS,
        "versions": versions(),
        "recipe": {k: v for k, v in vars(protocol).items() if k.isupper()},
        "measured": measured,
    }
    name = f"finetuning_{asked.task}"
    (asked.out / f"{name}.json").write_text(json.dumps(content, indent=1, default=str) + "\n")
    text = table(asked.task, measured)
    (asked.out / f"{name}.md").write_text(text)
    print(text)


def choose(asked, place: Path, arm: str, trials: tuple[Trial, ...]) -> tuple[Trial, dict]:
    """The best of some rates and epochs on the texts that are chosen on, and how each did."""
    scores = {
        trial: run(asked, place, arm, trial, protocol.PILOT, chosen=False)["accuracy"]
        for trial in trials
    }
    told = {said(trial): score for trial, score in scores.items()}
    return max(scores, key=lambda trial: scores[trial]), told


def said(trial: Trial) -> str:
    """Rate and epochs in words."""
    return f"rate {trial[0]:g}, {trial[1]} epochs"


def measure(asked: argparse.Namespace, place: Path) -> dict:
    """All trials and runs."""
    best, told = choose(asked, place, "everything", protocol.TRIALS)
    trials = dict.fromkeys(ARMS, best) | {"from scratch": (protocol.SCRATCH_RATE, best[1])}
    tried = {"everything": told}
    if asked.task == "sst2":
        trials[TWO_PASSES] = trials[AS_WRITTEN] = protocol.TRIAL_TWO_PASSES
    if asked.reviews is not None:
        trials[AFTER_REVIEWS], tried[AFTER_REVIEWS] = choose(
            asked, place, AFTER_REVIEWS, protocol.TRIALS_AFTER_REVIEWS
        )
        trials[REVIEWS_TWICE] = protocol.TRIAL_REVIEWS_TWICE
    runs: dict[str, dict[int, float]] = {}
    walls: dict[str, list[float]] = {}
    for arm, trial in trials.items():
        # For contrast one run is enough: nothing is compared with it.
        seeds = protocol.SEEDS[:1] if arm == "from scratch" else protocol.SEEDS
        found = {s: run(asked, place, arm, trial, s, chosen=True) for s in seeds}
        runs[arm] = {seed: one["accuracy"] for seed, one in found.items()}
        walls[arm] = [one["wall_s"] for one in found.values()]
    # Nothing in it is drawn: one figure, without seeds.
    measured = {
        "chosen": {arm: said(trial) for arm, trial in trials.items()},
        "trials": tried,
        "accuracy": runs,
        "features once, logistic regression": regression(asked, place),
        "wall_s": walls,
    }
    if asked.peer is not None:
        peer = json.loads(asked.peer.read_text())
        runs["everything, transformers' Trainer"] = {
            int(seed): value for seed, value in peer["accuracy"].items()
        }
        measured["peer"] = peer
    return measured


def table(task: str, measured: dict) -> str:
    """The figures as Markdown, differences paired by seed."""
    runs = measured["accuracy"]
    # From scratch is one run, for contrast: there is nothing to pair.
    seeds = runs["everything"].keys()
    paired = {arm: values for arm, values in runs.items() if values.keys() == seeds}
    pairs = compare(paired, "everything")
    lines = [
        f"# MiniLM-L6 on {task}",
        "",
        f"{datetime.date.today().isoformat()}; accuracy on the reported part, "
        f"{len(protocol.SEEDS)} seeds; {measured['chosen']['everything']}.",
        "",
        "| arm | every seed | median | mean ± half the 95 % interval | Δ to everything [95 %] |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for arm, values in runs.items():
        found, pair = summarize(values), pairs.get(arm)
        half = found.interval.half_width if found.interval else None
        gap = f"{pair.mean:+.4f} {pair.interval.bounds}" if pair and pair.interval else ""
        each = " ".join(f"{v:.4f}" for v in values.values())
        median = np.median(list(values.values()))
        lines.append(
            f"| {arm} | {each} | {median:.4f} | {show(found.mean)} ± {show(half)} | {gap} |"
        )
    once = measured["features once, logistic regression"]
    lines += [
        f"| features once, logistic regression | {once:.4f} | {once:.4f} | nothing is drawn | |",
        "",
    ]
    for arm, scores in measured["trials"].items():
        listed = "; ".join(f"{trial} {score:.4f}" for trial, score in scores.items())
        lines.append(
            f"Tried for {arm}, on a tenth of the training texts with seed {protocol.PILOT}: "
            f"{listed}; chosen {measured['chosen'][arm]}."
        )
    lines += [
        f"From scratch the rate is {protocol.SCRATCH_RATE:g}, not chosen; frozen arms take the "
        "choice for everything. Fewer than five pairs: no arm is called better.",
    ]
    if task == "sst2":
        lines += [
            "",
            "Trained on the 6,920 whole sentences of SST-2. GLUE's SST-2 has 67,349 phrases of "
            "them, and published figures of small BERTs (0.90 to 0.92) are of those.",
        ]
        lines += [
            "",
            f"Two passes ({said(protocol.TRIAL_TWO_PASSES)}, and after film reviews "
            f"{said(protocol.TRIAL_REVIEWS_TWICE)}; {protocol.TWO_PASSES}) was chosen on the "
            "training texts alone, each half judged by a run on the other "
            "(`experiments/text/halves.py`), and so were texts as written: without the treebank's "
            "tokens (`do n't`, `-lrb-`), which the encoder never learned, in all parts.",
        ]
    if AFTER_REVIEWS in runs:
        lines += [
            "",
            "Film reviews first: one epoch over IMDb's labelled training reviews, cut at 128 "
            "tokens, then the same fine-tuning with the same seeds. The reviews are not SST-2's: "
            "two of its dev sentences share eight words in a row with one, both times an idiom.",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
