"""Vision transformers: ViT, DeiT with its distilled token, and variants by config.

Shapes: b batch, h w pixels, c channels, t tokens, d width.

References: Dosovitskiy et al. 2021 (ViT), Touvron et al. 2021 (DeiT, and the initialisation: every
kernel, token and position from a normal distribution of 0.02 cut at two deviations, biases zero).
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from tlearn.bodies.activations import ACTIVATIONS
from tlearn.bodies.checks import check_channels, check_choices
from tlearn.bodies.dense import Dense, affine
from tlearn.bodies.dropout import Dropout
from tlearn.bodies.features import Features, trains
from tlearn.bodies.layer_norm import LayerNorm
from tlearn.bodies.transformer import Block

_INIT = nn.initializers.truncated_normal(0.02)


class ViT(nn.Module):
    """A transformer over the patches of square pictures.

    Attributes:
        image_size: Side of the pictures in pixels.
        patch_size: Side of a patch; pixels that fill no patch are left out.
        in_channels: Channels of the pictures.
        width: Width of every token.
        depth: Blocks.
        heads: Attention heads.
        feed_forward: Width inside a block's feed-forward part.
        head_size: Width of a head; 0 for ``width / heads``.
        attention_scale: Multiplies the products of queries and keys; 0 for ``head_size ** -0.5``.
        activation: Name of the feed-forward activation.
        norm_epsilon: Added to variances.
        qkv_bias: Whether queries, keys and values have biases.
        layer_scale: Where the learned factors of each part's output begin; 0 for none.
        class_token: Whether a learned token comes first.
        distilled_token: Whether a second learned token follows it (DeiT).
        prefix_positions: Whether these tokens have positions of their own.
        pooling: What ``pooled`` is: the ``class`` token, the ``mean`` of the patches, or the
            ``pooler``'s output (an affine map of the class token and an activation).
        norm: Where the last normalisation is: ``final`` (before pooling), ``pooled`` (after it) or
            ``none``.
        pooler_width: Width of the pooler; 0 for ``width``.
        pooler_activation: The pooler's activation.
        dropout: Share dropped after the embeddings and after every part of a block.
        attention_dropout: Share of attention weights dropped.
        drop_path: Chance of skipping the last block's parts; grows linearly from 0 at the first.
        dtype: What to compute in: ``float32`` or ``bfloat16``. Parameters stay float32.
        remat: Recompute each block in the backward pass instead of keeping its activations.
    """

    image_size: int = 224
    patch_size: int = 16
    in_channels: int = 3
    width: int = 192
    depth: int = 12
    heads: int = 3
    feed_forward: int = 768
    head_size: int = 0
    attention_scale: float = 0.0
    activation: str = "gelu"
    norm_epsilon: float = 1e-6
    qkv_bias: bool = True
    layer_scale: float = 0.0
    class_token: bool = True
    distilled_token: bool = False
    prefix_positions: bool = True
    pooling: str = "class"
    norm: str = "final"
    pooler_width: int = 0
    pooler_activation: str = "tanh"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    dtype: str = "float32"
    remat: bool = False

    family: ClassVar[str] = "vit"
    inputs: ClassVar[tuple[str, ...]] = ("image",)

    def __post_init__(self) -> None:
        problems = check_choices(
            self,
            pooling=("class", "mean", "pooler"),
            norm=("final", "pooled", "none"),
            activation=tuple(ACTIVATIONS),
            pooler_activation=tuple(ACTIVATIONS),
            dtype=("float32", "bfloat16"),
        )
        sizes = ("image_size", "patch_size", "in_channels", "width", "depth", "heads")
        problems += [
            f"{name} must be at least 1, got {getattr(self, name)}"
            for name in (*sizes, "feed_forward")
            if getattr(self, name) < 1
        ]
        if 0 < self.image_size < self.patch_size:
            problems.append(
                f"image_size={self.image_size} holds no patch of patch_size={self.patch_size}"
            )
        if not self.head_size and self.heads > 0 and self.width % self.heads:
            problems.append(f"heads={self.heads} do not divide width={self.width}: set head_size")
        if not self.class_token and (self.pooling != "mean" or self.distilled_token):
            problems.append("without a class_token, pooling is 'mean' and no token is distilled")
        problems += [
            f"{name} is a share in [0, 1), got {getattr(self, name)}"
            for name in ("dropout", "attention_dropout", "drop_path")
            if not 0.0 <= getattr(self, name) < 1.0
        ]
        if problems:
            raise ValueError("this ViT cannot be built: " + "; ".join(problems))
        super().__post_init__()

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers from input to output."""
        final = ("final",) if self.norm != "none" else ()
        pooler = ("pooler",) if self.pooling == "pooler" else ()
        return ("embeddings", *(f"block_{i:02d}" for i in range(self.depth)), *final, *pooler)

    @property
    def feature_width(self) -> int:
        """Width of `Features.pooled`."""
        return (self.pooling == "pooler" and self.pooler_width) or self.width

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool | frozenset[str] = False
    ) -> Features:
        """Computes the features of normalised pictures.

        Args:
            image: Pictures, channels last.
            train: True, False, or the names of the layers that run in training mode.

        Raises:
            ValueError: If the pictures have another size or number of channels than the body.
        """
        check_channels("ViT", image.shape[-1], self.in_channels)
        if image.shape[1:3] != (self.image_size, self.image_size):
            raise ValueError(
                f"this ViT takes pictures of {self.image_size}x{self.image_size} pixels, got "
                f"{image.shape[1]}x{image.shape[2]}: resize the pictures, or build the body with "
                "another image_size and carry its positions over with the resize operation "
                "'position_grid'"
            )
        prefix = int(self.class_token) + int(self.distilled_token)
        embeddings = _Embeddings(
            width=self.width,
            patch=self.patch_size,
            prefix=tuple(
                name
                for name, there in (
                    ("class_token", self.class_token),
                    ("distilled_token", self.distilled_token),
                )
                if there
            ),
            prefix_positions=self.prefix_positions,
            dropout=self.dropout,
            dtype=self.dtype,
            name="embeddings",
        )
        x = embeddings(image, trains(train, "embeddings"))
        layers = {"embeddings": x}
        one = None if self.pooling == "mean" else jnp.zeros((x.shape[0],), jnp.int32)
        at = None
        # Argument 3 is `train`, which decides what is traced.
        block_class = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
        for i in range(self.depth):
            name = f"block_{i:02d}"
            block = block_class(
                heads=self.heads,
                feed_forward=self.feed_forward,
                activation=self.activation,
                norm_epsilon=self.norm_epsilon,
                pre_norm=True,
                dropout=self.dropout,
                attention_dropout=self.attention_dropout,
                head_size=self.head_size,
                attention_scale=self.attention_scale,
                qkv_bias=self.qkv_bias,
                layer_scale=self.layer_scale,
                drop_path=self.drop_path * i / max(self.depth - 1, 1),
                dtype=self.dtype,
                name=name,
            )
            last = i == self.depth - 1
            output = block(x, None, trains(train, name), one if last else None)
            x, at = output.whole, output.at
            layers[name] = x
        final = _Final(self.norm_epsilon, self.dtype, name="final")
        if self.norm == "final":
            x = layers["final"] = final(x)
            at = None if at is None else final(at)
        pooled = (x[:, prefix:].astype(jnp.float32).mean(1)) if at is None else at[:, 0]
        if self.norm == "pooled":
            pooled = layers["final"] = final(pooled)
        if self.pooling == "pooler":
            pooler = _Pooler(self.feature_width, self.pooler_activation, self.dtype, name="pooler")
            pooled = layers["pooler"] = pooler(pooled)
        side = self.image_size // self.patch_size
        return Features(
            pooled=pooled.astype(jnp.float32),
            sequence=x,
            maps=(x[:, prefix:].reshape(-1, side, side, self.width),),
            mask=jnp.ones(x.shape[:2], bool),
            layers=layers,
        )


class _Embeddings(nn.Module):
    width: int
    patch: int
    prefix: tuple[str, ...]
    prefix_positions: bool
    dropout: float
    dtype: str

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], train: bool) -> Float[Array, "b t d"]:
        x = _Patches(self.width, self.patch, self.dtype, name="patches")(image)
        tokens = [
            self.param(name, _INIT, (1, 1, self.width), jnp.float32).astype(self.dtype)
            for name in self.prefix
        ]
        first = [jnp.broadcast_to(token, (x.shape[0], 1, self.width)) for token in tokens]
        if self.prefix_positions:
            x = jnp.concatenate([*first, x], axis=1)
        shape = (1, x.shape[1], self.width)
        x = x + self.param("positions", _INIT, shape, jnp.float32).astype(self.dtype)
        if not self.prefix_positions:
            x = jnp.concatenate([*first, x], axis=1)
        return Dropout(self.dropout, name="dropout")(x, deterministic=not train)


class _Patches(nn.Module):
    """A convolution of windows that do not overlap, as one product: ``kernel`` [p p c d]."""

    width: int
    size: int
    dtype: str

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"]) -> Float[Array, "b t d"]:
        p, channels = self.size, image.shape[-1]
        kernel = self.param("kernel", _INIT, (p, p, channels, self.width), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.width,), jnp.float32)
        rows, columns = image.shape[1] // p, image.shape[2] // p
        x = image[:, : rows * p, : columns * p].astype(self.dtype)
        x = x.reshape(-1, rows, p, columns, p, channels).transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(-1, rows * columns, p * p * channels)
        matrix = jnp.asarray(kernel).reshape(-1, self.width)
        return affine(x, matrix.astype(self.dtype), jnp.asarray(bias).astype(self.dtype))


class _Final(nn.Module):
    epsilon: float
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
        return LayerNorm(self.epsilon, self.dtype, name="norm")(x)

    def returning(self, output: Array, x: Array) -> Array:
        """What a call returns whose output is known; of one token a row, it is the first."""
        return output[:, : x.shape[1]]


class _Pooler(nn.Module):
    features: int
    activation: str
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b _"]) -> Float[Array, "b d"]:
        dense = Dense(self.features, kernel_init=_INIT, dtype=self.dtype, name="dense")
        return ACTIVATIONS[self.activation](dense(x))


def _sized(width: int, depth: int, heads: int, patch: int, **fields: Any) -> dict[str, Any]:
    return {
        "patch_size": patch,
        "width": width,
        "depth": depth,
        "heads": heads,
        "feed_forward": 4 * width,
        **fields,
    }


_SIZES = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "huge": (1280, 32, 16),
}

VARIANTS: dict[str, dict[str, Any]] = {
    **{
        f"vit-{size}-patch{patch}": _sized(*_SIZES[size], patch)
        for size, patches in (
            ("tiny", (16,)),
            ("small", (16, 32)),
            ("base", (16, 32)),
            ("large", (14, 16, 32)),
            ("huge", (14,)),
        )
        for patch in patches
    },
    **{f"deit-{size}": _sized(*_SIZES[size], 16) for size in ("tiny", "small", "base")},
    **{
        f"deit-{size}-distilled": _sized(*_SIZES[size], 16, distilled_token=True)
        for size in ("tiny", "small", "base")
    },
}
"""The published networks: fields that differ from `ViT`'s defaults."""
