"""Texts that are made each on its own: by the likeliest token at every step, or by a draw.

Shapes: b rows given, r texts in the making, n tokens made, v vocabulary.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from tlearn.generation.decoding import Choice, Generated
from tlearn.generation.options import Numbers, Options
from tlearn.generation.scores import History, adjusted, chances, draw
from tlearn.train.random import stream


@struct.dataclass
class Making:
    """Texts in the making.

    Attributes:
        tokens: What was made so far, padding behind it: [r n].
        lengths: How many of them are real: [r].
        scores: Sum of the log-probabilities the model gave them: [r].
        ended: Whether an end was made: [r].
    """

    tokens: Any
    lengths: Any
    scores: Any
    ended: Any


@struct.dataclass
class OneByOne:
    """Chooses a token for every text, whatever the others are.

    Attributes:
        options: How.
        numbers: How strongly.
        keys: A typed PRNG key for each text: [r]; None if the likeliest tokens are taken.
    """

    options: Options = struct.field(pytree_node=False)
    numbers: Numbers
    keys: Any = None

    def begin(self, rows: int, vocabulary: int) -> Making:
        """Nothing is made yet."""
        del vocabulary
        texts = rows * self.options.copies
        return Making(
            tokens=jnp.full((texts, self.options.steps), self.options.pad, jnp.int32),
            lengths=jnp.zeros(texts, jnp.int32),
            scores=jnp.zeros(texts, jnp.float32),
            ended=jnp.zeros(texts, bool),
        )

    def choose(
        self, step: Int[Array, ""], scores: Float[Array, "r v"], history: History, state: Making
    ) -> Choice:
        """Takes or draws a token for every text; of equals, the first is taken."""
        likely = adjusted(scores, history, step, self.options, self.numbers)
        if self.keys is None:
            chosen = jnp.argmax(likely, axis=-1).astype(jnp.int32)
        else:
            keys = jax.vmap(jax.random.fold_in, (0, None))(self.keys, step)
            uniform = jax.vmap(jax.random.uniform)(keys)
            chosen = draw(chances(likely, self.options, self.numbers), uniform)
        of_model = jnp.take_along_axis(scores, chosen[:, None], axis=1)[:, 0]
        gained = of_model - jax.nn.logsumexp(scores, axis=-1)
        chosen = jnp.where(state.ended, self.options.pad, chosen)
        ends = jnp.isin(chosen, jnp.asarray(self.options.ends, jnp.int32))
        ended = state.ended | ends
        made = Making(
            tokens=jax.lax.dynamic_update_slice_in_dim(state.tokens, chosen[:, None], step, axis=1),
            lengths=state.lengths + ~state.ended,
            scores=state.scores + jnp.where(state.ended, 0.0, gained),
            ended=ended,
        )
        return Choice(tokens=chosen, origins=None, state=made, done=ended.all())

    def texts(self, state: Making) -> Generated:
        """What was made, by row and text."""
        copies = self.options.copies

        def by_row(leaf: Array) -> Array:
            return leaf.reshape(-1, copies, *leaf.shape[1:])

        return Generated(by_row(state.tokens), by_row(state.lengths), by_row(state.scores))


def text_keys(key: Key[Array, ""], rows: Int[Array, " b"], copies: int) -> Key[Array, " r"]:
    """The key of each text: its row's number and its own within the row name it, nothing else."""
    root = stream(key, "generation")
    of_rows = jax.vmap(lambda row: jax.random.fold_in(root, row))(rows)
    within = jnp.arange(copies)
    each = jax.vmap(lambda one: jax.vmap(lambda i: jax.random.fold_in(one, i))(within))(of_rows)
    return each.reshape(-1)
