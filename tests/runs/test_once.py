"""A frozen body run once over the data gives the training that runs it in every step."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from small_texts import bert_folder, finetune, reviews
from small_texts import config as text_config

from tlearn import hub
from tlearn.runs import config as configs
from tlearn.runs.build import build
from tlearn.runs.explain import explain, once_flops, step_flops
from tlearn.runs.training import start
from tlearn.studies.boundary import activations
from tlearn.transfer.feature_store import open_store

BODY = ("stage_blocks=1,1", "stage_widths=4,8", "stem_width=4")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A source of three digits."""
    folder = tmp_path_factory.mktemp("once") / "source"
    config = configs.RunConfig(
        data=configs.DataConfig(data="digits", classes=("0", "1", "2"), per_class=16),
        body=configs.BodyConfig(settings=BODY),
        train=configs.TrainConfig(length="4st", batch_size=16),
    )
    start(config, folder, say=lambda text: None, quiet=True)
    return f"run:{folder}"


def config_of(source, **changes):
    base = configs.RunConfig(
        data=configs.DataConfig(
            data="digits", classes=("7", "8", "9"), per_class=11, validation="20%"
        ),
        source=source,
        strategy=configs.StrategyConfig(freeze="body", head_decay=0.01),
        optimizer=configs.OptimizerConfig(rate=0.1, schedule="cosine"),
        train=configs.TrainConfig(length="3ep", batch_size=8),
    )
    return configs.replace(base, **changes)


def head_run(source, folder, say=lambda text: None, **changes):
    result = start(config_of(source, **changes), folder, say=say, quiet=True)
    return result, hub.load(f"run:{folder}")


def test_cached_and_uncached_heads_agree(source, tmp_path):
    slow, slow_model = head_run(source, tmp_path / "slow")
    fast, fast_model = head_run(source, tmp_path / "fast", features="once")
    for path, value in slow_model.params.items():
        np.testing.assert_allclose(fast_model.params[path], value, atol=1e-6, err_msg=path)
    moved = np.abs(slow_model.params["head/dense/kernel"]).max()
    assert moved > 1e-3, "a head that never moved would agree as well"
    assert fast.validation.metrics["loss"] == pytest.approx(slow.validation.metrics["loss"], 1e-5)
    # The body travels with the cached run's model, bit for bit.
    body = [path for path in slow_model.params if path.startswith("body/")]
    assert body
    assert all(np.array_equal(fast_model.params[p], slow_model.params[p]) for p in body)
    assert (tmp_path / "fast" / "features" / "features.npy").is_file()


def test_a_frozen_bottom_is_run_once(source, tmp_path):
    """Tried with the break: the stored activations of another layer."""
    said = []
    slow, slow_model = head_run(source, tmp_path / "slow", freeze="bottom:2", rate=0.2)
    fast, fast_model = head_run(
        source, tmp_path / "fast", say=said.append, freeze="bottom:2", rate=0.2, features="once"
    )
    both = (slow_model, fast_model)
    before = hub.load(source)
    moved = {}
    for path, value in {**slow_model.params, **slow_model.collections}.items():
        other = {**fast_model.params, **fast_model.collections}[path]
        np.testing.assert_allclose(other, value, atol=2e-6, rtol=1e-5, err_msg=path)
        if path.startswith(("body/stem/", "body/stage_1/")):
            first = {**before.params, **before.collections}[path]
            assert np.array_equal(np.asarray(other), np.asarray(first)), path
        elif path in before.params and path.endswith("kernel"):
            moved[path] = float(np.abs(np.asarray(value) - np.asarray(before.params[path])).max())
    assert min(moved.values()) > 1e-3, "a layer that never moved would agree as well"
    assert fast.validation.metrics["loss"] == pytest.approx(slow.validation.metrics["loss"], 1e-5)
    # What is saved is the whole model again: a source like any other.
    assert [dict(model.body) for model in both] == [dict(before.body)] * 2
    store = open_store(tmp_path / "fast" / "features")
    assert (store.features.shape, store.key.output) == ((1, 33, 8, 8, 4), "stage_1")
    (line,) = [text for text in said if text.startswith("features once")]
    assert "what enters stage_2" in line
    assert f"{store.features.nbytes / 2**20:,.4g} MiB" in line


def test_augmented_pictures_need_views(source, tmp_path):
    with pytest.raises(ValueError, match="views=K"):
        head_run(source, tmp_path / "refused", features="once", augment="crop")
    assert not (tmp_path / "refused").exists()
    _, one = head_run(source, tmp_path / "slow", augment="crop")
    _, two = head_run(source, tmp_path / "fast", augment="crop", features="once", views=3)
    np.testing.assert_allclose(
        two.params["head/dense/kernel"], one.params["head/dense/kernel"], atol=1e-6
    )


def test_texts_come_as_wide_as_their_batches(tmp_path):
    """Tried with the break: features as wide as the store, instead of as the batch."""
    place = bert_folder(tmp_path / "source"), reviews(tmp_path / "texts")
    asked = text_config(*place, freeze="bottom:1", widths="8,16", features="once")
    said = []
    built = build(asked, said.append)
    (line,) = [text for text in said if text.startswith("features once")]
    assert "what enters block_00 is stored in the run's folder, 72 examples × 16×16" in line
    state = built.start()
    batches = built.train_batches(state, tmp_path)
    words = built.task.train_batches(12, 0)
    model, seen = built.model, set()
    for step in range(2 * words.steps_per_epoch):
        batch, given = words.at(step), batches.at(step)
        inputs = [jnp.asarray(batch[name]) for name in model.body.inputs]
        expected = activations(model, "block_00", state.params, {}, inputs)
        real = batch["segments"] > 0
        assert given["features"].shape == expected.shape
        np.testing.assert_allclose(given["features"][real], expected[real], atol=1e-6)
        for name in ("segments", "label", "mask", "index"):
            np.testing.assert_array_equal(given[name], batch[name])
        seen.add(expected.shape[1])
    assert seen == {8, 16}
    # What trains above may have moved since; what lies below may not.
    moved = {path: value + 1 for path, value in state.trainable.items()}
    again = built.train_batches(dataclasses.replace(state, trainable=moved), tmp_path)
    assert again.store.origin == "reopened"
    other = {path: value * 2 for path, value in state.frozen.items()}
    again = built.train_batches(dataclasses.replace(state, frozen=other), tmp_path)
    assert again.store.origin.startswith("recomputed: weights")


@pytest.mark.slow
def test_a_run_over_texts_draws_the_same_dropout(tmp_path):
    place = bert_folder(tmp_path / "source"), reviews(tmp_path / "texts")
    asked = {"freeze": "bottom:2", "widths": "8,16", "length": "8st"}
    ends = []
    for how in ("each-step", "once"):
        run = finetune(*place, tmp_path / how, **asked, features=how)
        ends.append(hub.load(f"run:{run.folder}"))
    for path, value in ends[0].params.items():
        np.testing.assert_allclose(ends[1].params[path], value, atol=2e-6, rtol=1e-5, err_msg=path)


def test_a_step_costs_what_runs_in_it(source):
    """The step of the compiler's own count; and what is computed once is added to the run."""
    asked = config_of(source, freeze="bottom:2", features="once")
    built = build(asked)
    counted = step_flops(built, built.plans[0], built.program.recipe, built.source)
    batch = built.task.train_batches(8, 0).at(0) | {"features": np.zeros((8, 8, 8, 4), np.float32)}
    step = built.program.step(0).lower(built.start(), batch, built.source)
    assert counted == pytest.approx(step.compile().cost_analysis()["flops"], rel=0.1)
    each = step_flops(built, built.plans[0], built.program.recipe, built.source, built.model)
    # One forward pass of the bottom is what a step is spared.
    assert each - counted == pytest.approx(once_flops(built) / 33 * 8, rel=0.1)
    assert f"{once_flops(built):.4g} of them once, for the features" in explain(asked)


def test_every_reason_against_it_is_named(source, tmp_path):
    with pytest.raises(ValueError, match=r"(?s)body trains.*mix=mixup") as error:
        head_run(source, tmp_path / "refused", features="once", freeze="none", mix="mixup")
    assert "once" in str(error.value)
