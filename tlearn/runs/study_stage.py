"""A study as a stage of a pipeline: what each stage before it buys, in paired runs."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tlearn.runs.config import RunConfig, from_json, replace
from tlearn.runs.study import Study
from tlearn.runs.summary import RESULTS

Say = Callable[[str], None]
REPORT = "report"
"""Folder of the report, within the study's."""


def resolved_study(study: Study, place: Callable[[str, Any], Any]) -> Study:
    """The study with folders in place of names of stages.

    Args:
        study: The study.
        place: Called with a config's field and its value; gives what goes there.
    """
    factors = tuple(
        dataclasses.replace(
            factor,
            levels={
                level: {field: place(field, value) for field, value in changes.items()}
                for level, changes in factor.levels.items()
            },
        )
        for factor in study.factors
    )
    base = replace(
        study.base,
        source=place("source", study.base.source),
        tokenizer=place("tokenizer", study.base.body.tokenizer),
    )
    return dataclasses.replace(study, base=base, factors=factors)


def run_study_stage(study: Study, folder: Path, stages: Mapping[str, Path], say: Say) -> None:
    """Runs a study and writes its report; killed, it goes on.

    The report also says how well each earlier stage learned, and what each arm adds to the one
    before it.

    Args:
        study: What is compared, with folders for sources.
        folder: Where it goes.
        stages: Folders of the runs it may start from, by name.
        say: Told what is going on.

    Raises:
        ValueError: If its forecast is longer than its budget.
        StudyError: As `tlearn.runs.study.running.run_study`.
    """
    from tlearn.runs.study.forecast import check_budget, forecast
    from tlearn.runs.study.results import collect
    from tlearn.runs.study.running import run_study
    from tlearn.studies.contents import headline
    from tlearn.studies.study_page import main_report, write_study

    if study.budget_minutes:
        check_budget(study, forecast(study, folder))
    kept = run_study(study, folder, say=say)
    results = collect(study, kept, "tlearn pipeline")
    gains = _gains(results)
    notes = [*results.notes, *stage_notes(stages, say), *gains]
    results = dataclasses.replace(results, notes=notes)
    write_study(kept.path / REPORT, results)
    for line in (*headline(main_report(results)), *gains):
        say(line)


def _gains(results: Any) -> list[str]:
    """What each arm adds to the one before it, at every amount of labels."""
    from tlearn.studies.contents import efficiency_from_scores, point_text

    lines = []
    by_point = {point: results.scores(point) for point in results.points}
    for before, arm in zip(results.arms[1:-1], results.arms[2:], strict=True):
        scores = {a: {n: got[a] for n, got in by_point.items()} for a in (before, arm)}
        pairs = efficiency_from_scores(scores, before)
        for point, pair in zip(pairs.points, pairs.comparisons[arm], strict=True):
            lines.append(f"{point_text(point)} labels a class: {pair}")
    return lines


def stage_notes(stages: Mapping[str, Path], say: Say) -> list[str]:
    """Says how well each stage learned its texts, beside a trigram model of the same tokens."""
    notes = []
    for stage, folder in stages.items():
        results = json.loads((folder / RESULTS).read_text())
        config = from_json(json.loads((folder / "config.json").read_text()))
        found = results.get("validation", {})
        figures = ", ".join(
            f"{name} {value:.4g}" for name, value in found.items() if name != "count"
        )
        note = f"Stage {stage} ({config.objective.objective} on {config.data.data}): {figures}."
        if "perplexity" in found and config.objective.objective == "next_tokens":
            note += f" {_trigrams(config, float(found['perplexity']))}"
        if "remember" in results:
            before, after = (results["remember"][when] for when in ("before", "after"))
            corpus = config.objective.remember
            text = "texts that its source was judged on" if corpus == "source" else corpus
            note += (
                f" What it may forget, {text}: loss {before['loss']:.3f} before, "
                f"{after['loss']:.3f} after."
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
