"""The pull: every proximal step against brute force, limits at λ = 0, λ → ∞ and at the source."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize

from tlearn.params import RuleError
from tlearn.transfer import pull
from tlearn.transfer.pull import FORMS, Pull

SHAPES = {
    "body/a/kernel": (2, 3),
    "body/a/bias": (3,),
    "body/b/conv": (1, 2, 2, 2),
}
SPARSE = {"norm", "group", "l1"}


def draw(seed, scale=1.0, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return {p: jnp.asarray(scale * rng.normal(size=s), jnp.float32) for p, s in shapes.items()}


def weights(form, seed=9):
    return {p: jnp.abs(v) for p, v in draw(seed).items()} if form == "fisher" else None


def everywhere(value, paths=SHAPES):
    return {path: jnp.float32(value) for path in paths}


def shifted(source, seed, scale):
    return {path: source[path] + step for path, step in draw(seed, scale).items()}


def reference(form, d, fisher):
    """The definition, in plain NumPy, per element, channel or parameter."""
    if form == "l2sp":
        return 0.5 * np.sum(d**2)
    if form == "fisher":
        return 0.5 * np.sum(fisher * d**2)
    if form == "norm":
        return np.sqrt(np.sum(d**2))
    if form == "l1":
        return np.sum(np.abs(d))
    groups = [d[..., c] for c in range(d.shape[-1])] if d.ndim > 1 else [d]
    return sum(np.sqrt(g.size) * np.sqrt(np.sum(g**2)) for g in groups)


@pytest.mark.parametrize("form", FORMS)
def test_distance_is_the_definition(form):
    source, w, fisher = draw(0), draw(1), weights(form)
    got = pull.distance(form, w, source, fisher)
    for path in SHAPES:
        d = np.asarray(w[path] - source[path])
        want = reference(form, d, None if fisher is None else np.asarray(fisher[path]))
        assert got[path] == pytest.approx(want, rel=1e-5)
    strength = {"body/a/kernel": 2.0, "body/a/bias": 0.5}
    total = pull.penalty(form, w, source, strength, fisher)
    assert total == pytest.approx(
        float(2 * got["body/a/kernel"] + got["body/a/bias"] / 2), rel=1e-5
    )


@pytest.mark.parametrize("scale", [1.0, 0.05, 0.0])
@pytest.mark.parametrize("form", FORMS)
def test_prox_is_the_brute_force_minimum(form, scale):
    source, fisher, size = draw(0), weights(form), 0.1
    w = shifted(source, 1, scale)
    got = pull.prox(form, w, source, everywhere(size), fisher)
    for path, shape in SHAPES.items():
        f = None if fisher is None else np.asarray(fisher[path], np.float64)
        v, w0 = np.asarray(w[path], np.float64), np.asarray(source[path], np.float64)

        def objective(u, v=v, w0=w0, f=f, shape=shape):
            u = u.reshape(shape)
            return 0.5 * np.sum((u - v) ** 2) + size * reference(form, u - w0, f)

        rng = np.random.default_rng(3)
        starts = [v, w0 + 0.3 * (v - w0) + 0.01 * rng.normal(size=shape)]
        best = min(
            minimize(objective, s.ravel(), method=m, tol=1e-12, options={"maxiter": 1000}).fun
            for s in starts
            for m in ("Powell", "BFGS")
        )
        best = min(best, objective(w0.ravel()))
        value = objective(np.asarray(got[path], np.float64).ravel())
        assert value <= best + 1e-7 * max(1.0, abs(best)), path
        # And a true local minimum: no nearby point is better.
        for _ in range(50):
            near = np.asarray(got[path], np.float64) + 1e-3 * rng.normal(size=shape)
            assert objective(near.ravel()) >= value - 1e-8


@pytest.mark.parametrize("act", [pull.prox, pull.shrink])
@pytest.mark.parametrize("form", FORMS)
def test_step_zero_is_the_identity_bit_for_bit(form, act):
    # Fails where prox gives w_source + 1 · (w − w_source) without choosing w.
    source, fisher = draw(0), weights(form)
    w = shifted(source, 1, 1e-3)
    w["body/a/bias"] = w["body/a/bias"].at[0].set(-0.0)
    new = jax.jit(lambda w, s: act(form, w, source, s, fisher))(w, everywhere(0.0))
    for path in w:
        assert np.asarray(new[path]).tobytes() == np.asarray(w[path]).tobytes()


@pytest.mark.parametrize("form", FORMS)
def test_strength_zero_leaves_a_loss_and_its_gradient_bit_for_bit(form):
    source, fisher, w = draw(0), weights(form), draw(1)

    def loss(w):
        return sum(jnp.sum(jnp.sin(v)) for v in w.values())

    def pulled(w, strength):
        return loss(w) + pull.penalty(form, w, source, strength, fisher)

    value, grads = jax.jit(jax.value_and_grad(loss))(w)
    value_0, grads_0 = jax.jit(jax.value_and_grad(pulled))(w, everywhere(0.0))
    assert value == value_0
    for path in w:
        assert np.asarray(grads[path]).tobytes() == np.asarray(grads_0[path]).tobytes()


@pytest.mark.parametrize("form", FORMS)
def test_an_infinite_step_is_the_source_bit_for_bit(form):
    source, fisher = draw(0), weights(form)
    for size in (jnp.inf, 1e30):
        new = pull.prox(form, draw(1), source, everywhere(size), fisher)
        for path in source:
            assert np.asarray(new[path]).tobytes() == np.asarray(source[path]).tobytes()
    free = pull.prox("fisher", draw(1), source, everywhere(jnp.inf), draw(0, scale=0.0))
    for path in source:
        assert free[path].tobytes() == draw(1)[path].tobytes(), "F = 0 is not pulled"


@pytest.mark.parametrize("form", FORMS)
def test_gradient_at_the_source_is_zero_and_finite(form):
    # Law 10. Fails with a plain jnp.sqrt in _safe_sqrt (NaN) and a plain jnp.abs in l1 (slope 1).
    source, fisher = draw(0), weights(form)

    def term(w, lam):
        return pull.penalty(form, w, source, everywhere(lam), fisher)

    @jax.jit
    def slopes(w):
        lams = jnp.arange(3.0)
        total = jax.grad(lambda w: jnp.sum(jax.vmap(term, in_axes=(None, 0))(w, lams)))
        curved = jax.jvp(jax.grad(lambda w: term(w, 1.0)), (w,), (draw(2),))[1]
        each = jax.vmap(jax.grad(term), in_axes=(None, 0))
        return (jax.grad(term)(w, 3.0), each(w, lams), total(w)), curved

    grads, curvature = slopes(source)
    assert all((v == 0).all() for v in jax.tree.leaves(jax.device_get(grads)))
    assert all(np.isfinite(v).all() for v in curvature.values())
    part = draw(1) | {"body/a/bias": source["body/a/bias"]}
    part["body/a/kernel"] = part["body/a/kernel"].at[:, 0].set(source["body/a/kernel"][:, 0])
    grads, curvature = slopes(part)
    assert all(np.isfinite(v).all() for v in jax.tree.leaves(grads)), "one group at the source"
    stay = pull.shrink(form, source, source, everywhere(0.5), fisher)
    for path in source:
        assert stay[path].tobytes() == source[path].tobytes()


@pytest.mark.parametrize("form", sorted(SPARSE))
def test_unsquared_forms_land_exactly_on_the_source_and_explicit_steps_do_not(form):
    source = draw(0)
    w = shifted(source, 1, 0.01)
    near = pull.prox(form, w, source, everywhere(0.1))
    for path in source:
        assert near[path].tobytes() == source[path].tobytes()
    explicit = pull.shrink(form, w, source, everywhere(0.1))
    assert any((np.asarray(explicit[p]) != np.asarray(source[p])).any() for p in source)
    # Two channels, one far from the source and one near it: each goes its own way.
    w0, far = jnp.zeros((3, 2)), jnp.stack([jnp.full(3, 5.0), jnp.full(3, 1e-3)], axis=1)
    new = pull.prox(form, {"k": far}, {"k": w0}, {"k": 0.1})["k"]
    assert (np.asarray(new[:, 0]) > 4).all()
    assert (np.asarray(new[:, 1]) == 0).all() == (form != "norm")


def pulled_update(form, way, w, updates, source, step, fisher=None):
    """Adds updates and pulls: before them at the old weights, or after them by proximal steps."""
    w = pull.shrink(form, w, source, step, fisher) if way == "decoupled" else w
    new = {path: value + updates[path] for path, value in w.items()}
    return pull.prox(form, new, source, step, fisher) if way == "proximal" else new


def run(form, way, optimizer, steps=20, lam=0.3, rate=0.1):
    source, w, fisher, target = draw(0), draw(0), weights(form), draw(5)
    state = optimizer.init(w)

    @jax.jit
    def update(w, state):
        def loss(w):
            fit = sum(jnp.sum((w[p] - target[p]) ** 2) for p in w)
            extra = pull.penalty(form, w, source, everywhere(lam), fisher) if way == "loss" else 0.0
            return fit + extra

        updates, state = optimizer.update(jax.grad(loss)(w), state, w)
        step = everywhere(rate * lam)
        return pulled_update(form, way, w, updates, source, step, fisher), state

    for _ in range(steps):
        w, state = update(w, state)
    return np.concatenate([np.ravel(w[p]) for p in sorted(w)])


@pytest.mark.parametrize("form", FORMS)
def test_loss_and_decoupled_agree_under_sgd_and_differ_under_adam(form):
    sgd, adam = optax.sgd(0.1), optax.adam(0.1)
    np.testing.assert_allclose(run(form, "loss", sgd), run(form, "decoupled", sgd), atol=1e-5)
    assert np.abs(run(form, "loss", adam) - run(form, "decoupled", adam)).max() > 1e-2


@pytest.mark.parametrize("way", ["loss", "decoupled", "proximal"])
def test_squared_pull_reaches_the_optimum_of_the_theory(way):
    # Li et al. 2018, §3: the optimum is (H + λI)⁻¹ (H w* + λ w0).
    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 4))
    hessian, optimum, lam, rate = root @ root.T + np.eye(4), rng.normal(size=4), 2.0, 0.02
    w0 = rng.normal(size=4)
    want = np.linalg.solve(hessian + lam * np.eye(4), hessian @ optimum + lam * w0)
    h, best, source = jnp.asarray(hessian), jnp.asarray(optimum), {"w": jnp.asarray(w0)}

    @jax.jit
    def train(w):
        def update(_, w):
            def loss(w):
                d = w["w"] - best
                extra = pull.penalty("l2sp", w, source, {"w": lam}) if way == "loss" else 0.0
                return 0.5 * d @ h @ d + extra

            updates = jax.tree.map(lambda g: -rate * g, jax.grad(loss)(w))
            return pulled_update("l2sp", way, w, updates, source, {"w": rate * lam})

        return jax.lax.fori_loop(0, 2000, update, w)

    np.testing.assert_allclose(train(source)["w"], want, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_distance_falls_along_a_path_of_strengths_in_one_program(form):
    source, fisher, target = draw(0), weights(form), draw(5)
    traces = []

    @jax.jit
    def train(lam):
        traces.append(1)

        def update(_, w):
            updates = {p: -0.2 * (w[p] - target[p]) for p in w}
            return pulled_update(
                form,
                "proximal",
                w,
                updates,
                source,
                {p: 0.2 * lam for p in SHAPES},
                fisher,
            )

        w = jax.lax.fori_loop(0, 100, update, source)
        return sum(jnp.sum((w[p] - source[p]) ** 2) for p in w)

    path = [float(train(lam)) for lam in (0.0, 0.01, 0.1, 0.5, 2.0, 100.0)]
    assert len(traces) == 1
    assert all(a >= b for a, b in itertools.pairwise(path)), path
    assert path[0] > 1
    assert path[-1] < (0.1 if form in ("l2sp", "fisher") else 1e-12)
    many = jax.vmap(train)(jnp.array([0.0, 0.01, 0.1, 0.5, 2.0, 100.0]))
    np.testing.assert_allclose(many, path, rtol=1e-5, atol=1e-6)


def test_bfloat16_weights_are_pulled_in_float32():
    source = {"w": jnp.ones(1000, jnp.bfloat16)}
    w = {"w": source["w"] + jnp.bfloat16(0.0078125)}
    total = pull.penalty("l2sp", w, source, {"w": 1.0})
    assert total.dtype == jnp.float32
    assert total == pytest.approx(0.5 * 1000 * 0.0078125**2, rel=1e-6)
    assert pull.prox("l2sp", w, source, {"w": 1.0})["w"].dtype == jnp.bfloat16


def test_only_what_has_a_strength_is_pulled():
    w = {"body/a": jnp.ones(2), "head/dense/bias": jnp.ones(2)}
    source = {"body/a": jnp.zeros(2), "body/frozen": jnp.zeros(3)}
    for act in (pull.prox, pull.shrink):
        new = act("l2sp", w, source, {"body/a": 1.0})
        assert new["head/dense/bias"] is w["head/dense/bias"]
        assert sorted(new) == sorted(w)
    assert pull.penalty("l2sp", w, source, {}) == 0


def test_misfits_are_named_all_at_once():
    w, source = {"body/a": jnp.ones(2), "body/b": jnp.ones(2)}, {"body/a": jnp.ones(3)}
    with pytest.raises(ValueError, match=r"body/a has shape \(2,\), its source \(3,\)") as caught:
        pull.penalty("l2sp", w, source, {"body/a": 1.0, "body/b": 1.0, "body/c": 1.0})
    assert "body/b has no source" in str(caught.value)
    assert "body/c is no parameter" in str(caught.value)
    with pytest.raises(ValueError, match="needs fisher="):
        pull.penalty("fisher", w, w, {"body/a": 1.0})
    with pytest.raises(ValueError, match="takes no fisher="):
        pull.penalty("norm", w, w, {"body/a": 1.0}, w)
    with pytest.raises(ValueError, match=r"closest:.*'l2sp'"):
        pull.prox("l2", w, w, {"body/a": 1.0})


def test_pull_is_data():
    value = Pull(form="group", strength=0.1, way="proximal", layers=(("stage_1", 0.0), (".*", 2.0)))
    assert Pull.build(json.loads(json.dumps(value.describe()))) == value
    assert Pull.build({}) == Pull()
    got = value.strengths(["body/stem/conv/kernel", "body/stage_1/block_01/norm_1/scale"])
    assert got == {"body/stem/conv/kernel": 0.2, "body/stage_1/block_01/norm_1/scale": 0.0}
    with pytest.raises(RuleError, match="stage_9"):
        Pull(layers=(("stage_9", 1.0),)).strengths(["body/stem/kernel"])
    with pytest.raises(ValueError, match=r"no 'strenght'.*strength"):
        Pull.build({"strenght": 1.0})
    with pytest.raises(ValueError, match="at least 0") as caught:
        Pull(strength=-1.0, layers=(("a", float("nan")),), schedule=" ")
    assert "'a' has multiplier nan" in str(caught.value)
    assert "schedule is empty" in str(caught.value)


def test_total_pull():
    # The published script of L2-SP: rate 0.01, λ 0.1, 9000 updates, one drop by 10 at 6000.
    rates = [0.01] * 6000 + [0.001] * 3000
    assert pull.total_pull(rates, 0.1) == pytest.approx(6.3)
    assert pull.total_pull([1.0, 2.0], [3.0, 0.5]) == 4.0
    with pytest.raises(ValueError, match="3 strengths do not fit 2 rates"):
        pull.total_pull([1.0, 2.0], [1.0, 1.0, 1.0])
