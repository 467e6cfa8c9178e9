"""When "no difference" may be said: two one-sided tests within a margin."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import SupportsFloat

import numpy as np

from tlearn.studies.statistics import (
    LEVEL,
    MIN_SEEDS,
    Interval,
    no_spread,
    p_text,
    show,
    t_interval,
)


@dataclass(frozen=True)
class Equivalence:
    """Whether paired differences are small, not merely undecided."""

    p: float
    """The larger p of the two one-sided t-tests."""
    interval90: Interval
    """Of the mean difference, at twice the error of the tests: 90 % for tests at 5 %."""
    equivalent: bool
    margin: float
    """The largest difference that does not matter, set before the runs were looked at."""
    n: int
    reason: str

    def __str__(self) -> str:
        return self.reason


def tost(
    differences: Iterable[SupportsFloat], margin: float | int, *, level: float = LEVEL
) -> Equivalence:
    """Tests whether a mean difference lies within ± margin, over seeds.

    Two one-sided t-tests at 1 − level (Schuirmann 1987): both are rejected exactly where the
    interval at 2 · level − 1 lies within the margin. An interval that covers zero is no such
    evidence; a wide one always does. As everywhere, fewer than five seeds and differences without
    spread show nothing.

    Args:
        differences: An arm minus the reference, one a paired seed.
        margin: The largest difference that does not matter. It belongs to the question, and is set
            before the figures are known.
        level: 1 − level is the chance to call arms equivalent that differ by the margin.

    Raises:
        ValueError: With fewer than two differences, one that is not finite, a margin that is not a
            positive number, or a level outside (0.5, 1).
    """
    from scipy.special import stdtr

    values = np.asarray([float(d) for d in differences], np.float64)
    problems = []
    if values.size < 2:
        problems.append(f"at least two paired differences are needed, got {values.size}")
    if not np.isfinite(values).all():
        problems.append("differences must be finite: leave out pairs with a failed run")
    if not 0 < margin < np.inf:
        problems.append(f"the margin must be a positive number, got {margin}")
    if not 0.5 < level < 1:
        problems.append(f"the level must lie between 0.5 and 1, got {level}")
    if problems:
        raise ValueError("no equivalence test: " + "; ".join(problems))
    n, mean = int(values.size), float(values.mean())
    interval = t_interval(values, level=2 * level - 1)
    if no_spread(values):
        reason = (
            f"not shown: all {n} differences are {show(mean)}, and without spread there is no test"
        )
        return Equivalence(1.0, interval, False, float(margin), n, reason)
    error = float(values.std(ddof=1)) / n**0.5
    p = float(stdtr(n - 1, (abs(mean) - margin) / error))
    equivalent = n >= MIN_SEEDS and p < 1 - level
    share = f"{100 * interval.level:g} % interval {interval.bounds}"
    within = f"±{show(margin)}"
    if equivalent:
        reason = (
            f"equivalent within {within}: the mean difference is {mean:+.3f}, its {share} lies "
            f"inside ({n} paired seeds, p = {p_text(p)})"
        )
    elif n < MIN_SEEDS:
        reason = f"not shown: {n} paired seeds, at least {MIN_SEEDS} are needed"
    else:
        reason = (
            f"equivalence within {within} is not shown: the mean difference is {mean:+.3f}, its "
            f"{share} reaches beyond ({n} paired seeds, p = {p_text(p)})"
        )
    return Equivalence(p, interval, equivalent, float(margin), n, reason)
