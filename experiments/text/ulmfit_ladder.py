"""ULMFiT's ladder on real texts: what pre-training, adaptation and each trick of tuning buy.

A small AWD-LSTM learns general text (WikiText-2's valid and test parts and the training part of
20 newsgroups), is adapted to the target's training texts without their labels, and is fine-tuned
with few labels, one arm a rung: from scratch, last layer only, full, with discriminative rates,
with the slanted triangle, with gradual unfreezing, with all three; and all three without the
adaptation. Test texts are held out of every corpus. Rates are tried on validation texts with a
pilot seed; seeds are paired: one draw of labelled texts, head and order for all arms.

    python experiments/text/ulmfit_ladder.py --data DIR --out experiments/results
        [--target trec6 imdb] [--seeds 3] [--work DIR]

DIR of --data holds wikitext2_part/, newsgroups20/, trec6/ and imdb/. Finished stages and runs in
--work are not done again.
"""

import argparse
import csv
import datetime
import gzip
import json
from pathlib import Path

import jax
import numpy as np

from tlearn.runs.config import DataConfig, HeadConfig, RunConfig, replace
from tlearn.runs.objective_config import ObjectiveConfig
from tlearn.runs.pipeline import Pipeline, RunStage, TokenizerStage, run_pipeline
from tlearn.runs.training import start
from tlearn.runs.versions import versions
from tlearn.studies.statistics import compare, show, summarize

VOCABULARY, ROW, BATCH = 8000, 70, 32
GENERAL_EPOCHS, ADAPT_EPOCHS = 4, {"trec6": 20, "imdb": 3}
LABELS = {"trec6": (600,), "imdb": (100, 500, 2500)}
EPOCHS = {600: 10, 100: 20, 500: 10, 2500: 6}
MAX_LENGTH = {"trec6": 0, "imdb": 256}
REPORTED = {"trec6": 500, "imdb": 5000}
"""Of IMDb's 25,000 test texts as many are reported, the same for all runs."""
HELD = 500
"""Texts of the training part that rates are chosen on."""
PILOT = 100
STEP = 1 / 2.6
ARMS = {
    "from scratch": {"fresh": "all", "schedule": "constant"},
    "last only": {"freeze": "body", "schedule": "constant"},
    "full": {"schedule": "constant"},
    "full, discriminative": {"layer_decay": STEP, "schedule": "constant"},
    "full, slanted triangle": {"schedule": "slanted-triangular"},
    "gradual": {"unfreeze": "gradual", "schedule": "constant"},
    "all three": {"layer_decay": STEP, "unfreeze": "gradual", "schedule": "slanted-triangular"},
}
UNADAPTED = "all three, not adapted"
RATES = (1e-3, 3e-3, 1e-2)


def rows(data: Path, target: str, part: str) -> list[tuple[str, str]]:
    """Texts and labels of a part."""
    if target == "imdb":
        with gzip.open(data / "imdb" / f"{part}.jsonl.gz", "rt", encoding="utf-8") as lines:
            found = [json.loads(line) for line in lines]
        return [(" ".join(row["text"].split()), str(row["label"])) for row in found]
    with (data / target / f"{part}.tsv").open(encoding="utf-8", newline="") as stream:
        table = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(row["text"], row["label"]) for row in table]


def write(file: Path, found: list[tuple[str, str]]) -> None:
    """Writes a table."""
    lines = ["text\tlabel", *(f"{text}\t{label}" for text, label in found)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def drawn(found: list[tuple[str, str]], count: int, seed: int) -> list[tuple[str, str]]:
    """As many labelled texts, every label in its share (one at least)."""
    order = np.random.default_rng([seed, 7]).permutation(len(found))
    labels = sorted({label for _, label in found})
    by_label = {name: [i for i in order if found[i][1] == name] for name in labels}
    shares = {n: max(1, round(count * len(i) / len(found))) for n, i in by_label.items()}
    return [found[i] for name in labels for i in by_label[name][: shares[name]]]


def parts(data: Path, target: str, work: Path) -> tuple[list[tuple[str, str]], Path]:
    """The training texts, and a folder with the held and the reported ones and the corpus."""
    folder = work / f"{target}-texts"
    train = rows(data, target, "train")
    order = np.random.default_rng(PILOT).permutation(len(train))
    held, rest = [train[i] for i in order[:HELD]], [train[i] for i in order[HELD:]]
    if not folder.exists():
        folder.mkdir(parents=True)
        test = rows(data, target, "test")
        chosen = np.random.default_rng(PILOT).permutation(len(test))[: REPORTED[target]]
        write(folder / "dev.tsv", held)
        write(folder / "test.tsv", [test[i] for i in sorted(chosen)])
        write(folder / "train.tsv", rest)
        lines = "\n".join(text for text, _ in rest) + "\n"
        (folder / "corpus.txt").write_text(lines, encoding="utf-8")
    return rest, folder


def stages(data: Path, folders: dict[str, Path], stores: Path) -> Pipeline:
    """A tokenizer, general pre-training, and an adaptation a target."""
    general = "+".join(
        [f"wikitext:{data}/wikitext2_part", f"jsonl:{data}/newsgroups20/train.jsonl.gz"]
    )
    held = tuple(f"text:{folder}@test" for folder in folders.values())
    asked = ObjectiveConfig(
        objective="next_tokens",
        row_length=ROW,
        held_out=held,
        stores=str(stores),
        activation_penalty=2.0,
        change_penalty=1.0,
    )
    base = replace(
        RunConfig(data=DataConfig(data=general), objective=asked),
        body="awd-lstm-small",
        tokenizer="stage:tokenizer",
        validation="2%",
        optimizer="adamw",
        b1=0.7,
        b2=0.99,
        rate=4e-3,
        schedule="slanted-triangular",
        weight_decay=0.01,
        clip=0.4,
        batch_size=BATCH,
        length=f"{GENERAL_EPOCHS}ep",
        report_every=100,
        checkpoint_every=500,
    )
    adapted = [
        RunStage(
            name=f"adapt-{target}",
            run=replace(
                base,
                data=DataConfig(data=f"lines:{folder}/corpus.txt", validation="2%"),
                body=RunConfig(data=DataConfig(data="")).body,
                source="stage:general",
                head=HeadConfig(head_weights="source"),
                layer_decay=STEP,
                remember=f"wikitext:{data}/wikitext2_part/valid.txt.gz",
                length=f"{ADAPT_EPOCHS[target]}ep",
            ),
        )
        for target, folder in folders.items()
    ]
    tokenizer = TokenizerStage(
        name="tokenizer", corpus=general, kind="bpe", vocab_size=VOCABULARY, held_out=held
    )
    return Pipeline("ladder", (tokenizer, RunStage(name="general", run=base), *adapted))


class Ladder:
    """The fine-tuning runs of one target; what is finished is looked up."""

    def __init__(self, target: str, sources: dict[str, Path], data: Path, work: Path):
        """Takes the folders of the stages, by ``adapted`` and ``general``."""
        self.target, self.sources, self.work = target, sources, work
        self.train, self.folder = parts(data, target, work)
        self.file = work / f"{target}.cells.json"
        self.cells = json.loads(self.file.read_text()) if self.file.exists() else {}

    def run(self, arm: str, count: int, rate: float, seed: int, split: str) -> float:
        """One run's accuracy on a split."""
        key = f"{arm}, {count} labels, rate {rate:g}, seed {seed}, {split}"
        if key not in self.cells:
            texts = self.work / f"{self.target}-{count}-{seed}"
            if not texts.exists():
                texts.mkdir()
                write(texts / "train.tsv", drawn(self.train, count, seed))
                for name in ("dev", "test"):
                    (texts / f"{name}.tsv").symlink_to(self.folder / f"{name}.tsv")
            source = self.sources["general" if arm == UNADAPTED else "adapted"]
            made = replace(
                RunConfig(data=DataConfig(data=f"text:{texts}"), source=f"run:{source}"),
                validation="0%",
                test_split=split,
                max_length=MAX_LENGTH[self.target],
                head="ulmfit",
                head_init="scaled",
                head_dropout=0.4,
                pooling="concat",
                optimizer="adamw",
                b1=0.7,
                b2=0.99,
                rate=rate,
                weight_decay=0.01,
                batch_size=32 if count > 100 else 16,
                length=f"{EPOCHS[count]}ep",
                checkpoint_every=10**6,
                report_every=1000,
                seed=seed,
                **ARMS["all three" if arm == UNADAPTED else arm],
            )
            out = self.work / "runs" / key.replace(", ", "_").replace(" ", "-")
            result = start(made, out, say=lambda text: None, quiet=True)
            if result.test is None:
                raise RuntimeError("the run read no part")
            self.cells[key] = result.test.metrics["accuracy"]
            self.file.write_text(json.dumps(self.cells, indent=1))
            print(self.target, key, self.cells[key], flush=True)
        return self.cells[key]

    def climb(self, seeds: range) -> dict:
        """Every arm at every amount of labels; each arm's rate is chosen with the pilot seed."""
        found = {}
        for count in LABELS[self.target]:
            accuracy, rates = {}, {}
            for arm in (*ARMS, UNADAPTED):
                tried = {rate: self.run(arm, count, rate, PILOT, "dev") for rate in RATES}
                rates[arm] = max(tried, key=lambda rate: tried[rate])
                accuracy[arm] = {s: self.run(arm, count, rates[arm], s, "test") for s in seeds}
            found[count] = {"accuracy": accuracy, "rate": rates}
        return found


def table(target: str, found: dict, reference: str = "from scratch") -> str:
    """The figures as Markdown, differences paired by seed."""
    lines = [f"## {target}", ""]
    for count, cell in found.items():
        pairs = compare(cell["accuracy"], reference)
        lines += [
            f"{count} labels, {len(next(iter(cell['accuracy'].values())))} seeds; accuracy on the "
            f"{REPORTED[target]} reported texts.",
            "",
            "| arm | rate | every seed | mean ± half of 95 % | Δ to from scratch [95 %] |",
            "| --- | ---: | --- | ---: | ---: |",
        ]
        for arm, values in cell["accuracy"].items():
            summary, pair = summarize(values), pairs.get(arm)
            half = summary.interval.half_width if summary.interval else None
            gap = f"{pair.mean:+.4f} {pair.interval.bounds}" if pair and pair.interval else ""
            each = " ".join(f"{value:.4f}" for value in values.values())
            lines.append(
                f"| {arm} | {cell['rate'][arm]:g} | {each} | {show(summary.mean)} ± {show(half)} | "
                f"{gap} |"
            )
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Runs stages and rungs, writes the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    parser.add_argument("--work", type=Path, default=Path("runs/ladder"))
    parser.add_argument("--target", nargs="+", choices=LABELS, default=list(LABELS))
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    work = asked.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(work / "compiled"))
    texts = {target: parts(asked.data, target, work)[1] for target in LABELS}
    made = run_pipeline(stages(asked.data, texts, work / "stores"), work / "stages")
    results = {
        name: json.loads((folder / "report" / "results.json").read_text())
        for name, folder in made.items()
        if (folder / "report" / "results.json").exists()
    }
    found = {}
    for target in asked.target:
        sources = {"adapted": made[f"adapt-{target}"], "general": made["general"]}
        found[target] = Ladder(target, sources, asked.data, work).climb(range(asked.seeds))
    content = {
        "about": (__doc__ or "").split("\n\n    ")[0],
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "stages": results,
        "found": found,
    }
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "ulmfit_ladder.json").write_text(json.dumps(content, indent=1) + "\n")
    text = "\n".join(table(target, cells) for target, cells in found.items())
    (asked.out / "ulmfit_ladder.md").write_text(f"# ULMFiT's ladder\n\n{text}\n")
    print(text)


if __name__ == "__main__":
    main()
