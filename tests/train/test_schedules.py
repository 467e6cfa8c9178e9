"""Schedules: golden values, optax as an independent peer, durations, text form, traced totals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tlearn.train import schedules
from tlearn.train.schedules import duration, parse


def curve(text, total):
    schedule = parse(text)
    return np.array([schedule.multiplier(update, total) for update in range(total + 1)])


def test_slanted_triangular_golden_values():
    # Howard & Ruder 2018: cut_frac 0.1, ratio 32, peak 0.01, T = 100.
    schedule = parse("slanted-triangular")
    golden = {0: 3.125e-4, 5: 5.15625e-3, 10: 1e-2, 55: 5.15625e-3, 100: 3.125e-4}
    for update, rate in golden.items():
        assert 0.01 * schedule.multiplier(update, 100) == pytest.approx(rate, rel=1e-6)


def test_slanted_triangular_follows_the_paper_where_the_cut_is_not_whole():
    total, cut = 95, 9
    for update, value in enumerate(curve("slanted-triangular", total)):
        p = update / cut if update < cut else 1 - (update - cut) / (cut * (1 / 0.1 - 1))
        assert value == pytest.approx((1 + max(p, 0) * 31) / 32, abs=1e-6)
    assert np.isfinite(curve("slanted-triangular", 5)).all(), "no update before the cut"


@pytest.mark.parametrize("total", [40, 97])
def test_shapes_equal_optax(total):
    warmup = 10
    peers = {
        f"linear:warmup={warmup}st": optax.join_schedules(
            [optax.linear_schedule(0, 1, warmup), optax.linear_schedule(1, 0, total - warmup)],
            [warmup],
        ),
        f"cosine:warmup={warmup}st,end=0.1": optax.warmup_cosine_decay_schedule(
            0.0, 1.0, warmup, total, 0.1
        ),
        f"constant:warmup={warmup}st": optax.warmup_constant_schedule(0.0, 1.0, warmup),
        "one-cycle": optax.cosine_onecycle_schedule(total, 1.0),
        "piecewise:at=12st/24st/30st": optax.piecewise_constant_schedule(
            1.0, {12: 0.1, 24: 0.1, 30: 0.1}
        ),
    }
    for text, peer in peers.items():
        want = np.array([peer(update) for update in range(total)])
        np.testing.assert_allclose(curve(text, total)[:-1], want, atol=2e-6, err_msg=text)


def test_inverse_sqrt_is_vaswanis():
    values = curve("inverse-sqrt:warmup=25st", 100)
    want = [min(max(t, 1e-9) ** -0.5, t * 25**-1.5) * 5 for t in range(101)]
    np.testing.assert_allclose(values, want, rtol=1e-5, atol=1e-7)


def test_bit_hyperrule_points():
    schedule = parse("piecewise:warmup=5%")
    rates = {0: 0.0, 250: 0.5, 500: 1.0, 2999: 1.0, 3000: 0.1, 6000: 0.01, 9000: 0.001}
    for update, value in rates.items():
        assert schedule.multiplier(update, 10_000) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("name", schedules.SHAPES)
@pytest.mark.parametrize("total", [1, 2, 7, 100])
@pytest.mark.parametrize("warmup", ["0st", "10%", "3st", "100%"])
def test_every_shape_stays_within_zero_and_one(name, total, warmup):
    values = curve(f"{name}:warmup={warmup}", total)
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (values <= 1 + 1e-6).all()


@pytest.mark.parametrize("name", schedules.SHAPES)
def test_totals_and_updates_may_be_traced_and_one_program_serves_all(name):
    schedule = parse(f"{name}:warmup=10%")
    traces = []

    @jax.jit
    def values(updates, total):
        traces.append(1)
        return jax.vmap(schedule.multiplier, in_axes=(0, None))(updates, total)

    for total in (50, 64):
        got = values(jnp.arange(50), total)
        want = [schedule.multiplier(update, total) for update in range(50)]
        np.testing.assert_allclose(got, np.array(want), rtol=1e-6, atol=1e-7)
    assert len(traces) == 1


def test_warm_up_reaches_the_peak_at_its_length():
    values = curve("linear:warmup=10%", 100)
    np.testing.assert_allclose(values[:11], np.arange(11) / 10, atol=1e-7)
    assert values.argmax() == 10
    assert values[100] == 0


@pytest.mark.parametrize("percent", [1, 5, 10, 30, 33.3, 70])
@pytest.mark.parametrize("total", [7, 10, 15, 90, 1001, 16_000])
def test_percentages_mean_the_same_number_of_updates_everywhere(percent, total):
    length = duration(f"{percent}%", total=total)
    schedule = parse(f"constant:warmup={percent}%")
    assert schedule.multiplier(length, total) == 1
    assert length == 0 or schedule.multiplier(length - 1, total) < 1


def test_durations():
    assert duration("10ep", steps_per_epoch=47) == 470
    assert duration("0.5ep", steps_per_epoch=47) == 24
    assert duration("500st") == 500
    assert duration("2000ex", batch_size=64) == 32
    assert duration("5%", total=1000) == 50
    assert duration(" 30 % ", total=10) == 3
    with pytest.raises(ValueError, match=r"'500' is no duration.*'500st'"):
        duration("500")
    with pytest.raises(ValueError, match="needs steps_per_epoch"):
        duration("3ep", total=10)
    with pytest.raises(ValueError, match="whole number"):
        duration("3.5st")
    with pytest.raises(ValueError, match="more than 100"):
        duration("130%", total=10)
    with pytest.raises(ValueError, match="above 0, not 0"):
        duration("3ep", steps_per_epoch=0)
    with pytest.raises(ValueError, match="no duration"):
        duration("-3st")


def test_epochs_and_examples_are_resolved_once_the_data_is_known():
    schedule = parse("piecewise:at=2ep/640ex,warmup=1ep")
    with pytest.raises(ValueError, match="resolved"):
        schedule.multiplier(0, 100)
    resolved = schedule.resolved(steps_per_epoch=10, batch_size=32)
    assert str(resolved) == "piecewise:warmup=10st,at=20st/20st"
    assert parse("linear:warmup=10%").resolved(steps_per_epoch=10) == parse("linear:warmup=10%")


@pytest.mark.parametrize("name", schedules.SHAPES)
def test_text_and_value_are_inverses(name):
    for text in (name, f"{name}:warmup=7st", str(schedules.SHAPES[name](warmup="3%"))):
        schedule = parse(text)
        assert parse(str(schedule)) == schedule
        assert hash(parse(text)) == hash(schedule)
    assert str(parse("cosine:end=0.25,warmup=2ep")) == "cosine:warmup=2ep,end=0.25"


def test_errors_name_everything_wrong():
    with pytest.raises(ValueError, match="closest: cosine"):
        parse("cosin")
    with pytest.raises(ValueError, match="its fields are warmup, end") as caught:
        parse("linear:warmpu=10%,end=low")
    assert "'low', which is no number" in str(caught.value)
    with pytest.raises(ValueError, match="fraction of the peak") as caught:
        parse("linear:warmup=10,end=3")
    assert "'10' is no duration" in str(caught.value)
