"""ELECTRA as it is trained: a generator replaces masked tokens, a discriminator looks for them.

Shapes: b batch, t tokens, m masked tokens a row, e width of an embedding, v vocabulary.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tlearn.bodies.embeddings import Embeddings
from tlearn.bodies.features import Features, trains
from tlearn.heads.sampling import sampled
from tlearn.model import Model

_SHARED = ("tokens", "positions", "types", "norm")


class ReplacedTokenModel(Model):
    """A discriminator as the body; a generator and both heads as the head.

    The generator reads the masked tokens and is trained to predict them. A token drawn from each of
    its predictions goes into the text, which the discriminator reads. Drawing has no gradient: what
    the discriminator learns reaches the generator through the shared embeddings alone.

    As in the published code, all of the embeddings are shared: tokens, positions, types and their
    normalisation, all but a projection to the width (the paper speaks of tokens and positions).

    Attributes:
        body: A `tlearn.bodies.bert.Bert`, the discriminator.
        head: A `tlearn.heads.ReplacedTokenTraining`.

    Reference: Clark et al. 2020 (ELECTRA), sections 2 and 3.2.
    """

    reading: ClassVar[tuple[str, ...]] = ("places", "targets")

    def __post_init__(self) -> None:
        found = getattr(self.body, "family", None), getattr(self.head, "family", None)
        if found != ("bert", "replaced_token_training"):
            raise ValueError(
                f"replaced tokens are learned by a body of the family 'bert' with the head "
                f"'replaced_token_training', got {found[0]!r} with {found[1]!r}"
            )
        super().__post_init__()

    def both(
        self,
        *inputs: Int[Array, "b t"],
        train: bool | frozenset[str] = False,
        carry: None = None,
        places: Int[Array, "b m"] | None = None,
        targets: Int[Array, "b m"] | None = None,
    ) -> tuple[Features, dict[str, Array]]:
        """Computes the discriminator's features, and the outputs of both models.

        Tokens are drawn by the random stream ``sample``; without one, as in evaluation, by a fixed
        key.

        Args:
            *inputs: ``tokens`` (masked), ``segments`` and ``types``.
            train: Names of the layers in training mode (``head`` is one); True for all.
            carry: Nothing: these bodies carry no state.
            places: Where the masked tokens are; None for every place.
            targets: What they were, -1 where a place only fills the row. None if nothing was
                masked: then nothing is replaced.

        Returns:
            The features, and ``{"generator": [b m v], "logits": [b t], "replaced": [b t]}``: scores
            of the masked tokens, the discriminator's score that a token is replaced, and whether it
            is: a drawn token that equals the original is none.
        """
        del carry
        tokens, segments, types = inputs
        if places is None:
            places = jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape)
        if self.is_initializing():
            # The generator reads parameters of the body, which must be there before.
            self.body(tokens, segments, types, train=False)
        drops = train if isinstance(train, bool) else "head" in train
        embedded, table = self._embedded(tokens, segments, types, trains(train, "embeddings"))
        scores = self.head.proposals(embedded, segments, places, table, train=drops)
        if targets is None:
            read, replaced = tokens, jnp.zeros(tokens.shape, bool)
        else:
            key = self.make_rng("sample") if self.has_rng("sample") else jax.random.key(0)
            read, replaced = replace(tokens, places, targets, sampled(key, scores))
        features = self.body(read, segments, types, train=train)
        logits = self.head(features, train=drops)
        return features, {"generator": scores, "logits": logits, "replaced": replaced}

    def _embedded(
        self,
        tokens: Int[Array, "b t"],
        segments: Int[Array, "b t"],
        types: Int[Array, "b t"],
        drops: bool,
    ) -> tuple[Float[Array, "b t e"], Float[Array, "v e"]]:
        """Embeds tokens by the body's tables, before its projection; gives the token table too."""
        body: Any = self.body
        width = body.embedding_width or body.width
        embeddings: Any = Embeddings(
            vocab_size=body.vocab_size,
            width=width,
            embedding_width=width,
            positions=body.positions,
            position_offset=body.position_offset,
            types=body.types,
            norm_epsilon=body.norm_epsilon,
            dropout=body.dropout,
            init_std=body.init_std,
            dtype=body.dtype,
            parent=None,
            name="embeddings",
        )
        held = self.variables["params"]["body"]["embeddings"]
        shared = {name: held[name] for name in _SHARED if name in held}
        rngs = {"dropout": self.make_rng("dropout")} if drops and body.dropout else {}
        return embeddings.apply({"params": shared}, tokens, segments, types, drops, rngs=rngs)


def replace(
    tokens: Int[Array, "b t"],
    places: Int[Array, "b m"],
    targets: Int[Array, "b m"],
    drawn: Int[Array, "b m"],
) -> tuple[Int[Array, "b t"], Bool[Array, "b t"]]:
    """Puts drawn tokens where others were masked; tells which tokens are not the original ones.

    A token drawn equal to the original counts as real.

    Args:
        tokens: The text with its masks.
        places: Where it was masked.
        targets: What was there; -1 where a place only fills the row.
        drawn: What the generator proposes.

    Returns:
        The tokens that the discriminator reads, and whether each is replaced.

    Example:
        >>> text, m = jnp.array([[5, 0, 7, 0]]), jnp.array([[1, 3, 0]])
        >>> read, replaced = replace(text, m, jnp.array([[6, 8, -1]]), jnp.array([[6, 9, 4]]))
        >>> read.tolist(), replaced.tolist()
        ([[5, 6, 7, 9]], [[False, False, False, True]])
    """
    rows = jnp.arange(tokens.shape[0])[:, None]
    # What only fills the row is written beyond its end, that is nowhere.
    places = jnp.where(targets >= 0, places, tokens.shape[1])
    read = tokens.at[rows, places].set(drawn.astype(tokens.dtype), mode="drop")
    replaced = jnp.zeros(tokens.shape, bool)
    return read, replaced.at[rows, places].set(drawn != targets, mode="drop")


def joined(body: Any, head: Any) -> Model:
    """Joins a body and a head to the model that the head is made for."""
    if getattr(head, "family", None) == "replaced_token_training":
        return ReplacedTokenModel(body=body, head=head)
    return Model(body=body, head=head)
