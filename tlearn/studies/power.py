"""How many seeds a difference needs, and what a number of seeds can see."""

import math

from tlearn.studies.statistics import LEVEL, MIN_SEEDS, show

POWER = 0.8
"""The usual chance to see a difference that is there (Cohen 1988, section 2.4)."""


def power(
    n: int, std: float | int, difference: float | int, *, level: float = LEVEL, arms: int = 1
) -> float:
    """Gives the chance that a paired t-test over n seeds sees a difference.

    Exact for normal differences, by the non-central t (Cohen 1988, section 2.3). Several arms are
    corrected for as Holm (1979) does in its worst case, where none of the others differs: the error
    is divided by the number of arms.

    Args:
        n: Paired seeds.
        std: Standard deviation of the paired differences over seeds.
        difference: The mean difference that is there.
        level: 1 − level is the error allowed over all arms.
        arms: How many arms are compared with the reference.

    Raises:
        ValueError: If a value is out of range; all that are, at once.
    """
    _check(n=n, std=std, level=level, arms=arms)
    if not math.isfinite(difference):
        raise ValueError(f"the difference must be finite, got {difference}")
    return _power(n, std, difference, level, arms)


def seeds_needed(
    std: float | int,
    difference: float | int,
    *,
    power: float = POWER,
    level: float = LEVEL,
    arms: int = 1,
) -> int:
    """Gives the fewest paired seeds that see a difference with the wanted chance.

    Never fewer than five, below which no winner is called (`MIN_SEEDS`).

    Args:
        std: Standard deviation of the paired differences over seeds, from a pilot say. A spread
            from few seeds is itself uncertain.
        difference: The smallest difference that would matter.
        power: The wanted chance.
        level: As in `power`.
        arms: As in `power`.

    Raises:
        ValueError: If a value is out of range, or the difference is zero.
    """
    _check(std=std, level=level, arms=arms, power=power)
    if not math.isfinite(difference) or difference == 0:
        raise ValueError(f"the difference must be finite and not zero, got {difference}")

    def sees(n: int) -> bool:
        # Rounding: what `smallest_difference` gives for n seeds needs n, not n + 1.
        return _power(n, std, difference, level, arms) >= power - 1e-9

    enough = MIN_SEEDS
    while not sees(enough):
        enough *= 2
    few = enough // 2 if enough > MIN_SEEDS else MIN_SEEDS - 1  # Too few, or not allowed.
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if sees(middle) else (middle, enough)
    return enough


def smallest_difference(
    n: int, std: float | int, *, power: float = POWER, level: float = LEVEL, arms: int = 1
) -> float:
    """Gives the difference that n paired seeds see with the wanted chance.

    Raises:
        ValueError: If a value is out of range.
    """
    from scipy.optimize import root_scalar

    _check(n=n, std=std, level=level, arms=arms, power=power)

    def missing(effect: float) -> float:
        return _power(n, 1.0, effect, level, arms) - power

    if missing(0.0) >= 0:  # The test's own error is as large as the chance asked for.
        return 0.0
    high = 1.0
    while missing(high) < 0:
        high *= 2
    found = root_scalar(missing, bracket=(0.0, high), method="brentq", xtol=1e-13)
    return std * float(found.root)


def seeds_text(
    std: float | int,
    difference: float | int,
    *,
    power: float = POWER,
    level: float = LEVEL,
    arms: int = 1,
) -> str:
    """Says `seeds_needed` as a sentence."""
    n = seeds_needed(std, difference, power=power, level=level, arms=arms)
    return (
        f"To see a difference of {show(abs(difference))} with this spread (standard deviation "
        f"{show(std)} between paired seeds) you need {n} seeds "
        f"({_terms(power, level, arms)})."
    )


def sight_text(
    n: int, std: float | int, *, power: float = POWER, level: float = LEVEL, arms: int = 1
) -> str:
    """Says what n seeds could have seen: to stand beside a result without a winner."""
    seen = smallest_difference(n, std, power=power, level=level, arms=arms)
    return (
        f"{n} seeds with this spread (standard deviation {show(std)} between paired seeds) see a "
        f"difference of {show(seen)} ({_terms(power, level, arms)}); smaller ones may be there."
    )


def _power(n: int, std: float | int, difference: float | int, level: float, arms: int) -> float:
    """The two tails of the non-central t beyond the central one's quantile."""
    from scipy import special, stats

    shift = abs(difference) / std * math.sqrt(n)
    quantile = -float(special.stdtrit(n - 1, (1 - level) / arms / 2))
    upper = float(stats.nct.sf(quantile, n - 1, shift))
    lower = float(stats.nct.cdf(-quantile, n - 1, shift))
    # scipy loses the far tail (nan), which is then nothing beside the near one.
    return min(1.0, upper + (0.0 if math.isnan(lower) else lower))


def _terms(power: float, level: float, arms: int) -> str:
    """What the number of seeds rests on."""
    over = f", corrected over {arms} arms" if arms > 1 else ""
    return f"power {100 * power:g} %, error {100 * (1 - level):g} %{over}"


def _check(*, std: float, level: float, arms: int, n: int = 2, power: float = POWER) -> None:
    """Raises once for every value that is out of range."""
    problems = []
    if n < 2:
        problems.append(f"n = {n}: at least 2 paired seeds")
    if not 0 < std < math.inf:
        problems.append(f"std = {std}: a positive number (differences without spread make no test)")
    if not 0 < level < 1:
        problems.append(f"level = {level}: between 0 and 1")
    if arms < 1:
        problems.append(f"arms = {arms}: at least 1 compared with the reference")
    if not 0 < power < 1:
        problems.append(f"power = {power}: between 0 and 1")
    if problems:
        raise ValueError("no power:\n" + "\n".join(f"  {problem}" for problem in problems))
