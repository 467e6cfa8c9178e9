"""Objectives over a vocabulary: equations on hand-made numbers, what counts, how sums add up.

Tried with the breaks: places without a target counted, rows of mask 0 counted, a mean where a sum
belongs, a tie called right, changes counted from one text to the next; each fails here.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn.objectives import MaskedPairs, MaskedTokens, NextTokens, ReplacedTokens, Seq2Seq
from tlearn.objectives.tokens import scored

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(4, 5, 7)).astype(np.float32)
TARGETS = RNG.integers(0, 7, (4, 5)).astype(np.int32)
TARGETS[0, 2] = TARGETS[1, 3:] = TARGETS[3] = -1
SEGMENTS = np.array([[1, 1, 1, 1, 1], [1, 1, 2, 2, 2], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], np.int32)
PAIRS = RNG.normal(size=(4, 2)).astype(np.float32)
LABEL = np.array([0, 1, 1, 0], np.int32)
SCORES = RNG.normal(size=(4, 5)).astype(np.float32)
REPLACED = RNG.random((4, 5)) < 0.4
TOKENS = [NextTokens(), MaskedTokens(), Seq2Seq()]


def batch(rows=slice(None), mask=None):
    mask = np.ones(4) if mask is None else np.asarray(mask)
    given = {"targets": TARGETS, "segments": SEGMENTS, "label": LABEL}
    given |= {"mask": mask.astype(np.float32)}
    return {name: jnp.asarray(value[rows]) for name, value in given.items()}


def outputs(objective, rows=slice(None)):
    if isinstance(objective, MaskedPairs):
        found = {"masked_lm": LOGITS, "next_sentence": PAIRS}
    elif isinstance(objective, ReplacedTokens):
        found = {"generator": LOGITS, "logits": SCORES, "replaced": REPLACED}
    else:
        found = LOGITS
    return jax.tree.map(lambda x: jnp.asarray(x[rows]), found)


def log_p(logits):
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def losses(rows=slice(None)):
    """Losses and right answers at every place, in float64; 0 where there is no target."""
    targets = TARGETS[rows]
    chosen = np.take_along_axis(log_p(LOGITS[rows]), np.maximum(targets, 0)[..., None], -1)
    right = (LOGITS[rows].argmax(-1) == targets) & (targets >= 0)
    return np.where(targets < 0, 0, -chosen[..., 0]), right


def close(found, wanted):
    assert float(found) == pytest.approx(float(wanted), rel=2e-6)


@pytest.mark.parametrize("objective", TOKENS, ids=lambda o: type(o).__name__)
def test_token_sums_are_the_definition_over_the_targets_alone(objective):
    for mask in ([1, 1, 1, 1], [1, 0, 1, 1]):
        rows = np.flatnonzero(mask)
        loss, right = losses(rows)
        sums = objective(outputs(objective), batch(mask=mask))
        close(sums.loss, loss.sum())
        assert sums.count == (TARGETS[rows] >= 0).sum()
        assert sums.metrics == {"accuracy": right.sum()}
        assert sums.counts == {}
        kept = objective.kept(outputs(objective), batch(mask=mask))
        real = np.where(np.array(mask)[:, None] > 0, TARGETS, -1) >= 0
        loss, right = losses()
        wanted = np.stack([(x * real).sum(1) for x in (loss, np.ones_like(loss), right)], 1)
        np.testing.assert_allclose(kept, wanted, rtol=1e-6)
    assert objective.unit == "targets"


@pytest.mark.parametrize("objective", TOKENS, ids=lambda o: type(o).__name__)
def test_two_half_batches_add_up_to_the_whole(objective):
    parts = [slice(0, 1), slice(1, 4)]
    halves = [objective(outputs(objective, rows), batch(rows)) for rows in parts]
    whole = objective(outputs(objective), batch())
    added = jax.tree.map(jnp.add, *halves)
    assert (added.count, added.metrics) == (whole.count, whole.metrics)
    close(added.loss, whole.loss)


def test_a_loss_by_hand_and_a_tie_is_not_right():
    logits = jnp.log(jnp.array([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2]]]))
    loss, right = scored(logits, jnp.array([[0, 1, 0]]))
    np.testing.assert_allclose(loss, [[np.log(2), np.log(10), np.log(2.5)]], rtol=1e-6)
    assert right.tolist() == [[True, False, False]]


def test_losses_of_bfloat16_are_taken_in_float32():
    logits = jnp.asarray(LOGITS, jnp.bfloat16)
    loss, _ = scored(logits, jnp.asarray(TARGETS))
    again, _ = scored(logits.astype(jnp.float32), jnp.asarray(TARGETS))
    assert loss.dtype == jnp.float32
    np.testing.assert_array_equal(loss, again)


def test_gradients_are_softmax_less_target_and_zero_where_nothing_is_predicted():
    def loss(logits):
        return MaskedTokens()(logits, batch(mask=[1, 0, 1, 1])).loss

    want = np.exp(log_p(LOGITS)) - np.eye(7)[TARGETS]
    real = (TARGETS >= 0) & (np.array([1, 0, 1, 1]) > 0)[:, None]
    np.testing.assert_allclose(jax.grad(loss)(LOGITS), want * real[..., None], atol=1e-6)


def test_predictions_at_other_places_than_the_targets_are_refused():
    given = batch() | {"places": jnp.zeros((4, 3), jnp.int32)}
    with pytest.raises(ValueError, match=r"\(4, 5, 7\).*\(4, 3\): pass places=batch\['places'\]"):
        MaskedTokens()(jnp.asarray(LOGITS), given | {"targets": jnp.zeros((4, 3), jnp.int32)})


def test_activation_penalties_are_published_means_on_full_rows():
    # Merity et al.: alpha * mean(dropped**2) + beta * mean((raw[1:] - raw[:-1])**2) beside a mean.
    dropped, raw = RNG.normal(size=(2, 3, 6, 4)).astype(np.float32)
    logits = RNG.normal(size=(3, 6, 7)).astype(np.float32)
    given = {
        "targets": jnp.asarray(RNG.integers(0, 7, (3, 6))),
        "segments": jnp.ones((3, 6), jnp.int32),
        "mask": jnp.ones(3),
    }
    given["targets"] = given["targets"].astype(jnp.int32)
    out = {"logits": jnp.asarray(logits), "dropped": jnp.asarray(dropped), "raw": jnp.asarray(raw)}
    plain = NextTokens()(out["logits"], given)
    sums = NextTokens(alpha=2.0, beta=3.0)(out, given)
    penalty = 2 * np.square(dropped).mean() + 3 * np.square(np.diff(raw, axis=1)).mean()
    close(sums.loss / sums.count, plain.loss / plain.count + penalty)
    close(sums.metrics["cross_entropy"], plain.loss)
    np.testing.assert_array_equal(
        NextTokens(2.0, 3.0).kept(out, given), NextTokens().kept(out["logits"], given)
    )
    # Evaluation hands on no activations.
    close(NextTokens(2.0, 3.0)(out["logits"], given).loss, plain.loss)


def test_activation_penalties_look_at_what_is_predicted_and_at_no_change_of_text():
    dropped, raw = RNG.normal(size=(2, 4, 5, 4)).astype(np.float32)
    out = {"logits": LOGITS, "dropped": dropped, "raw": raw}
    mask = np.array([1, 1, 1, 0])
    real = (TARGETS >= 0) & (mask > 0)[:, None]
    same = real[:, 1:] & real[:, :-1] & (SEGMENTS[:, 1:] == SEGMENTS[:, :-1])
    size = (np.square(dropped).mean(-1) * real).sum()
    change = (np.square(np.diff(raw, axis=1)).mean(-1) * same).sum() * 5 / 4
    out = jax.tree.map(jnp.asarray, out)
    plain = NextTokens()(out, batch(mask=mask)).loss
    close(NextTokens(alpha=1.0)(out, batch(mask=mask)).loss - plain, size)
    close(NextTokens(beta=1.0)(out, batch(mask=mask)).loss - plain, change)


def test_pairs_add_the_mean_of_masked_tokens_to_the_mean_of_pairs():
    for mask in ([1, 1, 1, 1], [1, 1, 0, 1]):
        rows = np.flatnonzero(mask)
        sums = MaskedPairs()(outputs(MaskedPairs()), batch(mask=mask))
        loss, right = losses(rows)
        pairs = -log_p(PAIRS)[np.arange(4), LABEL][rows]
        targets = (TARGETS[rows] >= 0).sum()
        close(sums.loss / sums.count, loss.sum() / targets + pairs.mean())
        assert sums.count == len(rows)
        means = {name: sums.metrics[name] / sums.counts[name] for name in sums.metrics}
        close(means["masked_loss"], loss.sum() / targets)
        close(means["masked_accuracy"], right.sum() / targets)
        close(means["pair_loss"], pairs.mean())
        close(means["pair_accuracy"], (PAIRS.argmax(1) == LABEL)[rows].mean())
    assert MaskedPairs().unit == "rows"


def test_replaced_tokens_weigh_the_mean_over_all_real_tokens():
    for mask in ([1, 1, 1, 1], [0, 1, 1, 1]):
        rows = np.flatnonzero(mask)
        sums = ReplacedTokens(weight=50.0)(outputs(ReplacedTokens()), batch(mask=mask))
        real = SEGMENTS[rows] > 0
        score, replaced = SCORES[rows].astype(np.float64)[real], REPLACED[rows][real]
        chance = 1 / (1 + np.exp(-score))
        binary = -np.log(np.where(replaced, chance, 1 - chance))
        masked = losses(rows)[0].sum() / (TARGETS[rows] >= 0).sum()
        close(sums.loss / sums.count, masked + 50 * binary.mean())
        assert sums.count == len(rows)
        means = {name: float(sums.metrics[name] / sums.counts[name]) for name in sums.metrics}
        close(means["generator_loss"], masked)
        close(means["replaced_loss"], binary.mean())
        close(means["replaced_accuracy"], ((score > 0) == replaced).mean())
        close(means["replaced_recall"], (score > 0)[replaced].mean())
        close(means["replaced_share"], replaced.mean())
        kept = ReplacedTokens().kept(outputs(ReplacedTokens()), batch(mask=mask))
        close(kept[:, 0].sum(), binary.sum())
        assert kept[:, 1].sum() == real.sum()
        assert kept[:, 2].sum() == ((score > 0) == replaced).sum()


@pytest.mark.parametrize("objective", [*TOKENS, MaskedPairs(), ReplacedTokens()])
def test_a_batch_without_targets_has_finite_sums_and_gradients(objective):
    given = batch(mask=[0, 0, 0, 0])
    found = outputs(objective)
    numbers = jax.tree.map(lambda x: x.astype(jnp.float32), found)

    def loss(numbers):
        again = jax.tree.map(lambda x, like: x if like.dtype != bool else like, numbers, found)
        return objective(again, given).loss

    assert loss(numbers) == 0
    assert all(not x.any() for x in jax.tree.leaves(jax.grad(loss)(numbers)))


def test_impossible_weights_are_refused():
    with pytest.raises(ValueError, match="alpha and beta"):
        NextTokens(alpha=-1.0)
    with pytest.raises(ValueError, match="weight must be positive"):
        ReplacedTokens(weight=0.0)
