"""A study's runs as its report takes them."""

import dataclasses
import datetime
from typing import Any

from tlearn.runs.study import Study
from tlearn.runs.study.folder import StudyFolder
from tlearn.runs.study.keys import run_key
from tlearn.runs.study.plans import differences
from tlearn.runs.study.running import choose
from tlearn.studies.records import Record, Results


def collect(study: Study, folder: StudyFolder, command: str) -> Results:
    """Gathers the runs of a study, and how they came about.

    Args:
        study: What is asked.
        folder: Where its runs are.
        command: What to type to get them again.

    Raises:
        StudyError: If pilots are missing.
    """
    records = folder.records()
    chosen = choose(study, folder)
    cells = [(run_key(study, cell), cell) for cell in study.reported(chosen)]
    pilots = [(run_key(study, cell), cell) for cell in study.pilots()]
    found = [_named(records[key], cell) for key, cell in cells if key in records]
    tried = [_named(records[key], cell) for key, cell in pilots if key in records]
    missing = len(cells) - len(found)
    right = folder.right([key for key, _ in cells])
    lines, facts = _facts(folder, {key for key, _ in (*cells, *pilots)})
    reference = study.compared_with
    examples = {len(row) for row in right.values()}
    notes = list(study.notes)
    if missing:
        notes.append(f"{missing} of {len(cells)} reported runs are not there yet")
    compiled = sum(fact["compilations"].get("train", 0) for fact in facts)
    notes.append(
        f"{len(found) + len(tried)} runs in {len(facts)} units; {compiled} training programs "
        "compiled"
    )
    return Results(
        title=study.title,
        question=study.question,
        claim=study.claim,
        command=command,
        date=datetime.date.today().isoformat(),
        versions=facts[0]["versions"] if facts else {},
        protocol=_protocol(study),
        metric=study.metric,
        higher_is_better=study.higher_is_better,
        reference=reference,
        arms=tuple(arm.name for arm in study.arms),
        shown=study.main_labels,
        records=found,
        pilots=tried,
        chosen={arm: levels for arm, levels in chosen.items() if levels},
        plan_differences={
            arm: differences(own, lines.get(reference, ()))
            for arm, own in lines.items()
            if arm != reference
        },
        test_examples=examples.pop() if len(examples) == 1 else None,
        predictions=right,
        notes=notes,
        untouched=all(not r.metrics and not r.config["data"]["test_split"] for r in tried)
        and _once(folder, [key for key, _ in cells]),
    )


def _named(record: Record, cell: Any) -> Record:
    """The record under the names that the study gives its arms now."""
    return dataclasses.replace(
        record, arm=cell.arm.name, levels=dict(cell.arm.levels), labels=cell.labels
    )


def _once(folder: StudyFolder, keys: list[str]) -> bool:
    """Whether each run is in one unit only, and read its reported part there once."""
    seen: dict[str, int] = {}
    for unit in folder.units():
        for key in unit.keys:
            seen[key] = seen.get(key, 0) + folder.done(unit.name)
    return all(seen.get(key, 0) <= 1 for key in keys)


def _facts(
    folder: StudyFolder, keys: set[str]
) -> tuple[dict[str, list[str]], list[dict[str, Any]]]:
    """Plans by arm, and what is told of the units that hold some runs."""
    lines: dict[str, list[str]] = {}
    facts = []
    for unit in folder.units():
        if folder.done(unit.name) and keys & set(unit.keys):
            result = folder.result(unit.name)
            facts.append(result["facts"])
            for arm, plan in result["plans"].items():
                lines.setdefault(arm, plan)
    return lines, facts


def _protocol(study: Study) -> list[str]:
    data = study.base.data
    lines = [
        f"{len(study.seeds)} seeds {_seeds(study.seeds)}: each draws the head, the order"
        + (", the labelled examples" if study.labels != (0,) else "")
        + " and whatever an arm draws afresh; runs of equal seed are pairs.",
        f"Data: {data.data}; trained on {data.train_split or 'train'}, chosen on "
        f"{data.validation} of it or beside it, reported on {data.test_split}.",
        f"Length {study.base.train.length}, batches of {study.base.train.batch_size}, "
        f"{study.base.optimizer.optimizer}, {study.base.optimizer.schedule}, unless an arm says "
        "otherwise.",
    ]
    tuned = [f for f in study.factors if f.role == "nuisance"]
    if tuned:
        told = "; ".join(
            f"{f.name} of {', '.join(f.levels)}" + (f" ({', '.join(f.only)})" if f.only else "")
            for f in tuned
        )
        amount = f" at {study.tuned_labels} labels a class" if study.tuned_labels else ""
        lines.append(
            f"Chosen for every arm by its mean validation {study.metric} over pilot seeds "
            f"{_seeds(study.pilot_seeds)}{amount}: {told}. Pilots are given no reported part."
        )
    else:
        lines.append("Nothing was tuned for the arms.")
    if study.base.source:
        lines.append("One source: intervals do not include the chance of its training.")
    lines.append("The reported part is read once a run, at its end.")
    return lines


def _seeds(seeds: tuple[int, ...]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]}-{seeds[-1]}"
    return ", ".join(map(str, seeds))
