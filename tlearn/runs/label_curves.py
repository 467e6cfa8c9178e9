"""What each stage of a pipeline buys: its bodies fine-tuned with few and with more labels."""

import dataclasses
import datetime
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.runs.config import RunConfig, from_json
from tlearn.runs.folder import write_whole
from tlearn.runs.summary import RESULTS

Say = Callable[[str], None]
SCRATCH = "from scratch"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelCurves:
    """Fine-tunes the bodies of several stages on one task, at several amounts of labels.

    Runs of equal seed draw the same labelled texts, order and head in every arm: they are pairs.

    Attributes:
        task: The labelled texts, with the splits ``train`` and ``test``.
        stages: The stage whose body an arm starts from, by the arm's name.
        per_class: Amounts of labels.
        shown: The amount of the main table.
        seeds: Paired runs of every arm.
        steps: Updates of a run.
        batch_size: Texts of an update.
        max_length: Tokens of a text; longer ones are cut.
        rate: Peak rate of arms that start from a stage.
        scratch_rate: Peak rate from scratch.
        layer_decay: Factor between the rates of neighbouring layers.
        head: Kind of head.
        pooling: How the body makes one vector of a text; empty for its own way.
        settings: Fields of the body that differ in fine-tuning, such as its dropout.
        title: Of the report.
    """

    task: str
    stages: Mapping[str, str]
    per_class: tuple[int, ...] = (20, 50, 200)
    shown: int = 50
    seeds: int = 5
    steps: int = 100
    batch_size: int = 16
    max_length: int = 48
    rate: float = 1e-3
    scratch_rate: float = 1e-3
    layer_decay: float = 1.0
    head: str = "linear"
    pooling: str = ""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    title: str = "What each stage buys"

    def __call__(self, folder: Path, folders: Mapping[str, Path], say: Say) -> None:
        """Runs all arms and writes the report into a folder.

        Args:
            folder: Where the report goes.
            folders: Folders of the stages, by name.
            say: Told what is going on.
        """
        began = time.perf_counter()
        texts = self._texts(folders)
        scores, plans, walls = self._scores(folder / "cells.json", folders, texts, say)
        self._report(folder, folders, texts, scores, plans, walls, began, say)

    def _texts(self, folders: Mapping[str, Path]) -> dict[str, tuple[dict[str, np.ndarray], Any]]:
        """Training and test texts as padded tokens of one width, with their labels."""
        from tlearn.data import Tokenizer, aligned, open_texts, tokenise
        from tlearn.runs.use import load_body

        source = load_body(f"run:{folders[next(iter(self.stages.values()))]}")
        tokenizer = Tokenizer.from_files(source.files)
        facts: Any = source.facts
        train = open_texts(self.task, "train")
        test = aligned(open_texts(self.task, "test"), train.label_names)
        made = {}
        for name, part in (("train", train), ("test", test)):
            found = tokenise(
                part,
                tokenizer,
                max_length=self.max_length,
                types=facts.pair_types,
                backward=facts.backward,
            )
            shape = (len(found), self.max_length)
            arrays = {key: np.zeros(shape, np.int32) for key in ("tokens", "segments", "types")}
            arrays["tokens"][:] = found.pad
            inside = np.arange(self.max_length) < found.tokens.lengths[:, None]
            arrays["tokens"][inside] = found.tokens.ids
            arrays["types"][inside] = found.tokens.types
            arrays["segments"][inside] = 1
            made[name] = (arrays, np.asarray(part.labels, np.int32))
        made["names"] = ({}, train.label_names)
        return made

    def _scores(
        self, progress: Path, folders: Mapping[str, Path], texts: Mapping[str, Any], say: Say
    ) -> tuple[dict[str, dict[int, dict[int, float | None]]], dict[str, str], dict[str, float]]:
        from tlearn import bodies, heads
        from tlearn.hub.pooled import pooled
        from tlearn.model import Model
        from tlearn.runs.use import load_body
        from tlearn.studies.arms import Bench, Setting, run_cell, subsets
        from tlearn.train.schedules import SlantedTriangular
        from tlearn.transfer.optimizer import adamw
        from tlearn.transfer.strategy import Strategy

        train, label = texts["train"]
        test, truth = texts["test"]
        count = len(texts["names"][1])
        seeds = range(self.seeds)
        drawn = subsets(label, self.per_class, seeds, among=np.arange(len(label)))
        arms = {SCRATCH: next(iter(self.stages.values())), **self.stages}
        strategy = Strategy(layer_decay=self.layer_decay)
        scores: dict[str, dict[int, dict[int, float | None]]] = {}
        plans: dict[str, str] = {}
        walls: dict[str, float] = {}
        shared: dict[Any, Any] = {}
        # A comparison that was cut goes on with the cells it lacks.
        kept = json.loads(progress.read_text()) if progress.is_file() else {}
        for name, stage in arms.items():
            source = load_body(f"run:{folders[stage]}")
            if self.pooling:
                source = pooled(source, self.pooling)
            body = bodies.build({**source.body, **self.settings})
            given = {"classes": count, "kernel_init": "scaled"}
            model = Model(body, heads.create(self.head, **given))
            bench = Bench(
                model=model,
                params={p: v for p, v in source.params.items() if p.startswith("body/")},
                collections=dict(source.collections),
                examples=train,
                label=label,
                steps=self.steps,
                batch_size=self.batch_size,
                _steps=shared,
            )
            scratch = name == SCRATCH
            optimizer = adamw(self.scratch_rate if scratch else self.rate, SlantedTriangular())
            setting = Setting(name=name, strategy=strategy, optimizer=optimizer, scratch=scratch)
            scores[name] = {}
            for amount in self.per_class:
                key = f"{name}, {amount}"
                if key not in kept:
                    cell = run_cell(bench, setting, drawn[amount], seeds, evaluate_on=test)
                    right = (cell.logits.argmax(-1) == truth).mean(axis=1)
                    kept[key] = {
                        "scores": [None if s in cell.failed else float(right[s]) for s in seeds],
                        "plan": cell.plan.summary(),
                        "wall_s": cell.wall_s,
                    }
                    write_whole(progress, json.dumps(kept, indent=1).encode())
                found = kept[key]
                scores[name][amount] = dict(enumerate(found["scores"]))
                plans[name] = found["plan"]
                walls[name] = walls.get(name, 0.0) + found["wall_s"]
                finished = [score for score in found["scores"] if score is not None]
                mean = sum(finished) / max(len(finished), 1)
                say(f"   {name}, {amount} labels a class: {mean:.3f}")
        return scores, plans, walls

    def _report(
        self,
        folder: Path,
        folders: Mapping[str, Path],
        texts: Mapping[str, Any],
        scores: Mapping[str, Mapping[int, Any]],
        plans: Mapping[str, str],
        walls: Mapping[str, float],
        began: float,
        say: Say,
    ) -> None:
        from tlearn.runs.versions import versions
        from tlearn.studies import contents, plots
        from tlearn.studies.report import write_report

        names = list(scores)
        notes = [*stage_notes(self.stages, folders, say)]
        notes.append(f"This stage took {time.perf_counter() - began:.0f} s, compilation included.")
        truth = texts["test"][1]
        report = contents.Report(
            title=self.title,
            command="tlearn pipeline",
            date=datetime.date.today().isoformat(),
            versions={name: str(value) for name, value in versions().items()},
            protocol=[
                f"Task {self.task}: {len(texts['names'][1])} classes, {len(truth)} test texts, "
                "which are in no corpus of any stage; read once, at the end of each run.",
                f"{self.seeds} seeds: each draws labelled texts, a head, an order, and the weights "
                f"of “{SCRATCH}”; runs of equal seed are pairs. One pre-training for all runs: "
                "intervals do not include its chance.",
                f"Every run: {self.steps} updates of {self.batch_size} texts, AdamW, slanted "
                f"triangle, rate {self.rate:g} (from scratch {self.scratch_rate:g}), rates by "
                f"depth × {self.layer_decay:.3g}.",
            ],
            metric="test accuracy",
            setting=f"{self.shown} labels per class",
            arms=contents.arms_from_scores(
                {name: scores[name][self.shown] for name in names},
                SCRATCH,
                plans=plans,
                costs={name: contents.Cost(wall_s=round(walls[name], 1)) for name in names},
                test_examples=len(truth),
            ),
            reference=SCRATCH,
            efficiency=contents.efficiency_from_scores(scores, SCRATCH),
            plots=[plots.label_efficiency(scores, arms=names, ylabel="test accuracy")],
            notes=notes,
        )
        for line in contents.headline(report):
            say(line)
        last = names[-1]
        if len(names) > 2:
            pairs = contents.efficiency_from_scores(
                {name: scores[name] for name in names[-2:]}, names[-2]
            )
            for amount, pair in zip(pairs.points, pairs.comparisons[last], strict=True):
                say(f"{last} against {names[-2]}, {amount} labels a class: {pair.verdict}")
        write_report(folder, report)


def stage_notes(stages: Mapping[str, str], folders: Mapping[str, Path], say: Say) -> list[str]:
    """Says how well each stage learned its texts, beside a trigram model of the same tokens."""
    notes = []
    for arm, stage in stages.items():
        folder = folders[stage]
        results = json.loads((folder / RESULTS).read_text())
        config = from_json(json.loads((folder / "config.json").read_text()))
        found = results.get("validation", {})
        figures = ", ".join(
            f"{name} {value:.4g}" for name, value in found.items() if name != "count"
        )
        note = f"Stage “{arm}” ({config.objective.objective} on {config.data.data}): {figures}."
        if "perplexity" in found and config.objective.objective == "next_tokens":
            note += f" {_trigrams(config, float(found['perplexity']))}"
        if "remember" in results:
            before, after = (results["remember"][when] for when in ("before", "after"))
            note += (
                f" What it may forget, {config.objective.remember}: loss {before['loss']:.3f} "
                f"before, {after['loss']:.3f} after."
            )
        notes.append(note)
        say(note)
    return notes


def _trigrams(config: RunConfig, perplexity: float) -> str:
    """The trigram model's perplexity on the stage's own parts."""
    from tlearn.runs.corpora import parts_of
    from tlearn.studies.kneser_ney import fit

    train, validation, eos = parts_of(config)
    trigrams = fit([train.document(i) for i in range(len(train))], train.vocab_size, eos=eos)
    theirs = trigrams.perplexity([validation.document(i) for i in range(len(validation))])
    side = "below" if perplexity < theirs else "not below"
    return (
        f"A trigram model with Kneser-Ney smoothing of the same tokens reaches {theirs:.4g}: the "
        f"language model is {side} it."
    )
