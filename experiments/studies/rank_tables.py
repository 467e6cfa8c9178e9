"""Scores of sources against their fine-tuning: τ with intervals, what the first choice costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlearn.transfer.ranking import SCORES, weighted_tau

RESAMPLES = 2000


def compare(
    cells: Mapping[str, Any],
    sources: Sequence[str],
    targets: Sequence[str],
    unlearned: Sequence[str],
    steps: int,
) -> dict[str, Any]:
    """All figures of one kind of examples.

    Args:
        cells: What `rank_sources.py` measured.
        sources: Names of the sources.
        targets: Names of the targets.
        unlearned: Names of more that were ranked on only.
        steps: Updates of a run.
    """
    runs = {t: {s: cells[f"{t}, {s}, {steps} updates"] for s in sources} for t in targets}
    ranked = {t: cells[f"{t} ranked"] for t in targets}
    outcome = {
        t: [float(np.mean(list(runs[t][s]["accuracy"].values()))) for s in sources] for t in targets
    }
    scores = {
        name: {t: [ranked[t][s]["scores"][name]["value"] for s in sources] for t in targets}
        for name in SCORES
    }
    return {
        "sources": {
            s: {"parameters": ranked[targets[0]][s]["parameters"]}
            | {"width": ranked[targets[0]][s]["width"]}
            for s in sources
        },
        "runs": runs,
        "accuracy": {t: dict(zip(sources, outcome[t], strict=True)) for t in targets},
        "scores": ranked | {t: cells[f"{t} ranked"] for t in unlearned},
        "agreement": {name: _agreement(scores[name], outcome, targets) for name in SCORES},
        "seconds": {
            "ranking": _seconds(ranked, targets),
            "fine-tuning": sum(runs[t][s]["wall_s"] for t in targets for s in sources),
        },
    }


def _agreement(
    score: Mapping[str, list[float | None]],
    outcome: Mapping[str, list[float]],
    targets: Sequence[str],
) -> dict[str, Any]:
    """τ by target, its mean with an interval, and what taking the score's first source loses."""
    each = {t: weighted_tau(score[t], outcome[t]) for t in targets}
    known = [value for value in each.values() if value is not None]
    lost = []
    for t in targets:
        there = [
            (value, got)
            for value, got in zip(score[t], outcome[t], strict=True)
            if value is not None
        ]
        if there:
            lost.append(max(outcome[t]) - max(there)[1])
    return {
        "tau": each,
        "mean": float(np.mean(known)) if known else None,
        "interval": _interval(score, outcome, targets) if known else None,
        "lost_by_its_first": float(np.mean(lost)) if lost else None,
        "sources": max(sum(value is not None for value in score[t]) for t in targets),
    }


def _interval(
    score: Mapping[str, list[float | None]],
    outcome: Mapping[str, list[float]],
    targets: Sequence[str],
) -> list[float] | None:
    """Percentile bootstrap of the mean τ: targets and sources are both drawn again.

    One draw of sources serves all targets; draws that leave fewer than three are left out. Fewer
    than three targets have no interval.
    """
    if len(targets) < 3:
        return None
    rng = np.random.default_rng(0)
    count = len(outcome[targets[0]])
    means = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, count, count)
        if len(set(drawn.tolist())) < 3:
            continue
        found = []
        for t in rng.choice(list(targets), len(targets)):
            tau = weighted_tau([score[t][i] for i in drawn], [outcome[t][i] for i in drawn])
            if tau is not None:
                found.append(tau)
        if found:
            means.append(np.mean(found))
    if len(means) < RESAMPLES // 10:
        return None
    return [float(x) for x in np.percentile(means, (2.5, 97.5))]


def _seconds(ranked: Mapping[str, Any], targets: Sequence[str]) -> float:
    rows = [row for t in targets for row in ranked[t].values()]
    return sum(
        row["seconds"] + sum(one["seconds"] for one in row["scores"].values()) for row in rows
    )


def page(content: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    asked = content["protocol"]
    lines = [
        "# Which source? Scores against fine-tuning",
        "",
        f"{content['date']}; `{content['command']}`; tlearn {content['versions']['tlearn']}, jax "
        f"{content['versions']['jax']}, {content['versions']['devices']['platform']}; seeds "
        f"{', '.join(map(str, asked['seeds']))}.",
        "",
        f"At most {asked['examples']} training, {asked['test_examples']} test examples a target; "
        f"{asked['updates']} updates of AdamW on all parameters, batches of "
        f"{asked['batch']['pictures']} pictures or {asked['batch']['texts']} texts; the rate is "
        "one of two, the better on a fifth of the training examples that is not trained on. The "
        "scores see the training examples only.",
    ]
    for takes, found in content["measured"].items():
        lines += ["", f"## {takes.capitalize()}", "", *_accuracies(found), ""]
        lines += _taus(found)
        lines += ["", *_scores(found)]
        spent = found["seconds"]
        lines += [
            "",
            f"Ranking took {spent['ranking']:.0f} s, fine-tuning everything "
            f"{spent['fine-tuning']:.0f} s (two cores that had other work, compilation included).",
        ]
    lines += [
        "",
        "## What this can and cannot say",
        "",
        "- τ is the weighted Kendall τ of a score with the mean test accuracy over the sources of "
        "a target; the interval is a percentile bootstrap over targets and sources together. With "
        "four to six sources and as few targets as above it is wide, and sources of one family "
        "(two ResNets, three cuts of MiniLM, two AWD-LSTMs) are not independent: no two scores "
        "are told apart here.",
        "- The ViT was trained on MNIST's own training pictures and the ResNets on clean CIFAR-10, "
        "so their place on these targets is no transfer; ImageNet has ants and bees.",
        "- With fewer than three fine-tuned targets there is no interval, and τ is an example.",
        "- LEEP needs a source that has labels; none of the text sources has. H-score is left out "
        "where a feature has at least as many numbers as there are examples.",
        "- Where sources end near the share of the commonest class (about 0.50 on sst2 and subj, "
        "0.23 on trec6), these runs were too short to tell them apart, and τ there is of noise.",
        "- Short runs favour sources that learn fast; longer ones may order them otherwise.",
    ]
    return "\n".join(lines) + "\n"


def _accuracies(found: Mapping[str, Any]) -> list[str]:
    targets = list(found["accuracy"])
    lines = [
        "Mean test accuracy after fine-tuning (each seed):",
        "",
        f"| source | parameters | width | {' | '.join(targets)} |",
        f"| --- | ---: | ---: | {' | '.join('---:' for _ in targets)} |",
    ]
    for source, about in found["sources"].items():
        cells = []
        for t in targets:
            each = found["runs"][t][source]["accuracy"].values()
            cells.append(f"{np.mean(list(each)):.3f} ({', '.join(f'{x:.3f}' for x in each)})")
        lines.append(
            f"| {source} | {about['parameters']:,} | {about['width']} | {' | '.join(cells)} |"
        )
    return lines


def _scores(found: Mapping[str, Any]) -> list[str]:
    """Every score of every source, also on targets that nothing was fine-tuned on."""
    lines = [
        "All scores (probe and knn are accuracies on training examples they did not see):",
        "",
        f"| target | source | {' | '.join(SCORES)} | features, s | scores, s |",
        f"| --- | --- | {' | '.join('---:' for _ in SCORES)} | ---: | ---: |",
    ]
    for target, rows in found["scores"].items():
        for source in found["sources"]:
            row = rows[source]
            values = [row["scores"][name]["value"] for name in SCORES]
            shown = " | ".join("–" if v is None else f"{v:.3f}" for v in values)
            spent = sum(one["seconds"] for one in row["scores"].values())
            lines.append(f"| {target} | {source} | {shown} | {row['seconds']:.1f} | {spent:.1f} |")
    return lines


def _taus(found: Mapping[str, Any]) -> list[str]:
    targets = list(found["accuracy"])
    lines = [
        "Weighted Kendall τ with it:",
        "",
        f"| score | sources | {' | '.join(targets)} | mean [95 %] | accuracy lost by its first |",
        f"| --- | ---: | {' | '.join('---:' for _ in targets)} | ---: | ---: |",
    ]
    for name, one in found["agreement"].items():
        if one["mean"] is None:
            lines.append(f"| {name} | {one['sources']} |{' – |' * (len(targets) + 2)}")
            continue
        cells = ["–" if v is None else f"{v:+.2f}" for v in one["tau"].values()]
        bounds = one["interval"]
        told = "" if bounds is None else f" [{bounds[0]:+.2f}, {bounds[1]:+.2f}]"
        lines.append(
            f"| {name} | {one['sources']} | {' | '.join(cells)} | {one['mean']:+.2f}{told} | "
            f"{one['lost_by_its_first']:.3f} |"
        )
    return lines
