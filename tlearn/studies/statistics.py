"""What seeds and test examples allow one to say: intervals, paired differences, verdicts.

Two kinds of interval are kept apart by name. One *over seeds* says how far the mean would move with
other seeds (initialisation, order, choice of labelled examples). One *over examples* says how far
one figure would move with another test set of the same size; it knows nothing of seeds.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, SupportsFloat

import numpy as np

LEVEL = 0.95
MIN_SEEDS = 5
"""Fewer paired seeds than this never make a verdict: a t-interval over four is mostly hope."""

Scores = Mapping[int, SupportsFloat | None]
"""Seed -> figure of that run; None or a non-finite number marks a run that failed."""


def show(value: float | int | None) -> str:
    """Renders a figure with three decimals, or three digits where decimals would hide it."""
    if value is None:
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e3:
        return f"{value:.3f}"
    return f"{value:.3g}"


@dataclass(frozen=True)
class Interval:
    """A confidence interval, and what it is over."""

    center: float
    low: float
    high: float
    over: Literal["seeds", "examples"]
    level: float = LEVEL

    def covers(self, value: float | int) -> bool:
        """Whether the value lies in the interval, borders included."""
        return self.low <= value <= self.high

    @property
    def half_width(self) -> float:
        """Half the length; a t-interval is center ± half_width."""
        return (self.high - self.low) / 2

    @property
    def bounds(self) -> str:
        """The two ends as ``[low, high]``."""
        return f"[{show(self.low)}, {show(self.high)}]"

    def __str__(self) -> str:
        return f"{show(self.center)} {self.bounds} ({100 * self.level:g} % over {self.over})"


@dataclass(frozen=True)
class Summary:
    """One arm over its seeds. Failed runs are named; they are not in the mean."""

    scores: tuple[tuple[int, float], ...]
    failed: tuple[int, ...]
    mean: float | None
    std: float | None
    interval: Interval | None
    """None when fewer than two runs finished."""

    @property
    def finished(self) -> int:
        """Runs that ended with a finite figure."""
        return len(self.scores)

    @property
    def runs(self) -> str:
        """The number of runs, failures spelt out: ``10`` or ``8 (2 failed)``."""
        return f"{self.finished} ({len(self.failed)} failed)" if self.failed else f"{self.finished}"

    def __str__(self) -> str:
        figure = str(self.interval) if self.interval else f"{show(self.mean)} (no interval)"
        return f"{figure}, n = {self.runs}"


@dataclass(frozen=True)
class Verdict:
    """What may be said of a difference, and why."""

    kind: Literal["better", "worse", "undecided", "too few seeds"]
    reason: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


@dataclass(frozen=True)
class Comparison:
    """An arm minus the reference, paired by seed."""

    arm: str
    reference: str
    differences: tuple[tuple[int, float], ...]
    unpaired: tuple[int, ...]
    """Seeds without a pair, because a run of either side failed."""
    mean: float | None
    interval: Interval | None
    p: float | None
    """Two-sided p of the paired t-test, uncorrected."""
    holm_p: float | None
    """The same after Holm's correction over all arms compared with this reference."""
    family: int
    """How many arms the correction was over."""
    corrected: Interval | None
    """The interval at the level Holm's procedure judges this arm at. It covers zero exactly where
    ``holm_p`` is at least 1 − level, and there is no winner then. Longer than ``interval``, but not
    simultaneous: for intervals that cover jointly take ``t_interval`` of the differences at
    1 − (1 − level) / family."""
    verdict: Verdict

    def __str__(self) -> str:
        figure = f"{self.mean:+.3f} {self.interval.bounds}" if self.interval else show(self.mean)
        p = "" if self.holm_p is None else f", Holm p {p_text(self.holm_p)}"
        return f"{self.arm} − {self.reference}: {figure}{p}, {self.verdict}"


def p_text(p: float | int | None) -> str:
    """Renders a p-value: ``<0.001`` rather than zeros."""
    if p is None:
        return "–"
    return "<0.001" if p < 1e-3 else f"{p:.3f}"


def t_quantile(n: int, level: float = LEVEL) -> float:
    """Gives the two-sided Student quantile for a mean over n values.

    Raises:
        ValueError: With fewer than two values, or a level outside (0, 1).
    """
    from scipy.special import stdtrit

    if n < 2 or not 0 < level < 1:
        raise ValueError(f"a t-interval needs n >= 2 and 0 < level < 1, got n={n}, level={level}")
    return float(stdtrit(n - 1, 0.5 + level / 2))


def t_interval(values: Iterable[SupportsFloat], *, level: float = LEVEL) -> Interval:
    """Gives the mean of values over seeds with its Student t-interval (Student 1908).

    Raises:
        ValueError: With fewer than two values.
    """
    array = np.asarray([float(v) for v in values], np.float64)
    half = t_quantile(array.size, level) * float(array.std(ddof=1)) / math.sqrt(array.size)
    mean = float(array.mean())
    return Interval(mean, mean - half, mean + half, "seeds", level)


def wilson(correct: int, total: int, *, level: float = LEVEL) -> Interval:
    """Gives the score interval of a proportion over test examples (Wilson 1927).

    The centre is the observed proportion, so the interval is not symmetric about it.

    Raises:
        ValueError: Unless 0 <= correct <= total and total >= 1.
    """
    from scipy.special import ndtri

    if total < 1 or not 0 <= correct <= total:
        raise ValueError(f"expected 0 <= correct <= total, total >= 1; got {correct} of {total}")
    z = float(ndtri(0.5 + level / 2))
    share = correct / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    spread = math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    half = z / (1 + z**2 / total) * spread
    # At 0 and 1 the exact bound is 0 and 1; rounding may put it on either side.
    low, high = max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))
    return Interval(share, low, high, "examples", level)


def no_spread(values: Sequence[float] | np.ndarray) -> bool:
    """Whether values agree to rounding: then there is no spread to test against."""
    return float(np.ptp(values)) <= 1e-12 * max(1.0, float(np.max(np.abs(values))))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Corrects p-values for how many are looked at, step down (Holm 1979).

    Example:
        >>> holm([0.25, 0.03])
        (0.25, 0.06)
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return tuple(corrected)


def holm_levels(p_values: Sequence[float], *, level: float = LEVEL) -> tuple[float, ...]:
    """Gives the level at which `holm` judges each p-value.

    1 − (1 − level) / (values not yet rejected), smallest p first; from the first value that is not
    rejected on, the level stays what it was there. So a p-value is below 1 − its level exactly
    where the corrected one is below 1 − level (Holm 1979; intervals at these levels: Serlin 1993).

    Example:
        >>> [round(found, 4) for found in holm_levels([0.25, 0.03, 0.001])]
        [0.975, 0.975, 0.9833]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    levels = [level] * len(p_values)
    left = len(p_values)
    for index in order:
        levels[index] = 1 - (1 - level) / left
        # A value that is not rejected holds back all that follow.
        left -= p_values[index] < (1 - level) / left
    return tuple(levels)


def summarize(scores: Scores, *, level: float = LEVEL) -> Summary:
    """Gives mean, spread and t-interval over the runs that finished, and names those that did not.

    Raises:
        ValueError: If there is no run at all.
    """
    if not scores:
        raise ValueError("no runs to summarize: expected at least one seed with a figure")
    finished, failed = _sort_out(scores)
    values = np.asarray([v for _, v in finished], np.float64)
    return Summary(
        scores=finished,
        failed=failed,
        mean=float(values.mean()) if values.size else None,
        std=float(values.std(ddof=1)) if values.size > 1 else None,
        interval=t_interval(values, level=level) if values.size > 1 else None,
    )


def compare(
    scores: Mapping[str, Scores],
    reference: str,
    *,
    higher_is_better: bool = True,
    level: float = LEVEL,
) -> dict[str, Comparison]:
    """Compares every arm with the reference, paired by seed, corrected over the arms.

    An arm is called better or worse only with five paired seeds, its interval clear of zero both
    alone and corrected by Holm's procedure, and none of the winning side's runs failed. Where no
    arm differs, at most 1 − level of such studies call any winner.

    Args:
        scores: Arm -> seed -> figure. All arms have the same seeds; failed runs are None.
        reference: The arm the others are subtracted by.
        higher_is_better: False for losses and errors.
        level: Confidence of the intervals; 1 - level is the p below which a difference counts.

    Returns:
        A comparison for every arm except the reference, in the order of ``scores``.

    Raises:
        ValueError: If the reference is no arm, or an arm's seeds are not the reference's.
    """
    if reference not in scores:
        raise ValueError(f"the reference {reference!r} is no arm; there are: {', '.join(scores)}")
    seeds = set(scores[reference])
    wrong = [
        f"  {arm}: missing {sorted(seeds - set(runs))}, extra {sorted(set(runs) - seeds)}"
        for arm, runs in scores.items()
        if set(runs) != seeds
    ]
    if wrong:
        raise ValueError(
            f"arms are paired with {reference!r} by seed, but these have other seeds "
            "(a run that failed is given as None, not left out):\n" + "\n".join(wrong)
        )
    pairs = {arm: _pair(arm, reference, scores, level=level) for arm in scores if arm != reference}
    tested = [arm for arm, pair in pairs.items() if pair.p is not None]
    p_values = [float(pairs[arm].p or 0.0) for arm in tested]
    adjusted = dict(zip(tested, holm(p_values), strict=True))
    judged_at = dict(zip(tested, holm_levels(p_values, level=level), strict=True))
    sides = {arm: frozenset(_sort_out(runs)[1]) for arm, runs in scores.items()}
    result = {}
    for arm, pair in pairs.items():
        if arm in adjusted:
            values = [value for _, value in pair.differences]
            wider = t_interval(values, level=judged_at[arm])
            pair = replace(pair, holm_p=adjusted[arm], corrected=wider)
        pair = replace(pair, family=len(tested))
        verdict = _judge(pair, sides[arm], sides[reference], higher_is_better, level)
        result[arm] = replace(pair, verdict=verdict)
    return result


def _sort_out(scores: Scores) -> tuple[tuple[tuple[int, float], ...], tuple[int, ...]]:
    """Splits runs into finished ones with their figures and the seeds of failed ones."""
    values = {seed: math.nan if v is None else float(v) for seed, v in sorted(scores.items())}
    finished = tuple((seed, v) for seed, v in values.items() if math.isfinite(v))
    return finished, tuple(seed for seed, v in values.items() if not math.isfinite(v))


def _pair(arm: str, reference: str, scores: Mapping[str, Scores], *, level: float) -> Comparison:
    """Subtracts the reference seed by seed, without a verdict yet."""
    base = dict(_sort_out(scores[reference])[0])
    mine = dict(_sort_out(scores[arm])[0])
    differences = tuple((seed, mine[seed] - base[seed]) for seed in mine if seed in base)
    paired = dict(differences)
    values = [value for _, value in differences]
    interval = t_interval(values, level=level) if len(values) > 1 else None
    return Comparison(
        arm=arm,
        reference=reference,
        differences=differences,
        unpaired=tuple(seed for seed in sorted(scores[reference]) if seed not in paired),
        mean=float(np.mean(values)) if values else None,
        interval=interval,
        p=_paired_p(values) if interval else None,
        holm_p=None,
        family=0,
        corrected=None,
        verdict=Verdict("undecided", "not judged yet"),
    )


def _paired_p(values: Sequence[float]) -> float:
    """Gives the two-sided p of mean 0. No spread is no evidence, whatever the mean: p = 1."""
    from scipy.special import stdtr

    if no_spread(values):
        return 1.0
    array = np.asarray(values, np.float64)
    t = float(array.mean() / (array.std(ddof=1) / math.sqrt(array.size)))
    return 2 * float(stdtr(array.size - 1, -abs(t)))


def _judge(
    pair: Comparison,
    arm_failed: frozenset[int],
    reference_failed: frozenset[int],
    higher_is_better: bool,
    level: float,
) -> Verdict:
    """Says better or worse only if nothing speaks against it."""
    n = len(pair.differences)
    if n < MIN_SEEDS or pair.interval is None or pair.mean is None or pair.corrected is None:
        return Verdict(
            "too few seeds", f"{n} paired seeds, at least {MIN_SEEDS} are needed to call a winner"
        )
    if no_spread([value for _, value in pair.differences]):
        if pair.mean == 0:
            return Verdict("undecided", f"equal on all {n} seeds")
        return Verdict("undecided", "the same difference on every seed: do seeds change the run?")
    if pair.interval.covers(0.0):
        return Verdict(
            "undecided", f"the {100 * level:g} % interval {pair.interval.bounds} covers zero"
        )
    if pair.corrected.covers(0.0):
        return Verdict(
            "undecided",
            f"clear of zero alone, not after Holm's correction over {pair.family} arms: "
            f"{pair.corrected.bounds} (p = {p_text(pair.holm_p)})",
        )
    ahead = (pair.mean > 0) == higher_is_better
    # Dropping a side's failures flatters that side, so it may not win by what is left.
    lost, who = (arm_failed, pair.arm) if ahead else (reference_failed, pair.reference)
    if lost:
        return Verdict(
            "undecided", f"{who} is ahead on {n} seeds, but {len(lost)} of its runs failed"
        )
    kind = "better" if ahead else "worse"
    return Verdict(kind, f"by {show(abs(pair.mean))} {pair.interval.bounds} over {n} paired seeds")
