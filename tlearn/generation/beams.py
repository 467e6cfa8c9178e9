"""Beam search: the likeliest texts so far are all carried on.

Shapes: b rows given, w beams, c candidates, n tokens made, v vocabulary.

References: Wu et al. 2016 (GNMT), section 7, for scores by length; the rules on when to stop are
those of transformers' ``generate``, so that the same texts come out.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from tlearn.generation.decoding import Choice, Generated
from tlearn.generation.options import Numbers, Options
from tlearn.generation.scores import History, adjusted

# The score of what is no text: below any real one, and finite, so that sums stay so.
_NEVER = -1.0e9


@struct.dataclass
class Search:
    """A search under way.

    Attributes:
        tokens: What the beams have made: [b w n].
        scores: Sums of log-probabilities: [b w], highest first.
        finished: The best texts that have ended: [b w n].
        lengths: Their lengths: [b w].
        values: Their scores by length: [b w], highest first.
        held: Which of them are there: [b w].
        open: Whether the row's beams may still beat them: [b].
    """

    tokens: Any
    scores: Any
    finished: Any
    lengths: Any
    values: Any
    held: Any
    open: Any


@struct.dataclass
class Beams:
    """Chooses the tokens that carry the likeliest texts on.

    Attributes:
        options: How.
        numbers: How strongly.
    """

    options: Options = struct.field(pytree_node=False)
    numbers: Numbers

    def begin(self, rows: int, vocabulary: int) -> Search:
        """Beams of nothing; all but the first are none, or they would all become the same."""
        del vocabulary
        shape = (rows, self.options.beams)
        blank = jnp.full((*shape, self.options.steps), self.options.pad, jnp.int32)
        return Search(
            tokens=blank,
            scores=jnp.full(shape, _NEVER).at[:, 0].set(0.0),
            finished=blank,
            lengths=jnp.zeros(shape, jnp.int32),
            values=jnp.full(shape, _NEVER),
            held=jnp.zeros(shape, bool),
            open=jnp.ones(rows, bool),
        )

    def choose(
        self, step: Int[Array, ""], scores: Float[Array, "r v"], history: History, state: Search
    ) -> Choice:
        """Takes the best candidates of each row: ended ones are kept aside, others carried on."""
        rows, width = state.scores.shape
        vocabulary = scores.shape[-1]
        gained = adjusted(
            jax.nn.log_softmax(scores, axis=-1), history, step, self.options, self.numbers
        )
        sums = state.scores[..., None] + gained.reshape(rows, width, vocabulary)
        # So many that enough remain to go on with, were all the best to end.
        count = width * (1 + max(len(self.options.ends), 1))
        sums, places = jax.lax.top_k(sums.reshape(rows, -1), count)
        beams, tokens = places // vocabulary, (places % vocabulary).astype(jnp.int32)
        texts = jnp.take_along_axis(state.tokens, beams[..., None], axis=1)
        texts = jax.lax.dynamic_update_slice_in_dim(texts, tokens[..., None], step, axis=2)
        ends = jnp.isin(tokens, jnp.asarray(self.options.ends, jnp.int32))
        ends = ends | (step + 1 >= self.options.steps)
        running, chosen = jax.lax.top_k(jnp.where(ends, sums + _NEVER, sums), width)
        state = self._finish(state, step, texts, sums, ends)
        state = dataclasses.replace(
            state, tokens=jnp.take_along_axis(texts, chosen[..., None], axis=1), scores=running
        )
        state = dataclasses.replace(state, open=state.open & self._hopeful(state, step + 1))
        done = ~state.open.any()
        if self.options.early_stopping is True:
            done = done | state.held.all()
        within = jnp.take_along_axis(beams, chosen, axis=1)
        origins = (jnp.arange(rows)[:, None] * width + within).reshape(-1)
        following = jnp.take_along_axis(tokens, chosen, axis=1).reshape(-1)
        return Choice(tokens=following, origins=origins, state=state, done=done)

    def _finish(
        self,
        state: Search,
        step: Array,
        texts: Int[Array, "b c n"],
        sums: Float[Array, "b c"],
        ends: Bool[Array, "b c"],
    ) -> Search:
        """Puts candidates that end among the best texts, where the row is still open."""
        width = self.options.beams
        count = sums.shape[1]
        # Those behind the first `width` are there to be carried on only.
        fit = ends & (jnp.arange(count) < width)[None]
        shut = ~state.open
        if self.options.early_stopping is True:
            shut = shut | state.held.all(1)
        values = sums / self._power(step + 1)
        values = jnp.where(fit, values, values + _NEVER)
        values = jnp.where(shut[:, None], values + _NEVER, values)

        def both(old: Array, new: Array, best: Array) -> Array:
            joined = jnp.concatenate([old, new], axis=1)
            return jnp.take_along_axis(joined, best.reshape(*best.shape, *[1] * (old.ndim - 2)), 1)

        kept, best = jax.lax.top_k(jnp.concatenate([state.values, values], axis=1), width)
        lengths = jnp.broadcast_to(step.astype(jnp.int32) + 1, sums.shape)
        return dataclasses.replace(
            state,
            finished=both(state.finished, texts, best),
            lengths=both(state.lengths, lengths, best),
            held=both(state.held, fit & ~shut[:, None], best),
            values=kept,
        )

    def _hopeful(self, state: Search, made: Array) -> Bool[Array, " b"]:
        """Whether the best beam of a row may still beat the worst text that it holds."""
        length = made
        if self.options.early_stopping == "never":
            length = jnp.where(self.numbers.length_penalty > 0, self.options.steps, made)
        best = state.scores[:, 0] / self._power(length)
        worst = jnp.where(state.held, state.values.min(1, keepdims=True), _NEVER)
        return (best[:, None] > worst).any(1)

    def _power(self, length: Array) -> Float[Array, ""]:
        return length.astype(jnp.float32) ** self.numbers.length_penalty

    def texts(self, state: Search) -> Generated:
        """The best texts of each row, best first."""
        best = slice(0, self.options.returned)
        lengths = state.lengths[:, best]
        real = jnp.arange(self.options.steps)[None, None] < lengths[..., None]
        return Generated(
            tokens=jnp.where(real, state.finished[:, best], self.options.pad),
            lengths=lengths,
            scores=state.values[:, best],
        )
