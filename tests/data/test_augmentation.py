"""What recipes do to training pictures: erasing, spread strengths, and all settings as a value."""

import numpy as np
import pytest

from tlearn.data import Batches, CutMix, DataError, Mixup, RandAugment, train_pipeline
from tlearn.data.augmentation import Augmentation
from tlearn.data.erasing import RandomErasing
from tlearn.data.streams import stream

SHAPE = {"mean": (0.5,), "std": (0.5,), "channels": 1, "crop": 1.0, "interpolation": "bilinear"}


def test_erased_windows_have_the_area_and_shape_asked_for():
    erase = RandomErasing(1.0)
    image = np.full((64, 48, 3), 9, np.float32)
    areas, ratios = [], []
    for seed in range(300):
        out = erase.image(image, np.random.default_rng(seed))
        rows, columns = np.nonzero((out != 9).all(-1))
        tall, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == tall * wide  # One whole window, in all channels.
        areas.append(tall * wide / image[..., 0].size)
        ratios.append(tall / wide)
    assert np.all(image == 9)
    # Rounding to whole pixels moves small windows a little.
    assert 0.015 < min(areas) < 0.03 < 0.3 < max(areas) < 0.345
    assert 0.25 < min(ratios) < 0.4 < 1 < 2.5 < max(ratios) < 3.7
    noise = np.concatenate(
        [
            out[(out != 9).all(-1)].ravel()
            for out in (erase.image(image, np.random.default_rng(seed)) for seed in range(100))
        ]
    )
    assert abs(noise.mean()) < 0.02
    assert noise.std() == pytest.approx(1, abs=0.02)


def test_erasing_comes_as_often_as_said_and_whole_batches_are_the_same():
    erase = RandomErasing(0.25)
    images = np.zeros((400, 8, 8, 1), np.float32)
    rngs = [stream(0, "erase", 0, i) for i in range(400)]
    whole = erase.many(images, rngs)
    one_by_one = [erase.image(im, stream(0, "erase", 0, i)) for i, im in enumerate(images)]
    assert np.array_equal(whole, np.stack(one_by_one))
    share = np.mean(whole.any((1, 2, 3)))
    assert share == pytest.approx(0.25, abs=0.065)  # Three standard deviations.
    with pytest.raises(DataError, match="put it after Normalise"):
        erase.image(np.zeros((8, 8, 3), np.uint8), np.random.default_rng(0))
    with pytest.raises(DataError, match=r"a probability lies in 0\.\.1"):
        RandomErasing(1.5)


def test_the_spread_of_randaugments_strengths(monkeypatch):
    seen: list[float] = []

    def note(picture, strength, sign):
        seen.append(strength * 30)
        return picture

    monkeypatch.setattr("tlearn.data.randaugment.OPERATIONS", {"note": note})
    image = np.zeros((4, 4, 3), np.uint8)
    for seed in range(300):
        RandAugment(2, 27.0, 1.5).image(image, np.random.default_rng(seed))
    assert np.mean(seen) == pytest.approx(27, abs=0.2)
    assert np.std(seen) == pytest.approx(1.5, abs=0.2)
    assert max(seen) <= 30
    seen.clear()
    RandAugment(2, 9.0).image(image, np.random.default_rng(0))
    assert seen == [9.0, 9.0]


def test_settings_become_a_pipeline():
    large = Augmentation(
        kind="randaugment", window=0.2, magnitude=27, spread=1.5, erase=0.25, jitter=0.4
    ).pipeline(**SHAPE, size=224)
    assert [type(t).__name__ for t in large.transforms] == [
        "RandomResizedCrop",
        "FlipLR",
        "RandAugment",
        "ColorJitter",
        "ToChannels",
        "ToFloat",
        "Normalise",
        "RandomErasing",
    ]
    assert "scale=(0.2, 1.0)" in str(large)
    # Small pictures are shifted unless a window is asked for.
    small = Augmentation(kind="crop")
    assert small.pipeline(**SHAPE, size=32) == train_pipeline(
        mean=(0.5,), std=(0.5,), size=32, crop="random", padding=4, flip=True
    )
    assert "RandomResizedCrop" in str(
        Augmentation(kind="crop", window=0.08).pipeline(**SHAPE, size=32)
    )
    assert not Augmentation().pipeline(**SHAPE, size=32).random


def test_either_mix_by_chance(arrays):
    both = Augmentation(mix="both", mixup_alpha=0.8)
    assert both.mixes == (Mixup(0.8), CutMix(1.0))
    pipeline = Augmentation().pipeline(
        **SHAPE | {"mean": (0.5,) * 3, "std": (0.5,) * 3, "channels": 3}, size=8
    )
    batches = Batches(arrays, pipeline, 8, seed=0, shuffle=True, mix=both.mixes)
    plain = Batches(arrays, pipeline, 8, seed=0, shuffle=True)
    pasted = []
    for step in range(60):
        mixed, clean = batches.at(step)["image"], plain.at(step)["image"]
        # CutMix leaves pixels outside its window as they were; Mixup blends every one.
        pasted.append(np.mean(mixed == clean) > 0.2)
    assert 0.3 < np.mean(pasted) < 0.7


def test_settings_without_effect_are_refused_together():
    with pytest.raises(DataError) as error:
        Augmentation(kind="none", erase=0.25, magnitude=5, mixup_alpha=0.8, window=0.5)
    for part in (
        "erase=0.25 needs augment=flip",
        "magnitude=5 needs augment=randaugment",
        "mixup_alpha=0.8 needs mix=mixup or both",
        "window=0.5 needs augment=crop or randaugment",
    ):
        assert part in str(error.value)
    with pytest.raises(DataError, match="kind 'mirror' is none of none, flip"):
        Augmentation(kind="mirror")
