"""Schedules: the fraction of the peak rate at an optimizer update, and durations in any unit."""

import dataclasses
import math
import re
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Scalar

from tlearn.params import nearest

Count = Any
"""A number of optimizer updates: an int or a scalar array, traced or not."""

_UNITS = ("ep", "st", "ex", "%")
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ep|st|ex|%)")


def duration(
    text: str,
    *,
    steps_per_epoch: int | None = None,
    batch_size: int | None = None,
    total: int | None = None,
) -> int:
    """Converts a duration to a number of steps: the one place where units are known.

    Args:
        text: ``"10ep"`` epochs, ``"500st"`` steps, ``"2000ex"`` examples or ``"5%"`` of `total`.
            Epochs and percentages are rounded to the nearest step, examples up to a full batch.
        steps_per_epoch: Steps of one epoch; optimizer updates of one epoch to get updates.
        batch_size: Examples of one step (or update).
        total: What a percentage is taken of.

    Raises:
        ValueError: If the text is no duration or what its unit needs was not given.

    Example:
        >>> duration("10ep", steps_per_epoch=50), duration("5%", total=1000)
        (500, 50)
    """
    number, unit = _read(text)
    needs = {"ep": ("steps_per_epoch", steps_per_epoch), "ex": ("batch_size", batch_size)}
    needs |= {"%": ("total", total), "st": ("", 1)}
    name, size = needs[unit]
    if size is None:
        raise ValueError(
            f"the duration {text!r} needs {name}, which is not known here; give {name}"
        )
    if size <= 0:
        raise ValueError(f"the duration {text!r} needs {name} above 0, not {size}")
    if unit == "ep":
        return math.floor(number * size + 0.5)
    if unit == "ex":
        return math.ceil(number / size)
    if unit == "%":
        # The product first: 30 % of 10 is then exactly 3, in Python and in float32 alike.
        return math.floor(size * number / 100 + 0.5)
    return int(number)


def _read(text: str) -> tuple[float, str]:
    match = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError(
            f"{text!r} is no duration: write a number and a unit, "
            "as in '10ep' (epochs), '500st' (steps), '2000ex' (examples) or '5%'"
        )
    number, unit = float(match[1]), match[2]
    if unit in ("st", "ex") and number != int(number):
        raise ValueError(f"the duration {text!r} is no whole number of steps or examples")
    if unit == "%" and number > 100:
        raise ValueError(f"the duration {text!r} is more than 100 %")
    return number, unit


def _updates(text: str, total: Array, *, down: bool = False) -> Array:
    """Gives a duration in updates, where `total` may be traced; percentages round as asked."""
    number, unit = _read(text)
    if unit == "%":
        return jnp.floor(total * number / 100 + (0.0 if down else 0.5))
    if unit == "st":
        return jnp.float32(number)
    raise ValueError(
        f"the duration {text!r} depends on the data set; call schedule.resolved(steps_per_epoch=, "
        "batch_size=) first"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """The peak rate after a linear warm-up from 0; the shapes derive from it.

    A schedule is a plain value: compare it, print it (`parse` reads it back), keep it in a config.

    Attributes:
        warmup: Length of the warm-up, as in `duration`. Update t has rate t / warmup of the
            shape's first value, so that the shape starts at update ``warmup``.
    """

    name: ClassVar[str] = "constant"
    warmup: str = "0st"

    def __post_init__(self):
        problems = list(self._problems())
        for field in self._durations():
            for text in _listed(getattr(self, field)):
                try:
                    _read(text)
                except ValueError as error:
                    problems.append(f"{field}: {error}")
        if problems:
            raise ValueError(
                f"the schedule {self.name!r} is not valid:\n  " + "\n  ".join(problems)
            )

    def multiplier(self, update: Count, total: Count) -> Scalar:
        """Gives the fraction of the peak rate, in [0, 1], that an update uses.

        Args:
            update: Optimizer updates made before this one (0 for the first).
            total: Updates of the whole training. Updates at or after it get the last value.
        """
        at = jnp.asarray(update, jnp.float32)
        total = jnp.asarray(total, jnp.float32)
        warmup = _updates(self.warmup, total)
        warm = jnp.where(at < warmup, at / jnp.maximum(warmup, 1.0), 1.0)
        shape = self._shape(jnp.clip(at, warmup, jnp.maximum(total, warmup)), warmup, total)
        return warm * shape

    def resolved(self, *, steps_per_epoch: int, batch_size: int | None = None) -> "Schedule":
        """Converts durations in epochs and examples to updates; a schedule without is unchanged.

        Args:
            steps_per_epoch: Optimizer updates of one epoch.
            batch_size: Examples of one update.
        """

        def convert(text: str) -> str:
            if _read(text)[1] not in ("ep", "ex"):
                return text
            count = duration(text, steps_per_epoch=steps_per_epoch, batch_size=batch_size)
            return f"{count}st"

        new = {}
        for field in self._durations():
            value = getattr(self, field)
            several = isinstance(value, tuple)
            new[field] = tuple(map(convert, value)) if several else convert(value)
        return dataclasses.replace(self, **new)

    def __str__(self) -> str:
        parts = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                text = "/".join(value) if isinstance(value, tuple) else str(value)
                parts.append(f"{field.name}={text}")
        return self.name + (":" + ",".join(parts) if parts else "")

    def _shape(self, at: Array, warmup: Array, total: Array) -> Array:
        """Gives the value at an update of [warmup, total]."""
        return jnp.ones_like(at)

    def _durations(self) -> tuple[str, ...]:
        return ("warmup",)

    def _problems(self) -> tuple[str, ...]:
        return ()

    def _unit_problems(self, *fields: str) -> tuple[str, ...]:
        return tuple(
            f"{field} is {getattr(self, field)}; it is a fraction of the peak, from 0 to 1"
            for field in fields
            if not 0 <= getattr(self, field) <= 1
        )


def _listed(value: Any) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else (value,)


def _progress(at: Array, start: Array, end: Array) -> Array:
    return jnp.clip((at - start) / jnp.maximum(end - start, 1.0), 0.0, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The peak rate throughout."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(Schedule):
    """Falls on a line from the peak to ``end`` × peak at the last update."""

    name: ClassVar[str] = "linear"
    end: float = 0.0

    def _shape(self, at: Array, warmup: Array, total: Array) -> Array:
        return 1.0 + (self.end - 1.0) * _progress(at, warmup, total)

    def _problems(self) -> tuple[str, ...]:
        return self._unit_problems("end")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Falls on half a cosine from the peak to ``end`` × peak (Loshchilov & Hutter 2017)."""

    name: ClassVar[str] = "cosine"
    end: float = 0.0

    def _shape(self, at: Array, warmup: Array, total: Array) -> Array:
        half = 0.5 * (1.0 + jnp.cos(jnp.pi * _progress(at, warmup, total)))
        return self.end + (1.0 - self.end) * half

    def _problems(self) -> tuple[str, ...]:
        return self._unit_problems("end")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InverseSqrt(Schedule):
    """Falls as sqrt(warmup / update); the warm-up is also the time scale (Vaswani et al. 2017)."""

    name: ClassVar[str] = "inverse-sqrt"
    warmup: str = "10%"

    def _shape(self, at: Array, warmup: Array, total: Array) -> Array:
        scale = jnp.maximum(warmup, 1.0)
        return jnp.sqrt(scale / jnp.maximum(at, scale))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlantedTriangular(Schedule):
    """Climbs for ``cut``, then falls to peak / ``ratio`` (Howard & Ruder 2018, §3.2).

    As in the paper it starts at peak / ratio, not at 0. The paper's fall can end slightly below
    that where ``cut`` is no whole number of updates; here it stops at peak / ratio.
    """

    name: ClassVar[str] = "slanted-triangular"
    cut: str = "10%"
    ratio: float = 32.0

    def _shape(self, at: Array, warmup: Array, total: Array) -> Array:
        length, passed = total - warmup, at - warmup
        cut = _updates(self.cut, length, down=True)
        number, unit = _read(self.cut)
        # cut * (1 / cut_frac - 1) in the paper's terms: the length of the fall.
        fall = cut * (100.0 / max(number, 1e-9) - 1.0) if unit == "%" else length - cut
        fall = jnp.where(cut > 0, fall, length)
        rising = passed / jnp.maximum(cut, 1.0)
        falling = jnp.clip(1.0 - (passed - cut) / jnp.maximum(fall, 1.0), 0.0, 1.0)
        height = jnp.where(passed < cut, rising, falling)
        return (1.0 + height * (self.ratio - 1.0)) / self.ratio

    def _durations(self) -> tuple[str, ...]:
        return ("warmup", "cut")

    def _problems(self) -> tuple[str, ...]:
        return () if self.ratio >= 1 else (f"ratio is {self.ratio}; it must be at least 1",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """Climbs from ``start`` × peak for ``climb``, then falls to ``end`` × peak, on half cosines.

    Smith & Topin 2019 with the constants in general use: climb 30 %, start 1/25, end 1/250,000.
    """

    name: ClassVar[str] = "one-cycle"
    climb: str = "30%"
    start: float = 0.04
    end: float = 4e-6

    def _shape(self, at: Array, warmup: Array, total: Array) -> Array:
        top = warmup + _updates(self.climb, total - warmup, down=True)
        up = 0.5 * (1.0 - jnp.cos(jnp.pi * _progress(at, warmup, top)))
        down = 0.5 * (1.0 + jnp.cos(jnp.pi * _progress(at, top, total)))
        rising = self.start + (1.0 - self.start) * up
        return jnp.where(at < top, rising, self.end + (1.0 - self.end) * down)

    def _durations(self) -> tuple[str, ...]:
        return ("warmup", "climb")

    def _problems(self) -> tuple[str, ...]:
        return self._unit_problems("start", "end")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Piecewise(Schedule):
    """Multiplies the rate by ``factor`` at every point of ``at``, counted from update 0.

    BiT's rule for 10,000 updates is ``at=("30%", "60%", "90%"), warmup="5%"`` (Kolesnikov et al.
    2020, §3.3).
    """

    name: ClassVar[str] = "piecewise"
    at: tuple[str, ...] = ("30%", "60%", "90%")
    factor: float = 0.1

    def _shape(self, at: Array, warmup: Array, total: Array) -> Array:
        value = jnp.ones_like(at)
        for point in self.at:
            value = jnp.where(at >= _updates(point, total), value * self.factor, value)
        return value

    def _durations(self) -> tuple[str, ...]:
        return ("warmup", "at")

    def _problems(self) -> tuple[str, ...]:
        return self._unit_problems("factor")


SHAPES: dict[str, type[Schedule]] = {
    shape.name: shape
    for shape in (Constant, Linear, Cosine, InverseSqrt, SlantedTriangular, OneCycle, Piecewise)
}
"""The schedules by name, as `parse` knows them."""


def parse(text: str) -> Schedule:
    """Reads a schedule from ``name`` or ``name:field=value,...``; the inverse of `str`.

    Raises:
        ValueError: Naming every unknown field and malformed value, and the nearest valid names.

    Example:
        >>> parse("linear:warmup=10%")
        Linear(warmup='10%', end=0.0)
        >>> str(parse("piecewise:at=40%/80%,warmup=500st"))
        'piecewise:warmup=500st,at=40%/80%'
    """
    name, _, rest = text.strip().partition(":")
    if name not in SHAPES:
        close = nearest(name, SHAPES)
        hint = f"; closest: {', '.join(close)}" if close else ""
        raise ValueError(f"there is no schedule {name!r}{hint}; known: {', '.join(SHAPES)}")
    fields = {field.name: field.default for field in dataclasses.fields(SHAPES[name])}
    values: dict[str, Any] = {}
    problems = []
    for part in filter(None, rest.split(",")):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if key not in fields or not equals:
            problems.append(f"{part!r} sets no field of it; its fields are {', '.join(fields)}")
        elif key in values:
            problems.append(f"{key!r} is set twice")
        elif isinstance(fields[key], tuple):
            values[key] = tuple(value.split("/"))
        elif isinstance(fields[key], float):
            try:
                values[key] = float(value)
            except ValueError:
                problems.append(f"{key} is {value!r}, which is no number")
        else:
            values[key] = value
    if problems:
        raise ValueError(f"the schedule {text!r} is not valid:\n  " + "\n  ".join(problems))
    return SHAPES[name](**values)
