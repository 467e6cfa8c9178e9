"""Next tokens beside labels: which tokens follow, what each loss weighs, whose parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import Model, bodies, heads, initialise
from tlearn.heads.beside_labels import BesideLabels
from tlearn.model import variables
from tlearn.objectives import Classification, LabelsAndNextTokens, Regression
from tlearn.objectives.labels_and_next_tokens import following

BATCH = {
    "tokens": jnp.array([[5, 6, 7, 0], [8, 9, 4, 3], [2, 0, 0, 0], [4, 4, 4, 4]], jnp.int32),
    "segments": jnp.array([[1, 1, 1, 0], [1, 1, 2, 2], [1, 0, 0, 0], [1, 1, 1, 1]], jnp.int32),
    "label": jnp.array([0, 2, 1, 0], jnp.int32),
    "mask": jnp.array([1, 1, 1, 0], jnp.float32),
}


def model(kind):
    body = bodies.create("gpt2", width=8, depth=1, heads=2, vocab_size=10, positions=4)
    return Model(body, heads.create(kind, classes=3))


def test_what_follows_is_in_the_same_text():
    found = following(BATCH)
    assert found.tolist() == [[6, 7, -1, -1], [9, -1, 3, -1], [-1] * 4, [4, 4, 4, -1]]


def test_the_loss_is_the_labels_and_the_mean_of_each_text():
    draw = np.random.default_rng(0)
    shapes = {"labels": (4, 3), "next_tokens": (4, 4, 10)}
    outputs = {name: jnp.asarray(draw.normal(size=shape)) for name, shape in shapes.items()}
    found = LabelsAndNextTokens(Classification(3), 0.25)(outputs, BATCH)
    plain = Classification(3)(outputs["labels"], BATCH)
    log_p = np.asarray(jax.nn.log_softmax(outputs["next_tokens"]))
    # The third text has one token, after which nothing comes; the fourth only fills the batch.
    first = -(log_p[0, 0, 6] + log_p[0, 1, 7]) / 2
    second = -(log_p[1, 0, 9] + log_p[1, 2, 3]) / 2
    assert found.metrics["language_loss"] == pytest.approx(first + second, rel=1e-6)
    assert found.metrics["label_loss"] == plain.loss
    assert found.loss == pytest.approx(float(plain.loss + 0.25 * (first + second)), rel=1e-6)
    assert (found.count, found.metrics["accuracy"]) == (3, plain.metrics["accuracy"])


def test_numbers_have_texts_too():
    outputs = {"labels": jnp.zeros((4, 1)), "next_tokens": jnp.zeros((4, 4, 10))}
    found = LabelsAndNextTokens(Regression(), 1.0)(outputs, BATCH | {"label": jnp.zeros(4)})
    assert found.loss == pytest.approx(2 * np.log(10), rel=1e-6)


def test_no_weight_is_no_objective():
    with pytest.raises(ValueError, match="weight is 0"):
        LabelsAndNextTokens(Classification(3), 0.0)


@pytest.mark.parametrize("kind", ["linear", "ulmfit"])
def test_parameters_and_answers_are_the_heads_own(kind):
    plain = model(kind)
    both = Model(plain.body, BesideLabels(plain.head))
    given = [BATCH[name] for name in plain.body.inputs]
    (params, statistics), (theirs, others) = (
        initialise(m, jax.random.key(0), *given) for m in (plain, both)
    )
    assert params.keys() == theirs.keys()
    assert statistics.keys() == others.keys()
    jax.tree.map(np.testing.assert_array_equal, params, theirs)
    tree = variables(params, statistics)
    features, logits = plain.apply(tree, *given, method="both")
    outputs = both.apply(tree, *given)
    np.testing.assert_array_equal(outputs["labels"], logits)
    scores = features.sequence @ params["body/embeddings/tokens/embedding"].T
    np.testing.assert_allclose(outputs["next_tokens"], scores, rtol=1e-5, atol=1e-6)
