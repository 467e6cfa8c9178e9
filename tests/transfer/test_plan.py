"""Plans: golden tables, published rate multipliers, what decays, is pulled, and in which mode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tlearn.transfer.plan import Plan, diff, fresh_patterns, plan, plans, redraw
from tlearn.transfer.pull import Pull
from tlearn.transfer.strategy import ULMFIT_FACTOR, Strategy

SHAPES = {
    "body/stem/conv/kernel": (3, 3, 1, 4),
    "body/stem/norm/bias": (4,),
    "body/stem/norm/scale": (4,),
    "body/top/conv/kernel": (3, 3, 4, 8),
    "body/top/norm/bias": (8,),
    "head/dense/bias": (3,),
    "head/dense/kernel": (8, 3),
}
PARAMS = {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in SHAPES.items()}
LAYERS = ("stem", "top")
HEAD = frozenset(path for path in SHAPES if path.startswith("head/"))


def planned(fresh=HEAD, **asked) -> Plan:
    return plan(PARAMS, Strategy(**asked), layers=LAYERS, fresh=fresh)


def column(rows: Plan, name: str) -> dict[str, object]:
    return {row.path: getattr(row, name) for row in rows.rows}


GOLDEN = """
parameter              shape    layer  init    trains  rate ×  decay  pull λ
---------------------  -------  -----  ------  ------  ------  -----  ------
body/stem/conv/kernel  3×3×1×4  stem   loaded  frozen       -      -       -
body/stem/norm/bias    4        stem   loaded  frozen       -      -       -
body/stem/norm/scale   4        stem   loaded  frozen       -      -       -
body/top/conv/kernel   3×3×4×8  top    loaded  yes        0.5      0     0.2
body/top/norm/bias     8        top    loaded  yes        0.5      0     0.2
head/dense/bias        3        head   fresh   yes         10      0       0
head/dense/kernel      8×3      head   fresh   yes         10   0.01       0

modes: stem eval, top train, head train
totals: parameters 367, trained 323, fresh 27, pulled 296, optimizer_bytes 2,584
pull: Pull(form='l2sp', strength=0.1, way='loss', layers=(('top', 2.0),), schedule='constant')
"""


def test_the_printed_table_is_golden():
    found = planned(
        freeze="bottom:1",
        layer_decay=0.5,
        head_rate=10.0,
        weight_decay=0.01,
        pull=Pull(strength=0.1, layers=(("top", 2.0),)),
    )
    assert str(found) == GOLDEN.strip()
    assert found.summary() == (
        "trains 323 of 367 (88%); layers top, head; rates ×0.5…×10; pull l2sp λ=0.1 (loss)"
    )


def test_rows_are_in_order_of_path_and_numbers_over_what_trains():
    found = planned(freeze="bottom:1", layer_decay=0.5, pull=Pull(strength=0.1))
    assert [row.path for row in found.rows] == sorted(SHAPES)
    assert found.trainable == tuple(p for p in sorted(SHAPES) if "stem" not in p)
    assert found.frozen == tuple(p for p in sorted(SHAPES) if "stem" in p)
    numbers = found.numbers()
    assert {name: value.dtype for name, value in numbers.items()} == dict.fromkeys(
        ("rate", "decay", "pull"), np.float32
    )
    np.testing.assert_allclose(numbers["rate"], [0.5, 0.5, 1, 1])
    np.testing.assert_allclose(numbers["pull"], [0.1, 0.1, 0, 0])


def multipliers(depth, **asked):
    """Rate factors from the lowest layer to the head, of a body with ``depth`` layers."""
    layers = tuple(f"layer_{i:02d}" for i in range(depth))
    paths = [f"body/{name}/kernel" for name in layers] + ["head/kernel"]
    params = {path: jax.ShapeDtypeStruct((2,), jnp.float32) for path in paths}
    rows = plan(params, Strategy(**asked), layers=layers)
    rates = column(rows, "rate")
    return [rates[path] for path in paths]


def test_ulmfit_rates():
    """Howard & Ruder 2018, section 3.2: each layer 2.6 times slower than the one above."""
    found = multipliers(5, layer_decay=1 / ULMFIT_FACTOR)
    assert found[::-1] == pytest.approx([1, 0.38462, 0.14793, 0.05690, 0.02188, 0.00842], abs=5e-6)


def test_zhang_rates():
    """Zhang et al. 2021, BERT-large: embeddings and 24 blocks at 0.95, the top decayed once."""
    found = multipliers(25, layer_decay=0.95)
    assert found[-1] == 1
    assert found[-2] == pytest.approx(0.95)
    assert found[1] == pytest.approx(0.2920, abs=5e-5)
    assert found[0] == pytest.approx(0.2774, abs=5e-5)


def test_electra_rates():
    """Clark et al. 2020, base: embeddings and 12 blocks at 0.8, the top block decayed twice."""
    found = multipliers(13, layer_decay=0.8, decay_convention="electra")
    assert found[-1] == 1
    assert found[-2] == pytest.approx(0.64)
    assert found[1] == pytest.approx(0.0550, abs=5e-5)
    assert found[0] == pytest.approx(0.0440, abs=5e-5)


def test_rates_multiply():
    found = planned(layer_decay=0.5, head_rate=3.0, rates=((".*bias", 10.0),))
    assert column(found, "rate") == pytest.approx(
        {
            "body/stem/conv/kernel": 0.25,
            "body/stem/norm/bias": 2.5,
            "body/stem/norm/scale": 0.25,
            "body/top/conv/kernel": 0.5,
            "body/top/norm/bias": 5.0,
            "head/dense/bias": 30.0,
            "head/dense/kernel": 3.0,
        }
    )


@pytest.mark.parametrize(
    ("asked", "kernels", "head"),
    [
        ({}, 0.1, 0.1),
        ({"head_decay": 0.3}, 0.1, 0.3),
        ({"head_decay": 0.0}, 0.1, 0.0),
        # Toward the source and toward zero at once would fight: the pull takes the decay's place.
        ({"pull": Pull(strength=1.0)}, 0.0, 0.1),
        ({"pull": Pull(strength=1.0), "decay_pulled": True}, 0.1, 0.1),
        ({"pull": Pull(strength=0.0)}, 0.1, 0.1),
    ],
)
def test_only_kernels_decay_and_not_against_a_pull(asked, kernels, head):
    found = column(planned(weight_decay=0.1, **asked), "decay")
    for path, decay in found.items():
        kind = path.rpartition("/")[2]
        want = 0.0 if kind != "kernel" else head if path.startswith("head/") else kernels
        assert decay == want, path


def test_what_has_no_source_is_not_pulled():
    fresh = HEAD | {"body/top/conv/kernel", "body/top/norm/bias"}
    found = planned(fresh=fresh, pull=Pull(strength=1.0, layers=(("stem", 3.0),)))
    assert set(found.pulled) == {path for path in SHAPES if "stem" in path}
    assert set(column(found, "pull").values()) == {0.0, 3.0}
    # The fresh kernel decays toward zero instead, if asked.
    decays = column(planned(fresh=fresh, pull=Pull(strength=1.0), weight_decay=0.1), "decay")
    assert decays["body/top/conv/kernel"] == 0.1
    assert decays["body/stem/conv/kernel"] == 0.0


def test_modes_follow_what_trains_unless_asked():
    assert planned().modes == (("stem", "train"), ("top", "train"), ("head", "train"))
    found = planned(freeze="body", modes=(("stem", "statistics"),))
    assert found.modes == (("stem", "statistics"), ("top", "eval"), ("head", "train"))
    assert found.train_layers == {"stem", "head"}
    assert found.frozen_depth == 0
    assert planned(freeze="body").frozen_depth == 2
    assert planned(freeze="bottom:1").frozen_depth == 1
    calm = planned(modes=((".*", "eval"),))
    assert calm.train_layers == frozenset()
    assert calm.frozen_depth == 0
    partly = planned(freeze=(("body/stem/conv/.*", True), (".*", False)))
    assert dict(partly.modes)["stem"] == "train"


def test_modes_that_do_not_fit_the_freezing_are_errors():
    with pytest.raises(ValueError, match="stem is frozen; its mode can be eval or statistics") as e:
        planned(freeze="bottom:1", modes=(("stem", "train"), ("top", "statistics")))
    assert "top trains; statistics is a mode of frozen layers" in str(e.value)


def test_stages_are_plans():
    found = plans(PARAMS, Strategy(unfreeze="gradual"), layers=LAYERS, fresh=HEAD)
    assert [len(stage.trainable) for stage in found] == [2, 4, 7]
    assert [stage.stage_epochs for stage in found] == [1.0, 1.0, None]
    thaw = plans(PARAMS, Strategy(unfreeze="chain-thaw"), layers=LAYERS, fresh=HEAD)
    assert [stage.trainable for stage in thaw] == [
        tuple(sorted(HEAD)),
        tuple(p for p in sorted(SHAPES) if "stem" in p),
        tuple(p for p in sorted(SHAPES) if "top" in p),
        tuple(sorted(SHAPES)),
    ]
    (one,) = plans(PARAMS, Strategy(), layers=LAYERS, fresh=HEAD)
    assert one == planned()


def test_arms_of_an_ablation_differ_where_they_say():
    base = planned(freeze="bottom:1")
    assert diff(base, base) == []
    assert diff(base, planned(freeze="bottom:1", pull=Pull(strength=0.1))) == [
        "pull strength: 0.0 -> 0.1"
    ]
    lines = diff(base, planned())
    assert "body/stem/conv/kernel: trainable False -> True" in lines
    assert "mode of stem: eval -> train" in lines
    assert not any("top" in line for line in lines)
    smaller = {path: like for path, like in PARAMS.items() if "norm" not in path}
    other = plan(smaller, Strategy(freeze="bottom:1"), layers=LAYERS, fresh=HEAD)
    assert "body/top/norm/bias: only in the first plan" in diff(base, other)


def test_a_parameter_of_no_layer_is_an_error():
    stranger = PARAMS | {"body/neck/kernel": PARAMS["head/dense/bias"]}
    with pytest.raises(ValueError, match=r"no declared layer: \['body/neck/kernel'\]"):
        plan(stranger, Strategy(), layers=LAYERS)


def test_totals_count_elements():
    totals = planned(freeze="bottom:1").totals(optimizer_slots=1)
    assert totals == {
        "parameters": 367,
        "trained": 323,
        "fresh": 27,
        "pulled": 296,
        "optimizer_bytes": 4 * 323,
    }


def test_drawing_afresh_replaces_what_matches_and_nothing_else():
    old = {path: np.zeros(shape, np.float32) for path, shape in SHAPES.items()}
    new = {path: np.ones(shape, np.float32) for path, shape in SHAPES.items()}
    patterns = fresh_patterns(Strategy(fresh="top:1"), LAYERS)
    assert patterns == ("body/top/.*",)
    found, fresh = redraw(old, new, [*patterns, "head/.*"])
    assert fresh == {path for path in SHAPES if "stem" not in path}
    for path, value in found.items():
        assert value is (new if path in fresh else old)[path]
    assert fresh_patterns(Strategy(), LAYERS) == ()


def test_a_plan_is_data():
    found = planned(freeze="bottom:1")
    assert hash(found) == hash(planned(freeze="bottom:1"))
    assert found.to_json()["rows"][0]["path"] == "body/stem/conv/kernel"


def test_a_real_body_from_shapes_alone():
    """The small residual body, its head fresh, nothing computed."""
    network = tiny.model()
    params, _ = tiny.drawn(network)
    likes = jax.eval_shape(lambda: params)
    found = plan(likes, Strategy(freeze="bottom:2"), layers=network.body.layer_names)
    assert found == plan(params, Strategy(freeze="bottom:2"), layers=network.body.layer_names)
    assert {row.layer for row in found.rows if row.trainable} == {"stage_2", "head"}
