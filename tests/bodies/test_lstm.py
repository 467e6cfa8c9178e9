"""The LSTM over time: parity with torch, padding, packing, carried state, and the cut gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn.bodies.lstm import Carry, flow_of, lstm, no_carry

T, B, E, U = 9, 3, 5, 6
# Everything here runs once.
QUICK = {"xla_backend_optimization_level": 0}


def weights(seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((E, 4 * U), (4 * U,), (U, 4 * U))
    return tuple(jnp.asarray(rng.standard_normal(s) * 0.4, jnp.float32) for s in shapes)


def given(seed=1, length=T):
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.standard_normal((E, length, B)), jnp.float32)
    start = Carry(*(jnp.asarray(rng.standard_normal((B, U)), jnp.float32) for _ in range(2)))
    return x, start


def near(found, wanted, tolerance=1e-5):
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def by_hand(x, kernel, bias, recurrent, start, flow):
    """The same, written as differentiating it plainly would need it, without an own rule."""
    hidden, cell, outputs = start.hidden, start.cell, []
    for t in range(x.shape[1]):
        begins, real, cut = (part[t][:, None] for part in (flow.begins, flow.real, flow.cuts))
        before = [jnp.where(begins, 0.0, part) for part in (hidden, cell)]
        before = [jnp.where(cut, jax.lax.stop_gradient(part), part) for part in before]
        z = x[:, t].T @ kernel + bias[None] + before[0] @ recurrent
        i, f, g, o = jnp.split(z, 4, axis=1)
        new = jax.nn.sigmoid(f) * before[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
        cell = jnp.where(real, new, before[1])
        hidden = jnp.where(real, jax.nn.sigmoid(o) * jnp.tanh(new), before[0])
        outputs.append(hidden.T)
    return jnp.stack(outputs, 1), Carry(hidden, cell)


@pytest.mark.parametrize("remat", [False, True])
def test_outputs_states_and_all_gradients_are_those_of_torch(remat):
    torch = pytest.importorskip("torch")
    kernel, bias, recurrent = weights()
    x, start = given()
    peer = torch.nn.LSTM(E, U)
    with torch.no_grad():
        for name, value in (
            ("weight_ih_l0", kernel.T),
            ("weight_hh_l0", recurrent.T),
            ("bias_ih_l0", 0.25 * bias),
            ("bias_hh_l0", 0.75 * bias),
        ):
            getattr(peer, name).copy_(torch.from_numpy(np.array(value)))
    theirs = [
        torch.from_numpy(np.array(a)).requires_grad_()
        for a in (x.transpose(1, 2, 0), start.hidden[None], start.cell[None])
    ]
    y, (h, c) = peer(theirs[0], (theirs[1], theirs[2]))
    along = np.random.default_rng(3).standard_normal((T, B, U)).astype(np.float32)
    ((y * torch.from_numpy(along)).sum() + (h**2).sum() + (c**3).sum()).backward()

    def loss(x, kernel, bias, recurrent, start):
        flow = flow_of(jnp.ones((B, T), jnp.int32))
        outputs, last = lstm(x, kernel, bias, recurrent, start, flow, remat)
        total = (outputs.transpose(1, 2, 0) * along).sum()
        return total + (last.hidden**2).sum() + (last.cell**3).sum(), (outputs, last)

    run = jax.jit(jax.value_and_grad(loss, argnums=range(5), has_aux=True), compiler_options=QUICK)
    (_, (outputs, last)), found = run(x, kernel, bias, recurrent, start)
    near(outputs.transpose(1, 2, 0), y.detach())
    near(last.hidden, h[0].detach())
    near(last.cell, c[0].detach())
    near(found[0].transpose(1, 2, 0), theirs[0].grad)
    near(found[1], peer.weight_ih_l0.grad.T)
    near(found[2], peer.bias_ih_l0.grad)
    near(found[3], peer.weight_hh_l0.grad.T)
    near(found[4].hidden, theirs[1].grad[0])
    near(found[4].cell, theirs[2].grad[0])


@pytest.mark.parametrize("remat", [False, True])
def test_its_own_gradient_is_the_plain_one_with_padding_packing_and_cuts(remat):
    segments = jnp.array([[0, 0, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 2, 2, 0, 3, 3, 0], [4] * 9])
    flow = flow_of(segments, bptt=3)
    x, start = given()
    along = np.random.default_rng(4).standard_normal((U, T, B)).astype(np.float32)

    def value(run):
        def loss(x, kernel, bias, recurrent, start):
            outputs, last = run(x, kernel, bias, recurrent, start)
            return (outputs * along).sum() + (last.hidden * last.cell).sum()

        return jax.jit(jax.value_and_grad(loss, argnums=range(5)), compiler_options=QUICK)(
            x, *weights(), start
        )

    found = value(lambda *a: lstm(*a, flow, remat))
    wanted = value(lambda *a: by_hand(*a, flow))
    jax.tree.map(near, found, wanted)


def test_what_happens_to_the_state_is_read_off_the_segments():
    segments = jnp.array([[0, 1, 1, 0, 2, 2, 2, 0], [3, 3, 3, 3, 3, 1, 1, 1]])
    flow = flow_of(segments, bptt=2)
    np.testing.assert_array_equal(flow.real.T, segments > 0)
    # A row's first example goes on from the state it is given: nothing begins there.
    assert np.argwhere(flow.begins.T).tolist() == [[0, 4], [1, 5]]
    assert np.argwhere(flow.cuts.T).tolist() == [[0, 6], [1, 2], [1, 4], [1, 7]]
    assert not flow_of(segments).cuts.any()


def test_two_chunks_with_the_state_carried_are_one_long_row():
    x, start = given()

    def run(x, start):
        return lstm(x, *weights(), start, flow_of(jnp.ones((B, x.shape[1]), jnp.int32)))

    run = jax.jit(run, compiler_options=QUICK)
    whole, last = run(x, start)
    first, between = run(x[:, :4], start)
    second, end = run(x[:, 4:], between)
    near(jnp.concatenate([first, second], 1), whole, 1e-6)
    jax.tree.map(lambda a, b: near(a, b, 1e-6), end, last)


def test_no_gradient_crosses_a_cut_or_the_beginning_of_an_example():
    x, start = given()

    def last(x, flow):
        return lstm(x, *weights(), start, flow)[0][:, -1].sum()

    gradient = jax.jit(jax.grad(last), compiler_options=QUICK)

    def reach(segments, bptt):
        """Which inputs the last token's output depends on, by the gradient."""
        found = gradient(x, flow_of(segments, bptt))
        return (np.abs(found).sum((0, 2)) > 0).tolist()

    ones = jnp.ones((B, T), jnp.int32)
    assert reach(ones, 0) == [True] * 9
    assert reach(ones, 4) == [False] * 8 + [True]
    assert reach(ones, 5) == [False] * 5 + [True] * 4
    assert reach(ones.at[:, 6:].set(2), 0) == [False] * 6 + [True] * 3


def test_the_backward_pass_has_one_product_for_each_kernel_outside_its_loop():
    x, start = given()
    flow = flow_of(jnp.ones((B, T), jnp.int32))

    def loss(kernel, recurrent):
        return lstm(x, kernel, weights()[1], recurrent, start, flow)[0].sum()

    program = jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(*weights()[::2])

    def products(jaxpr):
        return sum(equation.primitive.name == "dot_general" for equation in jaxpr.eqns)

    def loops(jaxpr):
        found = []
        for equation in jaxpr.eqns:
            inner = equation.params.get("jaxpr")
            inner = getattr(inner, "jaxpr", inner)
            if equation.primitive.name == "scan":
                found.append(products(inner))
            elif inner is not None and hasattr(inner, "eqns"):
                found += loops(inner)
        return found

    # A loop forwards and one backwards, each with the recurrence's product and no other.
    assert loops(program.jaxpr) == [1, 1]


def test_bfloat16_keeps_states_in_float32_and_comes_close():
    x, start = given()
    flow = flow_of(jnp.ones((B, T), jnp.int32))
    exact, _ = lstm(x, *weights(), start, flow)
    rough, last = lstm(x.astype(jnp.bfloat16), *weights(), start, flow)
    assert rough.dtype == jnp.bfloat16
    assert last.hidden.dtype == last.cell.dtype == jnp.float32
    assert 0 < np.abs(rough.astype(jnp.float32) - exact).max() < 0.05
    assert no_carry(2, 3).hidden.dtype == jnp.float32
