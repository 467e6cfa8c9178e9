"""How texts are made: by which method, how far, and what is held against a token's score."""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
from flax import struct

from tlearn.params import nearest

METHODS = ("greedy", "sample", "beam")
_ONLY = {
    "sample": ("temperature", "top_k", "top_p"),
    "beam": ("beams", "length_penalty", "early_stopping"),
}
"""Fields that one method alone looks at."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How texts are made.

    Attributes:
        method: ``greedy`` takes the likeliest next token, ``sample`` draws one, ``beam`` keeps the
            likeliest texts and carries them all on.
        steps: The most tokens to make.
        ends: Tokens that end a text.
        pad: What stands after an end.
        returned: Texts for each row given; of a beam search its best.
        min_steps: The fewest tokens to make: ends count for nothing before.
        repetition_penalty: Scores of tokens that are there already are divided by this where
            positive, multiplied where negative (Keskar et al. 2019, §4.1); 1 for nothing.
        no_repeat_ngram: So many tokens in a row occur once in a text at most; 0 for no such rule.
        temperature: Divides scores before a draw; 0 draws the likeliest.
        top_k: Draw among so many likeliest tokens, and those equal to the last of them; 0 for all.
        top_p: Draw among the likeliest tokens that together reach this share of probability
            (Holtzman et al. 2020), and those equal to the last of them; 1 for all.
        beams: Texts that a beam search carries on at a time.
        length_penalty: A text's score is the sum of its tokens' log-probabilities over their number
            to this power: above 0 favours long texts (after Wu et al. 2016, §7).
        early_stopping: As in transformers, when a beam search leaves a row alone: True as soon as
            ``beams`` texts have ended; False once the best of the others, were it to end now, is
            behind them all; ``never`` once it could not catch up even at the greatest length.
    """

    method: str = "greedy"
    steps: int = 50
    ends: tuple[int, ...] = ()
    pad: int = 0
    returned: int = 1
    min_steps: int = 0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    beams: int = 4
    length_penalty: float = 1.0
    early_stopping: bool | str = False

    def problems(self) -> list[str]:
        """Everything about the values that makes no sense, a sentence each."""
        found = []
        if self.method not in METHODS:
            close = nearest(self.method, METHODS, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            found.append(f"method is one of {', '.join(METHODS)}, got {self.method!r}{hint}")
        least = {"steps": 1, "returned": 1, "beams": 1}
        least |= {"min_steps": 0, "no_repeat_ngram": 0, "top_k": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                found.append(f"{name} must be at least {low}, got {getattr(self, name)}")
        if self.min_steps > self.steps >= 1:
            found.append(f"min_steps={self.min_steps} is more than steps={self.steps}")
        if not self.repetition_penalty > 0 or math.isinf(self.repetition_penalty):
            found.append(f"repetition_penalty must be positive, got {self.repetition_penalty}")
        if not 0 <= self.temperature < math.inf:
            found.append(f"temperature must be at least 0, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            found.append(f"top_p is a share in (0, 1], got {self.top_p}")
        if not math.isfinite(self.length_penalty):
            found.append(f"length_penalty must be finite, got {self.length_penalty}")
        if self.early_stopping not in (True, False, "never"):
            found.append(f"early_stopping is True, False or 'never', got {self.early_stopping!r}")
        unread = [
            (field.name, method)
            for method, names in _ONLY.items()
            for field in dataclasses.fields(self)
            if field.name in names and getattr(self, field.name) != field.default
        ]
        if self.method in METHODS:
            found += [
                f"{name} is for method={method!r}, not for {self.method!r}"
                for name, method in unread
                if method != self.method
            ]
        if self.returned > 1 and self.method == "greedy":
            found.append(
                f"greedy makes one text a row, not returned={self.returned}: sample or beam"
            )
        if self.method == "beam" and self.returned > self.beams:
            found.append(f"a search of {self.beams} beams cannot return {self.returned} texts")
        return found

    @property
    def copies(self) -> int:
        """How many texts are made of each row at a time."""
        return {"sample": self.returned, "beam": self.beams}.get(self.method, 1)

    @property
    def filtered(self) -> bool:
        """Whether draws are among a part of the tokens."""
        return self.method == "sample" and (self.top_k > 0 or self.top_p < 1)

    @property
    def program(self) -> "Options":
        """The same with its numbers at fixed values: two that share a program are equal."""
        return dataclasses.replace(
            self,
            ends=tuple(int(end) for end in self.ends),
            min_steps=int(self.min_steps > 0),
            repetition_penalty=1.0 if self.repetition_penalty == 1 else 2.0,
            temperature=1.0,
            top_k=int(self.filtered),
            top_p=1.0,
            length_penalty=1.0,
        )

    @property
    def numbers(self) -> "Numbers":
        """What a program takes as arrays."""
        return Numbers(
            min_steps=jnp.asarray(self.min_steps, jnp.int32),
            repetition_penalty=jnp.asarray(self.repetition_penalty, jnp.float32),
            temperature=jnp.asarray(self.temperature, jnp.float32),
            top_k=jnp.asarray(self.top_k, jnp.int32),
            top_p=jnp.asarray(self.top_p, jnp.float32),
            length_penalty=jnp.asarray(self.length_penalty, jnp.float32),
        )


@struct.dataclass
class Numbers:
    """The fields of `Options` that are arrays in the program: trying others compiles nothing."""

    min_steps: Any
    repetition_penalty: Any
    temperature: Any
    top_k: Any
    top_p: Any
    length_penalty: Any
