"""How often the statistics of studies are right: simulated studies whose truth is known.

Measures, through the functions that reports use: how often 95 % intervals over seeds and over test
examples cover the truth, how often a winner is called where there is none, how often arms that
differ by the margin are called equivalent, whether the power that is promised is there, and whether
best-of-n curves and their bands lie where they should.

    python experiments/studies/simulate_coverage.py --out experiments/results
"""

import argparse
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import coverage_tables
import numpy as np

from tlearn.studies.best_of import best_of
from tlearn.studies.equivalence import tost
from tlearn.studies.intervals import bca_bounds, examples_interval, paired_examples
from tlearn.studies.power import power, seeds_needed, smallest_difference
from tlearn.studies.statistics import compare, t_interval, t_quantile

STUDIES, SEEDS, ARMS, SEED = 2500, (5, 10, 20), 10, 20261121
Rows = list[dict[str, Any]]
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Accuracies without skew."""
    return rng.normal(0.85, 0.02, shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Accuracies whose errors are log-normal: skewness −1.1, as near a ceiling."""
    return 1 - 0.15 * np.exp(rng.normal(0, 0.35, shape))


def strongly(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Accuracies that fall short of 0.9 by an exponential amount: skewness −2."""
    return 0.9 - rng.exponential(0.02, shape)


def collapsing(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One run in ten does not get off the ground, as fine-tuning on few examples at times."""
    good, bad = rng.normal(0.9, 0.01, shape), rng.normal(0.6, 0.05, shape)
    return np.where(rng.random(shape) < 0.1, bad, good)


def difference(draw: Draw) -> Draw:
    """One arm minus another of the same law."""
    return lambda rng, shape: draw(rng, shape) - draw(rng, shape)


LAWS: Mapping[str, tuple[Draw, float]] = {
    "normal": (normal, 0.85),
    "skewed (−1.1)": (skewed, 1 - 0.15 * float(np.exp(0.35**2 / 2))),
    "strongly skewed (−2)": (strongly, 0.88),
    "one in ten collapses": (collapsing, 0.87),
    "difference of two skewed (−1.1)": (difference(skewed), 0.0),
    "difference of two strongly skewed (−2)": (difference(strongly), 0.0),
    "difference of two, one in ten collapses": (difference(collapsing), 0.0),
}


def over_seeds(
    studies: int, resamples: int, laws: Mapping[str, tuple[Draw, float]] = LAWS, *, many: int = 20
) -> Rows:
    """Coverage of 95 % intervals of the mean over seeds, and their length beside Student's.

    Student's costs nothing and is looked at in ``many`` times as many studies.
    """
    rng, more, rows = np.random.default_rng([SEED, 1]), np.random.default_rng([SEED, 7]), []
    for (law, (draw, truth)), n in itertools.product(laws.items(), SEEDS):
        values, own = draw(rng, (studies, n)), draw(more, (many * studies, n))
        covered = np.abs(own.mean(axis=1) - truth) <= _half(own)
        row: dict[str, Any] = {"law": law, "n": n, "t": float(np.mean(covered))}
        for name, expanded in (("bca", True), ("bca_1987", False)):
            low, high = _bca(values, resamples, expanded)
            row[name] = float(np.mean((low <= truth) & (truth <= high)))
            row[f"{name}_length"] = float(np.mean(high - low) / np.mean(2 * _half(values)))
        rows.append(row)
    return rows


def _half(values: np.ndarray) -> np.ndarray:
    """Half the length of Student's interval over the last axis."""
    n = values.shape[1]
    return t_quantile(n) * values.std(axis=1, ddof=1) / np.sqrt(n)


def _bca(values: np.ndarray, resamples: int, expanded: bool) -> tuple[np.ndarray, np.ndarray]:
    """Both ends, some hundred studies at a time: all their resamples are in memory at once."""
    blocks = [
        bca_bounds(values[at : at + 400], resamples=resamples, seed=at, expanded=expanded)
        for at in range(0, len(values), 400)
    ]
    return np.concatenate([b[0] for b in blocks]), np.concatenate([b[1] for b in blocks])


def over_examples(studies: int) -> Rows:
    """Coverage of 95 % intervals over test examples, of one arm and of the paired difference.

    Examples differ in difficulty, and runs in which they get right: the truth is the mean over all
    examples of exactly these runs. Beside them the normal interval of the same means.
    """
    rng, rows = np.random.default_rng([SEED, 2]), []
    cells = itertools.product((150, 1000), (1, 5), ((1.9, 1.6), (4.4, 4.4), (6.5, 6.5)))
    for examples, runs, ability in cells:
        hard = np.random.default_rng(0).normal(0, 2, 1_000_000)
        truth = [float(np.mean(1 / (1 + np.exp(-(x + hard))))) for x in ability]
        counts = dict.fromkeys(("mean", "mean_normal", "difference", "difference_normal"), 0)
        for _ in range(studies):
            shared = rng.normal(0, 2, examples)
            chance = [1 / (1 + np.exp(-(x + shared))) for x in ability]
            a, b = (rng.random((runs, examples)) < c for c in chance)
            gap = truth[0] - truth[1]
            counts["mean"] += examples_interval(a).covers(truth[0])
            counts["mean_normal"] += _normal(a.mean(axis=0), truth[0])
            counts["difference"] += paired_examples(a, b).covers(gap)
            counts["difference_normal"] += _normal(a.mean(axis=0) - b.mean(axis=0), gap)
        row = {"examples": examples, "runs": runs, "accuracies": [round(x, 3) for x in truth]}
        rows.append(row | {name: count / studies for name, count in counts.items()})
    return rows


def _normal(values: np.ndarray, truth: float) -> bool:
    """Whether mean ± 1.96 standard errors covers the truth."""
    half = 1.959964 * values.std(ddof=1) / np.sqrt(values.size)
    return bool(abs(values.mean() - truth) <= half)


def winners(studies: int, seeds: tuple[int, ...] = SEEDS) -> Rows:
    """Share of studies of ten arms in which `compare` calls a winner that is none.

    Of the ten arms none, five or all differ from the reference, by the spread of a difference; a
    wrong call is a winner or loser among those that do not, or one on the wrong side. Beside it how
    often all ten intervals cover jointly: those at Holm's levels, and those of Bonferroni.
    """
    rng, rows = np.random.default_rng([SEED, 3]), []
    laws = {name: LAWS[name][0] for name in ("normal", "strongly skewed (−2)")}
    for (law, draw), n, real in itertools.product(laws.items(), seeds, (0, ARMS // 2, ARMS)):
        counts = dict.fromkeys(("wrong_call", "uncorrected", "holm_joint", "bonferroni_joint"), 0)
        found = 0
        effects = [0.02 * 2**0.5 * (k < real) for k in range(ARMS)]
        for _ in range(studies):
            runs = draw(rng, (ARMS + 1, n))
            scores = {"base": dict(enumerate(runs[ARMS].tolist()))}
            for k, effect in enumerate(effects):
                scores[f"arm {k}"] = dict(enumerate((runs[k] + effect).tolist()))
            called = list(compare(scores, "base").values())
            pairs = list(zip(called, effects, strict=True))
            wrong = [
                c.verdict.kind == "worse" or (c.verdict.kind == "better" and not e)
                for c, e in pairs
            ]
            alone = [
                not c.interval.covers(0.0) and (not e or c.mean < 0)
                for c, e in pairs
                if c.interval is not None and c.mean is not None
            ]
            level = 1 - 0.05 / ARMS
            counts["wrong_call"] += any(wrong)
            counts["uncorrected"] += any(alone)
            counts["holm_joint"] += all(c.corrected.covers(e) for c, e in pairs if c.corrected)
            counts["bonferroni_joint"] += all(
                t_interval([d for _, d in c.differences], level=level).covers(e) for c, e in pairs
            )
            found += sum(c.verdict.kind == "better" for c, e in pairs if e)
        row = {"law": law, "n": n, "differing": real}
        row |= {name: count / studies for name, count in counts.items()}
        rows.append(row | {"found": found / (studies * real) if real else None})
    return rows


def equivalence(studies: int) -> Rows:
    """Share called equivalent where the truth is the margin (an error), and where it is zero."""
    rng, rows = np.random.default_rng([SEED, 4]), []
    for n, spread in itertools.product(SEEDS, (0.25, 0.5, 1.0)):
        noise = rng.normal(0, spread, (2, studies, n))
        row: dict[str, Any] = {"n": n, "spread_over_margin": spread}
        for name, values in (("at_margin", noise[0] + 1), ("at_zero", noise[1])):
            row[name] = float(np.mean([tost(line, 1.0).equivalent for line in values]))
        rows.append(row)
    return rows


def powers(studies: int) -> Rows:
    """The power promised by the formula beside the share of simulated studies that see it."""
    rng, rows = np.random.default_rng([SEED, 5]), []
    for n, arms in itertools.product(SEEDS, (1, ARMS)):
        effect = smallest_difference(n, 1.0, arms=arms)
        values = rng.normal(effect, 1.0, (studies, n))
        t = values.mean(axis=1) / (values.std(axis=1, ddof=1) / np.sqrt(n))
        row = {"n": n, "arms": arms, "difference_over_std": effect}
        row["promised"] = power(n, 1.0, effect, arms=arms)
        row["seen"] = float(np.mean(np.abs(t) > t_quantile(n, 1 - 0.05 / arms)))
        rows.append(row | {"needed": seeds_needed(1.0, effect, arms=arms)})
    return rows


def best(studies: int, runs: int = 20) -> Rows:
    """Bias of best-of-n curves from 20 runs, and coverage of their 95 % bands.

    Validation and reported figures are normal with correlation 0.7.
    """
    rng = np.random.default_rng([SEED, 6])
    at = [1, 5, 10, 20]

    def drawn(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        validation = rng.normal(size=shape)
        return validation, 0.7 * validation + np.sqrt(1 - 0.49) * rng.normal(size=shape)

    validation, test = drawn((100_000, runs))
    chosen = [np.argmax(validation[:, :n], axis=1) for n in at]
    truth = np.asarray([np.take_along_axis(test, c[:, None], axis=1).mean() for c in chosen])
    estimates, covered = np.zeros((studies, len(at))), np.zeros((studies, len(at)))
    for k in range(studies):
        curve = best_of(*drawn((runs,)), runs, resamples=999, seed=k)
        picked = np.asarray([curve.expected, curve.low, curve.high])[:, [n - 1 for n in at]]
        estimates[k] = picked[0]
        covered[k] = (picked[1] <= truth) & (truth <= picked[2])
    return [
        {"of": n, "truth": float(t), "estimate": float(e), "covered": float(c)}
        for n, t, e, c in zip(at, truth, estimates.mean(axis=0), covered.mean(axis=0), strict=True)
    ]


def main() -> None:
    """Simulates everything and writes it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    out = parser.parse_args().out
    many = 50 * STUDIES
    measured = {
        "over_seeds": (STUDIES, over_seeds(STUDIES, 4999)),
        "over_examples": (STUDIES, over_examples(STUDIES)),
        "winners": (STUDIES, winners(STUDIES)),
        "equivalence": (STUDIES, equivalence(STUDIES)),
        "power": (many, powers(many)),
        "best_of": (STUDIES, best(STUDIES)),
    }
    coverage_tables.save(out, __doc__, measured, seed=SEED)


if __name__ == "__main__":
    main()
