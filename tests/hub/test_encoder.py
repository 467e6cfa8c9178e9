"""The encoder of a T5 alone: its weights as they were, its decoder and head left behind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies, heads, hub
from tlearn.bodies import describe
from tlearn.model import Model, initialise, variables

SIZES = {"width": 8, "depth": 2, "heads": 2, "head_size": 4, "feed_forward": 16, "dropout": 0.0}


def test_it_computes_what_the_whole_models_encoder_does():
    body = bodies.create("t5", vocab_size=12, decoder_depth=1, **SIZES)
    model = Model(body, heads.create("causal_lm"))
    tokens = jnp.arange(10).reshape(2, 5)
    segments = jnp.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    params, _ = initialise(model, jax.random.key(0), tokens, segments, tokens, segments)
    whole = hub.Source(
        params=params, collections={}, body=describe(body), head={"family": "causal_lm"}
    )
    alone = hub.encoder_alone(whole)
    assert alone.head is None
    assert not [path for path in alone.params if "decoder" in path]
    plain = bodies.build(dict(alone.body))
    assert plain.inputs == ("tokens", "segments")
    ours = {path.removeprefix("body/"): value for path, value in alone.params.items()}
    features = plain.apply(variables(ours, {}), tokens, segments)
    theirs = model.apply(
        variables(params, {}), tokens, segments, tokens, segments, method="features"
    )
    real = np.asarray(segments) > 0
    np.testing.assert_array_equal(features.sequence[real], theirs.layers["encoder_final"][real])
    assert features.pooled.shape == (2, 8)


def test_a_body_without_a_decoder_is_refused():
    body = describe(bodies.create("t5", vocab_size=12, decoder_depth=0, **SIZES))
    with pytest.raises(hub.HubError, match="no decoder to leave behind"):
        hub.encoder_alone(hub.Source(params={}, collections={}, body=body))
