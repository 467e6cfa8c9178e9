"""What ELECTRA is trained with beside its body: a small generator, and both heads.

Shapes: b batch, t tokens, m predictions a row, d width of the discriminator, e width of an
embedding, v vocabulary.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tlearn.bodies.activations import ACTIVATIONS
from tlearn.bodies.bert import Bert
from tlearn.bodies.checks import check_choices, check_sizes
from tlearn.bodies.dense import Dense
from tlearn.bodies.features import Features
from tlearn.bodies.transformer import Block
from tlearn.heads.language import MaskedLM, ReplacedToken


class ReplacedTokenTraining(nn.Module):
    """A generator, its head for masked words, and the discriminator's head for replaced tokens.

    ``generator`` is a BERT without embeddings: it reads the discriminator's, which
    `tlearn.replaced.ReplacedTokenModel` hands over, through a ``projection`` of its own where it
    has another width. ``masked_lm`` scores words by the discriminator's token embedding, and
    ``replaced_token`` the discriminator's tokens.

    Attributes:
        width: Of the generator.
        depth: Its blocks.
        heads: Its attention heads.
        feed_forward: Width inside its feed-forward parts.
        activation: Of all parts.
        norm_epsilon: Added to variances.
        dropout: As in `tlearn.bodies.bert.Bert`.
        attention_dropout: The same.
        init_std: The same.
        attention_form: The same.
        dtype: The same.
        remat: The same.

    Reference: Clark et al. 2020 (ELECTRA), sections 2 and 3.2.
    """

    width: int = 64
    depth: int = 12
    heads: int = 1
    feed_forward: int = 256
    activation: str = "gelu"
    norm_epsilon: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    init_std: float = 0.02
    attention_form: str = "auto"
    dtype: str = "float32"
    remat: bool = False

    family: ClassVar[str] = "replaced_token_training"

    def __post_init__(self) -> None:
        problems = check_choices(
            self,
            activation=tuple(ACTIVATIONS),
            attention_form=("auto", "plain", "cudnn"),
            dtype=("float32", "bfloat16"),
        )
        problems += check_sizes(
            self,
            ones=("width", "depth", "heads", "feed_forward"),
            chances=("dropout", "attention_dropout"),
        )
        if problems:
            raise ValueError("this generator cannot be built: " + "; ".join(problems))
        super().__post_init__()

    def setup(self) -> None:
        """Names the parts."""
        self.generator = _Generator(
            width=self.width,
            depth=self.depth,
            remat=self.remat,
            block=(
                ("heads", self.heads),
                ("feed_forward", self.feed_forward),
                ("activation", self.activation),
                ("norm_epsilon", self.norm_epsilon),
                ("dropout", self.dropout),
                ("attention_dropout", self.attention_dropout),
                ("init_std", self.init_std),
                ("attention_form", self.attention_form),
                ("dtype", self.dtype),
            ),
        )
        self.masked_lm = MaskedLM(self.activation, self.norm_epsilon)
        self.replaced_token = ReplacedToken(self.activation)

    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "b t"]:
        """Computes the discriminator's logits: that a token was replaced."""
        return self.replaced_token(features, train=train)

    def proposals(
        self,
        embedded: Float[Array, "b t e"],
        segments: Int[Array, "b t"],
        places: Int[Array, "b m"],
        table: Float[Array, "v e"],
        *,
        train: bool,
    ) -> Float[Array, "b m v"]:
        """Computes the generator's scores of what stands at some places.

        Args:
            embedded: The masked tokens, embedded by the discriminator's tables.
            segments: 0 on padding, else the number of the example within the row.
            places: Where to predict.
            table: The discriminator's token embedding.
            train: Whether to drop elements.
        """
        whole = self.generator(embedded, segments, train)
        chosen = jnp.take_along_axis(whole, places[..., None], axis=1)
        return self.masked_lm(Features(sequence=chosen, table=table), train=train)


class _Generator(nn.Module):
    width: int
    depth: int
    remat: bool
    block: tuple[tuple[str, Any], ...]

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t e"], segments: Int[Array, "b t"], train: bool
    ) -> Float[Array, "b t d"]:
        fields = dict(self.block)
        if x.shape[-1] != self.width:
            init = nn.initializers.truncated_normal(fields["init_std"])
            x = Dense(self.width, kernel_init=init, dtype=fields["dtype"], name="projection")(x)
        block: Any = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
        for i in range(self.depth):
            x = block(**fields, name=f"block_{i:02d}")(x, segments, train, None).whole
        return x


def training_head(
    body: Bert, *, fraction: float = 0.25, depth_fraction: float = 1.0, **fields: Any
) -> ReplacedTokenTraining:
    """Sizes a generator as a fraction of a discriminator, as the published code does.

    The width is the rounded fraction, a head has 64 of it (one head at least), the feed-forward
    parts four times of it. ELECTRA takes a quarter of the width for its small and large models, a
    third for its base model, and all of the depth.

    Args:
        body: The discriminator.
        fraction: Of its width.
        depth_fraction: Of its blocks.
        **fields: Fields of `ReplacedTokenTraining` to set otherwise.

    Raises:
        ValueError: If a fraction is not in (0, 1].
    """
    for name, value in (("fraction", fraction), ("depth_fraction", depth_fraction)):
        if not 0 < value <= 1:
            raise ValueError(f"{name} is a share in (0, 1], got {value}")
    width = max(1, round(body.width * fraction))
    heads = max(1, width // 64)
    # The published widths divide; of others, the next smaller number of heads that does.
    heads = next(n for n in range(heads, 0, -1) if width % n == 0)
    sizes: dict[str, Any] = {
        "width": width,
        "depth": max(1, round(body.depth * depth_fraction)),
        "heads": heads,
        "feed_forward": 4 * width,
    }
    same = ("activation", "norm_epsilon", "dropout", "attention_dropout", "init_std")
    same += ("attention_form", "dtype", "remat")
    sizes |= {name: getattr(body, name) for name in same}
    return ReplacedTokenTraining(**(sizes | fields))
