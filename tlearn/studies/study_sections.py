"""The sections of a study's report; what was not measured has none."""

from collections.abc import Mapping, Sequence

from tlearn.studies import plots, study_facts, study_plots
from tlearn.studies.best_of import best_of
from tlearn.studies.contents import Report
from tlearn.studies.drawing import Plot
from tlearn.studies.heat import heat_map
from tlearn.studies.outline import efficiency_table, plans_table
from tlearn.studies.records import Results
from tlearn.studies.report_parts import Block, Code, Folded, Lines, Plots, Section, Text
from tlearn.studies.statistics import summarize
from tlearn.studies.study_tables import (
    choice_table,
    closer_lines,
    closer_table,
    failure_table,
    memory_table,
    pretty,
    run_table,
    speed_table,
    trial_table,
)
from tlearn.studies.study_trials import Trial

_MIN_TRIALS = 4
"""Settings an arm must have tried before a best-of-n curve says anything."""

Tried = Mapping[str, Sequence[Trial]]


def sections_of(results: Results, report: Report, tried: Tried) -> list[Section]:
    """Builds all sections between the results and the report's ending."""
    named, faint = study_facts.named_arms(results)
    return [
        Section("The differences, closer", _closer(results, report)),
        Section("With more and fewer labels", _efficiency(results, report, named, faint)),
        Section("Along training", _training(results, named, faint)),
        Section("Over two settings", _maps(results)),
        Section("What each arm did, and what it cost", _costs(results, report, named, faint)),
        Section("By layer", _layers(results, named)),
        Section("What is left of the source's own task", _memory(results, named, faint)),
        Section("How settings were chosen", _choice(results, tried, named)),
        Section("Failed runs", _failures(results)),
    ]


def forest_of(report: Report) -> list[Block]:
    """Draws the differences, if there are any with an interval."""
    pairs = {arm.name: arm.comparison for arm in report.arms if arm.comparison}
    if not any(pair.interval for pair in pairs.values()):
        return []
    return [Plots([study_plots.forest(pairs, metric=report.metric, reference=report.reference)])]


def every_run(results: Results) -> list[Section]:
    """Builds the folded list of all runs, and the first one's config in full."""
    first = results.records[0]
    runs = run_table(results.records, results.metric, first)
    blocks: list[Block] = [Folded(f"All {len(results.records)} reported runs", [runs])]
    if results.pilots:
        pilots = run_table(results.pilots, results.metric, first)
        blocks.append(Folded(f"All {len(results.pilots)} pilot runs", [pilots]))
    title = f"The first run's config in full ({first.arm}, seed {first.seed})"
    blocks.append(Folded(title, [Code(pretty(first.config))]))
    return [Section("Every run", blocks)]


def _closer(results: Results, report: Report) -> list[Block]:
    pairs = {arm.name: arm.comparison for arm in report.arms if arm.comparison}
    given = closer_table(pairs, study_facts.differences_over_examples(results), results.metric)
    if len(given.columns) == 1:
        return []
    return [given, Lines(closer_lines(given))]


def _efficiency(
    results: Results, report: Report, named: Sequence[str], faint: Sequence[str]
) -> list[Block]:
    if report.efficiency is None:
        return []
    scores = {
        arm: {n: study_facts.whole_scores(results, n)[0][arm] for n in results.points}
        for arm in results.arms
    }
    drawn = plots.label_efficiency(scores, arms=named, faint=faint, ylabel=report.metric)
    return [Plots([drawn]), efficiency_table(report.efficiency, results.reference)]


def _training(results: Results, named: Sequence[str], faint: Sequence[str]) -> list[Block]:
    curves = study_facts.curves(results)
    if not curves:
        return []
    drawn = plots.learning_curves(
        curves,
        arms=named,
        faint=[arm for arm in faint if arm in curves],
        ylabel=f"validation {results.metric}",
    )
    found = study_facts.speeds(results)
    return [Plots([drawn]), *([speed_table(*found, results)] if found else [])]


def _maps(results: Results) -> list[Block]:
    drawn = []
    for index, grid in enumerate(study_facts.grids(results)):
        where = f", {grid.rest}" if grid.rest else ""
        drawn.append(
            heat_map(
                grid.means,
                [f"{row:g}" for row in grid.rows],
                [f"{column:g}" for column in grid.columns],
                name=f"map_{index + 1}",
                caption=f"Mean test {results.metric} over seeds by {grid.x} and {grid.y}{where}.",
                ends=f"test {results.metric}",
                xlabel=grid.x,
                ylabel=grid.y,
            )
        )
    return [Plots(drawn)] if drawn else []


def _costs(
    results: Results, report: Report, named: Sequence[str], faint: Sequence[str]
) -> list[Block]:
    blocks: list[Block] = [plans_table(report)]
    what, means = study_facts.cost_axis(results)
    if len(means) > 1:
        by_name = {arm.name: arm.summary for arm in report.arms}
        drawn = study_plots.trade_off(
            {arm: (x, by_name[arm]) for arm, x in means.items()},
            arms=named,
            faint=[arm for arm in faint if arm in means],
            xlabel=what,
            ylabel=report.metric,
            caption=f"{report.metric[:1].upper()}{report.metric[1:]} against {what}, 95 % "
            "t-intervals over seeds. Arms on the broad line have none that is both cheaper and "
            "better in the mean; where intervals overlap that may be chance.",
            name="cost",
            higher_is_better=results.higher_is_better,
        )
        blocks.append(Plots([drawn]))
    differ: list[Block] = []
    for arm, lines in results.plan_differences.items():
        if lines and arm != results.reference:
            differ += [Text(f"{arm}:"), Code("\n".join(lines))]
    if differ:
        blocks.append(Folded(f"How the plans differ from that of “{results.reference}”", differ))
    return blocks


def _layers(results: Results, named: Sequence[str]) -> list[Block]:
    drawn: list[Plot] = []
    distances = study_facts.by_layer(results, "distance")
    if distances:
        drawn.append(plots.distance_by_layer(_some(distances, named), arms=named))
    similar = study_facts.by_layer(results, "cka")
    if similar:
        drawn.append(
            plots.distance_by_layer(
                _some(similar, named),
                arms=named,
                ylabel="linear CKA",
                what="Similarity of features with the source's (Kornblith et al. 2019)",
                name="cka_by_layer",
            )
        )
    return [Plots(drawn)] if drawn else []


def _some(by_arm: Mapping, named: Sequence[str]) -> dict:
    return {arm: layers for arm, layers in by_arm.items() if arm in named}


def _memory(results: Results, named: Sequence[str], faint: Sequence[str]) -> list[Block]:
    blocks: list[Block] = []
    for metric, kept in study_facts.remembered(results).items():
        blocks += _remembered(results, metric, kept, named, faint)
    return blocks


def _remembered(
    results: Results,
    metric: str,
    kept: Mapping[str, study_facts.Forgotten],
    named: Sequence[str],
    faint: Sequence[str],
) -> list[Block]:
    blocks: list[Block] = [memory_table(kept, metric, results.reference)]
    scores = study_facts.whole_scores(results, results.shown)[0]
    points = {
        arm: (after.mean, summarize(scores[arm]))
        for arm, (_, after, _) in kept.items()
        if after.mean is not None
    }
    if len(points) > 1:
        drawn = study_plots.trade_off(
            points,
            arms=named,
            faint=[arm for arm in faint if arm in points],
            xlabel=f"{metric} on the source's task, after",
            ylabel=f"test {results.metric}",
            caption=f"The new task against the old one: test {results.metric} and what is left of "
            "the source's own task, means over seeds. Arms on the broad line have none that is "
            "better at both.",
            name="memory" if metric == results.metric else f"memory_{metric}",
            higher_is_better=results.higher_is_better,
            # Accuracy or loss: nothing else is remembered.
            less_x_is_better=metric == "loss",
        )
        blocks.append(Plots([drawn]))
    return blocks


def _choice(results: Results, tried: Tried, named: Sequence[str]) -> list[Block]:
    blocks: list[Block] = [Text(" ".join(_selection_lines(results, tried)))]
    given = choice_table(results, tried)
    if given.rows:
        blocks.append(given)
    curves = {}
    for arm in named:
        values = [t.summary.mean for t in tried.get(arm, ()) if t.summary.mean is not None]
        if len(values) >= _MIN_TRIALS:
            curves[arm] = best_of(values, values, higher_is_better=results.higher_is_better)
    if curves:
        ylabel = f"validation {results.metric}"
        blocks.append(Plots([study_plots.best_of_curves(curves, arms=named, ylabel=ylabel)]))
    if tried:
        count = sum(map(len, tried.values()))
        blocks.append(Folded(f"All {count} settings tried", [trial_table(tried, results.metric)]))
    return blocks


def _selection_lines(results: Results, tried: Tried) -> list[str]:
    """Says how settings were chosen, and what was kept from the choice."""
    lines = []
    if not tried:
        lines.append("No settings were tried before: there are no pilot runs.")
    else:
        seeds = sorted({r.seed for r in results.pilots})
        apart = not set(seeds) & {r.seed for r in results.records}
        metric = f"mean {results.metric} on validation"
        said = f"Settings were chosen for every arm by the best {metric} of its pilot runs ("
        said += f"{len(results.pilots)} in all, seeds {', '.join(map(str, seeds))}"
        lines.append(said + (", none of them reported)." if apart else ")."))
    if results.untouched:
        lines.append(
            "The test part was read once a run, at its end"
            + (", and by no pilot." if results.pilots else ".")
        )
    return lines


def _failures(results: Results) -> list[Block]:
    every = [*results.records, *results.pilots]
    failed = [r for r in every if not r.finished]
    again = sum(r.finished and r.retried > 0 for r in every)
    blocks: list[Block] = [failure_table(failed)] if failed else []
    if again:
        blocks.append(Text(f"Finished only when tried again: {again}."))
    return blocks
