"""Pre-training on planned tokens: rows of their real shapes, FLOPs against published counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies, heads, hub
from tlearn.bodies.facts import TextFacts
from tlearn.data import DataError
from tlearn.data.corpus_opening import open_corpus
from tlearn.model import Model, shapes
from tlearn.runs.build import build
from tlearn.runs.config import BodyConfig, DataConfig, RunConfig, replace
from tlearn.runs.costs import Costs, costs
from tlearn.runs.explain import step_flops
from tlearn.runs.presets import PRESETS, apply_preset

SMALL = {
    "bert": ("bert-tiny", ("width=16", "heads=2", "feed_forward=32", "vocab_size=200")),
    "gpt": ("gpt2", ("width=16", "depth=1", "heads=2", "feed_forward=32", "vocab_size=200")),
    "lstm": ("awd-lstm-small", ("width=16", "hidden=16", "depth=1", "vocab_size=200")),
    "t5": ("t5-small", ("width=16", "depth=1", "heads=2", "feed_forward=32", "vocab_size=200")),
}


def config(spec: str, **changes) -> RunConfig:
    return replace(RunConfig(data=DataConfig(data=spec)), **changes)


def counted(config: RunConfig) -> Costs:
    built = build(config, draw=False)
    recipe = built.program.recipe
    return costs(built, lambda rows: step_flops(built, rows, recipe, built.source))


@pytest.mark.parametrize(
    ("objective", "kind", "filled"),
    [
        ("next_tokens", "gpt", 32),
        ("next_tokens", "lstm", 32),
        ("masked_tokens", "bert", 30),
        ("next_sentence", "bert", 29),
        ("sentence_order", "bert", 29),
        ("replaced_tokens", "bert", 30),
        ("span_corruption", "t5", 32),
        ("prefix_lm", "t5", 32),
    ],
)
def test_every_objective_is_planned_in_rows_of_its_shapes(objective, kind, filled):
    body, settings = SMALL[kind]
    built = build(
        config(
            "planned:1000000",
            objective=objective,
            body=body,
            settings=settings,
            row_length=32,
            batch_size=8,
            length="1ep",
        ),
        draw=False,
    )
    example = built.task.example
    assert example["tokens"].shape == (1, 32)
    assert "index" not in example
    batches = built.task.train_batches(8, 0)
    # Sentences cut some pairs short, and marks and spans take or leave room.
    assert batches.examples_per_epoch == pytest.approx(1e6 / filled, rel=0.35)
    assert built.program.timeline.steps == batches.steps_per_epoch
    with pytest.raises(DataError, match="stands for data that is not here"):
        batches.at(0)


def test_a_direction_is_planned_as_a_run_has_it(tmp_path):
    """The source's own, whether or not it is said again; refused where a run refuses it."""
    body, settings = SMALL["lstm"]
    asked = config(
        "planned:10000", objective="next_tokens", body=body, settings=settings, row_length=32
    )
    task = build(replace(asked, direction="backward"), draw=False).task
    assert task.rows.backward
    assert "streams, read backward" in str(task)
    for backward in (True, False):
        small = {"family": "awd_lstm", "vocab_size": 200, "width": 16, "hidden": 16, "depth": 1}
        model = Model(bodies.build(small), heads.build({"family": "linear", "classes": 2}))
        row = jax.ShapeDtypeStruct((1, 4), jnp.int32)
        params = {
            path: np.zeros(v.shape, v.dtype) for path, v in shapes(model, row, row)[0].items()
        }
        source = hub.Source(
            params,
            {},
            bodies.describe(model.body),
            heads.describe(model.head),
            facts=TextFacts(vocab_size=200, backward=backward),
        )
        hub.save_model(tmp_path / str(backward), source)
    from_one = replace(asked, source=f"run:{tmp_path / 'True'}", body=BodyConfig())
    assert build(from_one, draw=False).task.rows.backward
    assert build(replace(from_one, direction="backward"), draw=False).task.facts.backward
    labels = RunConfig(data=DataConfig(data="planned:100x2", max_length=8), source=from_one.source)
    assert build(labels, draw=False).task.facts.backward
    with pytest.raises(ValueError, match="rows=packed: such rows are read forward"):
        build(replace(from_one, rows="packed"), draw=False)
    other = {"source": f"run:{tmp_path / 'False'}", "direction": "backward"}
    for one in (from_one, labels):
        with pytest.raises(ValueError, match="was trained on texts read forward"):
            build(replace(one, **other), draw=False)


def test_an_lstm_costs_six_flops_a_weight_and_token():
    """Its scans turn once a token; the embedding is looked up, the output layer is not."""
    run = apply_preset(config("planned:103000000"), "ulmfit_pretrain")
    found = counted(replace(run, data="planned:103000000", batch_size=4, length="1ep"))
    lstm = sum(4 * out * (read + out) for read, out in ((400, 1150), (1150, 1150), (1150, 400)))
    assert found.step_flops[0] == pytest.approx(6 * (lstm + 400 * 60002) * 4 * 70, rel=0.02)
    assert found.steps == pytest.approx(103e6 / 70 / 4, rel=0.02)


@pytest.mark.slow
def test_electra_small_costs_what_is_published():
    """Clark et al. 2020, table 1: 1.4e18 FLOPs in all; they count a little more than products."""
    name = "electra_small_pretrain"
    spec = f"planned:{PRESETS[name].planned}"
    found = counted(replace(apply_preset(config(spec), name), data=spec))
    assert found.steps == 1_000_000
    assert found.flops == pytest.approx(1.4e18, rel=0.2)
    # 14 million of the discriminator that is kept, less its unused pooler, and the generator's.
    assert found.parameters == pytest.approx(14e6, rel=0.05)


def test_bodies_that_cannot_learn_it_and_wrong_plans_are_refused():
    body, settings = SMALL["gpt"]
    given = {"body": body, "settings": settings, "row_length": 32}
    with pytest.raises(ValueError, match="needs a body that sees both sides"):
        build(config("planned:1000", objective="masked_tokens", **given), draw=False)
    with pytest.raises(ValueError, match="write planned:TOKENS"):
        build(config("planned:1000x2", objective="next_tokens", **given), draw=False)
    with pytest.raises(ValueError, match="is a corpus; examples with labels"):
        build(config("planned:1000", **given | {"row_length": 128}), draw=False)
    with pytest.raises(DataError, match="stands for data that is not here"):
        open_corpus("planned:1000")
