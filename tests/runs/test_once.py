"""A frozen body run once over the data gives the training that runs it in every step."""

import numpy as np
import pytest

from tlearn import hub
from tlearn.runs import config as configs
from tlearn.runs.training import start

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


def head_run(source, folder, **changes):
    base = configs.RunConfig(
        data=configs.DataConfig(
            data="digits", classes=("7", "8", "9"), per_class=11, validation="20%"
        ),
        source=source,
        strategy=configs.StrategyConfig(freeze="body", head_decay=0.01),
        optimizer=configs.OptimizerConfig(rate=0.1, schedule="cosine"),
        train=configs.TrainConfig(length="3ep", batch_size=8),
    )
    result = start(configs.replace(base, **changes), folder, say=lambda text: None, quiet=True)
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


def test_augmented_pictures_need_views(source, tmp_path):
    with pytest.raises(ValueError, match="views=K"):
        head_run(source, tmp_path / "refused", features="once", augment="crop")
    assert not (tmp_path / "refused").exists()
    _, one = head_run(source, tmp_path / "slow", augment="crop")
    _, two = head_run(source, tmp_path / "fast", augment="crop", features="once", views=3)
    np.testing.assert_allclose(
        two.params["head/dense/kernel"], one.params["head/dense/kernel"], atol=1e-6
    )


def test_every_reason_against_it_is_named(source, tmp_path):
    with pytest.raises(ValueError, match=r"(?s)body trains.*mix=mixup") as error:
        head_run(source, tmp_path / "refused", features="once", freeze="none", mix="mixup")
    assert "once" in str(error.value)
