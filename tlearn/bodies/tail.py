"""The upper layers of a body: what is left to run once the bottom's output is known.

Shapes: b batch, t tokens; what a layer puts out has any shape that begins with b.
"""

import difflib
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tlearn.bodies.features import Features
from tlearn.bodies.registry import BODIES


class Tail(nn.Module):
    """A body whose lowest layers do not run: their output is its input.

    The body's own code runs. Calls of the lower layers are answered with the activations given, so
    no family has a second form of itself. Parameters keep their names, those of the lower layers
    are not read, and the layers above draw the same dropout as in the whole body.

    ``features.maps`` is empty, ``layers`` begins with the first layer that runs, and there is no
    ``table``: heads tied to the embeddings need the whole body.

    Attributes:
        body: The whole body.
        start: The first layer that runs.
    """

    body: nn.Module
    start: str

    family: ClassVar[str] = "tail"

    def __post_init__(self) -> None:
        problems = tail_problems(self.body, self.start)
        if problems:
            raise ValueError("this body cannot start above its input: " + "; ".join(problems))
        super().__post_init__()

    def setup(self) -> None:
        """Puts the body's layers where they would be without this module."""
        nn.share_scope(self, self.body)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what the tail is called with: texts still say which tokens are real."""
        return ("features", *(name for name in self.body.inputs if name == "segments"))

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers that run, from input to output."""
        names = self.body.layer_names
        return names[names.index(self.start) :]

    @property
    def feature_width(self) -> int:
        """Width of `Features.pooled`."""
        return self.body.feature_width

    def __call__(
        self,
        features: Float[Array, "b ..."],
        segments: Int[Array, "b t"] | None = None,
        *,
        train: bool | frozenset[str] = False,
    ) -> Features:
        """Computes the body's features from the output of the layer below `start`.

        Args:
            features: `Features.layers` of the whole body, at the layer below `start`.
            segments: As the body takes them, for texts.
            train: True, False, or the names of the layers that run in training mode.
        """
        body: Any = self.body
        # By their scopes: a layer that is computed again in the backward pass is another module.
        known = {(*body.scope.path, name) for name in below(body, self.start)}

        def answer(run: Any, args: Any, kwargs: Any, context: Any) -> Any:
            layer = context.module
            scope = layer.scope
            if context.method_name != "__call__" or scope is None or scope.path not in known:
                return run(*args, **kwargs)
            # What a layer returns beside its output, it says itself.
            returning = getattr(layer, "returning", None)
            return features if returning is None else returning(features, *args, **kwargs)

        with nn.intercept_methods(answer):
            found = body(*_stand_ins(body, features, segments), train=train)
        layers = {name: x for name, x in found.layers.items() if name in self.layer_names}
        return found.replace(layers=layers, maps=(), table=None)


def below(body: nn.Module, start: str) -> tuple[str, ...]:
    """The layers under `start`, from the input; the last one's output is what a tail reads."""
    names = body.layer_names
    return names[: names.index(start)]


def tail_problems(body: Any, start: str) -> list[str]:
    """Lists why a body cannot start at a layer; empty if it can."""
    if getattr(body, "family", None) not in BODIES.families:
        return [f"{type(body).__name__} is none of the bodies {', '.join(sorted(BODIES.families))}"]
    names = body.layer_names
    if start not in names[1:]:
        close = difflib.get_close_matches(start, names[1:], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return [
            f"start={start!r} is no layer above the first{hint} (known: {', '.join(names[1:])})"
        ]
    problems = []
    if "decoder_tokens" in body.inputs or getattr(body, "decoder_depth", 0):
        problems.append(
            "a T5 with a decoder embeds tokens twice: take the encoder alone (decoder_depth=0)"
        )
    if body.family == "vit" and body.norm == "pooled" and start == "pooler":
        problems.append("below the pooler this ViT keeps no tokens (norm='pooled')")
    return problems


def tail_part(body: nn.Module, start: str, flat: Mapping[str, Any]) -> dict[str, Any]:
    """Of a model's parameters or statistics by path, those that its tail reads.

    Args:
        body: The whole body.
        start: The first layer that runs.
        flat: By path, ``body/...`` and ``head/...``.
    """
    left_out = tuple(f"body/{name}/" for name in below(body, start))
    # What a lower layer hands to all above it, beside its output.
    serving = getattr(body, "serving", ())
    return {
        path: value
        for path, value in flat.items()
        if not path.startswith(left_out)
        or any(re.fullmatch(pattern, path.removeprefix("body/")) for pattern in serving)
    }


def _stand_ins(body: Any, features: Array, segments: Array | None) -> list[Array]:
    """Inputs of the right shape; nothing that runs reads their values."""
    if segments is not None:
        empty = jnp.zeros_like(segments)
        return [segments if name == "segments" else empty for name in body.inputs]
    size = getattr(body, "image_size", 1)
    rows, columns = size if isinstance(size, tuple) else (size, size)
    return [jnp.zeros((features.shape[0], rows, columns, body.in_channels), features.dtype)]
