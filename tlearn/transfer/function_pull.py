"""A pull in function space: stay near what the source network computes on the target's inputs."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
from jaxtyping import Array

from tlearn.bodies.features import Features
from tlearn.params import unflatten
from tlearn.transfer.function_space import feature_distance, logit_distance


@dataclasses.dataclass(frozen=True, kw_only=True)
class FunctionPull:
    """λ times the mean distance between what body and source body compute.

    Attributes:
        form: ``"features"``: half the squared distance of the pooled features (the last term of
            DELTA, Li et al. 2019). ``"logits"``: T² KL between the source head's answers on the
            source body and on the moving body (Li & Hoiem 2016).
        strength: λ at the start of a training; its state keeps it as an array.
        temperature: T of the logit form.
    """

    form: Literal["features", "logits"]
    strength: float
    temperature: float = 2.0

    def __post_init__(self):
        problems = []
        if self.form not in ("features", "logits"):
            problems.append(f"form {self.form!r}: use features or logits")
        if not self.strength >= 0:
            problems.append(f"strength is {self.strength}; it must be at least 0")
        if not self.temperature > 0:
            problems.append(f"temperature is {self.temperature}; it must be above 0")
        if problems:
            raise ValueError("this pull cannot be made:\n  " + "\n  ".join(problems))

    def loss_sum(
        self,
        features: Features,
        source_features: Features,
        mask: Array,
        head: nn.Module | None,
        head_params: Mapping[str, Any] | None,
        strength: Array | float,
    ) -> Array:
        """The pull as a sum over examples, to be added to the loss sum.

        Args:
            features: Of the moving body.
            source_features: Of the source body on the same inputs.
            mask: 0 for examples that only fill the batch.
            head: The source's head, for the logit form.
            head_params: Its parameters by path ``head/...``; never trained.
            strength: λ; an array of the state, so that a sweep over it compiles nothing.

        Raises:
            ValueError: If the logit form is asked for without the source's head, or the feature
                form of a body without pooled features.
        """
        source_features = jax.lax.stop_gradient(source_features)
        if self.form == "features":
            if features.pooled is None or source_features.pooled is None:
                raise ValueError(
                    "a feature pull compares pooled features, which this body does not offer; "
                    "use form='logits'"
                )
            total = feature_distance(features.pooled, source_features.pooled, mask).sum
            return strength * total
        if head is None or head_params is None:
            raise ValueError(
                "a logit pull needs the source's head: load a source that carries one, "
                "or use form='features'"
            )
        variables = {"params": unflatten(jax.lax.stop_gradient(dict(head_params)))["head"]}
        logits: Any = head.apply(variables, features, train=False)
        source_logits: Any = head.apply(variables, source_features, train=False)
        total = logit_distance(logits, source_logits, mask, temperature=self.temperature).sum
        return strength * total
