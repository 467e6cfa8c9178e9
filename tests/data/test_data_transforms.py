"""Transforms and pipelines: values that print, whole batches bit-equal to single pictures."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from tlearn.data import (
    CenterCrop,
    ColorJitter,
    DataError,
    FlipLR,
    Normalise,
    RandAugment,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    ToChannels,
    ToFloat,
    Transform,
    eval_pipeline,
    train_pipeline,
)
from tlearn.data.randaugment import OPERATIONS
from tlearn.data.streams import permutation, stream

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ALL = [
    Resize(6),
    Resize((5, 9), "bicubic"),
    CenterCrop(7),
    ToChannels(1),
    ToFloat(),
    RandomCrop(8, padding=2),
    RandomCrop(8, padding=2, border="reflect"),
    RandomResizedCrop(6),
    FlipLR(),
    ColorJitter(0.4, 0.4, 0.4),
    RandAugment(2, 15),
]


def run(transform, image, seed=0):
    return transform({"image": image}, np.random.default_rng(seed))["image"]


@pytest.mark.parametrize("transform", ALL, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_transform_is_a_frozen_value_that_leaves_its_input_alone(
    transform, channels, make_picture
):
    image = make_picture(0, channels=channels)
    before = image.copy()
    first, second = run(transform, image), run(transform, image)
    assert isinstance(transform, Transform)
    assert np.array_equal(first, second)
    assert np.array_equal(image, before)
    assert first.ndim == 3
    assert type(transform)(**dataclasses.asdict(transform)) == transform
    assert type(transform).__name__ in repr(transform)
    many = [run(transform, image, seed).tobytes() for seed in range(20)]
    assert (len(set(many)) > 1) == transform.random


@pytest.mark.parametrize("transform", ALL, ids=lambda t: type(t).__name__)
def test_whole_batches_are_bit_equal_to_single_pictures(transform, make_picture):
    images = np.stack([make_picture(seed, 8, 8) for seed in range(9)])
    whole = transform.many(images, [np.random.default_rng(s) for s in range(9)])
    if whole is not None:
        singles = np.stack([run(transform, image, seed) for seed, image in enumerate(images)])
        assert whole.dtype == singles.dtype
        assert whole.tobytes() == singles.tobytes()


def test_resizing_is_pils_and_the_short_side_is_torchvisions(make_picture):
    image = make_picture(0, 31, 20)
    assert run(Resize(13), image).shape == (20, 13, 3)  # 13 * 31 / 20 = 20.15, rounded down
    expected = Image.fromarray(image).resize((13, 20), Image.Resampling.BILINEAR)
    assert np.array_equal(run(Resize(13), image), np.asarray(expected))
    grey = make_picture(1, 31, 20, 1)
    assert run(Resize((7, 5), "bicubic"), grey).shape == (7, 5, 1)
    floats = grey.astype(np.float32) / 255
    small = run(Resize((7, 5)), floats)
    assert small.dtype == np.float32
    assert np.allclose(small, run(Resize((7, 5)), grey) / 255, atol=0.003)


def test_the_middle_is_cut_with_the_smaller_half_first():
    image = np.arange(9, dtype=np.uint8).reshape(1, 9, 1)
    # (9 - 4) // 2 = 2; (9 - 2) // 2 = 3: as the reference figures of the real weights were made.
    assert run(CenterCrop((1, 4)), image).ravel().tolist() == [2, 3, 4, 5]
    assert run(CenterCrop((1, 2)), image).ravel().tolist() == [3, 4]
    with pytest.raises(DataError, match="put Resize before it"):
        run(CenterCrop(4), image)


def test_channels_change_only_by_name(make_picture):
    grey, colour = make_picture(0, channels=1), make_picture(1)
    assert np.array_equal(run(ToChannels(3), grey), np.repeat(grey, 3, axis=-1))
    luma = np.asarray(Image.fromarray(colour).convert("L")).astype(int)
    assert np.abs(run(ToChannels(1), colour)[..., 0] - luma).max() <= 1
    with pytest.raises(DataError, match=r"1-channel picture: put ToChannels\(3\) before it"):
        run(Normalise(MEAN, STD), run(ToFloat(), grey))
    with pytest.raises(DataError, match="2 channels; expected 1 or 3"):
        run(ToChannels(3), grey.repeat(2, -1))


def test_numbers_are_torchs_to_the_bit():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, -1)
    out = run(Normalise(MEAN, STD), run(ToFloat(), image))
    unit = image.astype(np.float32) / np.float32(255)
    expected = (unit - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    assert out.dtype == np.float32
    assert np.array_equal(out, expected)
    with pytest.raises(DataError, match=r"put ToFloat\(\) before it"):
        run(Normalise(MEAN, STD), image)
    with pytest.raises(DataError, match="float64"):
        run(ToFloat(), image.astype(np.float64))


def test_random_crops_reach_every_place_and_only_those():
    image = np.arange(1, 17, dtype=np.uint8).reshape(4, 4, 1)
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    windows = {padded[i : i + 4, j : j + 4].tobytes() for i in range(3) for j in range(3)}
    seen = {run(RandomCrop(4, padding=1), image, seed).tobytes() for seed in range(200)}
    assert seen == windows


def test_random_windows_have_the_area_and_shape_asked_for():
    crop = RandomResizedCrop(8, scale=(0.2, 0.5), ratio=(0.8, 1.25))
    rng = np.random.default_rng(0)
    for _ in range(300):
        top, left, tall, wide = crop.window(60, 80, rng)
        assert 0 <= top <= 60 - tall
        assert 0 <= left <= 80 - wide
        assert 0.19 < tall * wide / 4800 < 0.52
        assert 0.77 < wide / tall < 1.29
    # A strip has no such window: the middle with the nearest allowed shape.
    assert crop.window(4, 400, rng) == (0, 197, 4, 5)


def test_flips_come_as_often_as_said(make_picture):
    image = make_picture(0)
    flips = [not np.array_equal(run(FlipLR(0.3), image, seed), image) for seed in range(1000)]
    assert abs(np.mean(flips) - 0.3) < 0.05
    assert np.array_equal(run(FlipLR(1.0), image), image[:, ::-1])


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_augment_operations_grow_with_strength(name, channels, make_picture):
    ramp = np.linspace(40, 200, 20 * 20 * channels).reshape(20, 20, channels).astype(np.uint8)
    ramp[5:9, 5:12] += 50
    image = Image.fromarray(ramp[..., 0] if channels == 1 else ramp)

    def change(strength, sign=1.0):
        done = OPERATIONS[name](image, strength, sign)
        assert done.size == image.size
        assert done.mode == image.mode
        return float(np.abs(np.asarray(done, float) - np.asarray(image, float)).mean())

    if name in ("auto_contrast", "equalize"):
        assert change(0.0) == change(1.0) > 0
    elif name == "identity":
        assert change(1.0) == 0
    else:
        assert change(0.0) <= 0.01
        plain = name == "color" and channels == 1
        assert (max(change(1.0), change(1.0, -1.0)) > 0) != plain


def test_colour_transforms_want_bytes(make_picture):
    image = make_picture(0).astype(np.float32)
    for transform in (RandAugment(), ColorJitter(0.1)):
        with pytest.raises(DataError, match=r"put it before ToFloat\(\)"):
            run(transform, image)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Resize(0),
        lambda: Resize(8, "cubic"),
        lambda: CenterCrop((0, 2)),
        lambda: ToChannels(4),
        lambda: Normalise((0.5,), (0.0,)),
        lambda: Normalise((0.5,), (0.5, 0.5)),
        lambda: RandomCrop(8, padding=-1),
        lambda: RandomCrop(8, border="wrap"),
        lambda: RandomResizedCrop(8, scale=(0.5, 0.1)),
        lambda: FlipLR(1.5),
        lambda: ColorJitter(-0.1),
        lambda: RandAugment(2, 31),
        lambda: eval_pipeline(mean=MEAN, std=STD, size=8, crop=1.5),
        lambda: eval_pipeline(mean=MEAN, std=STD, size=8, channels=1),
        lambda: train_pipeline(mean=MEAN, std=STD, size=8, crop="middle"),
        lambda: train_pipeline(mean=MEAN, std=STD, size=8, crop="center", padding=4),
    ],
)
def test_numbers_that_make_no_sense_are_refused(make):
    with pytest.raises(DataError):
        make()


def test_pipelines_print_and_have_digests(make_picture):
    pipeline = eval_pipeline(mean=MEAN, std=STD, size=224, crop=0.875)
    assert str(pipeline) == (
        "Resize(size=256, interpolation='bilinear') > CenterCrop(size=224) > "
        "ToChannels(channels=3) > ToFloat() > "
        "Normalise(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))"
    )
    again = eval_pipeline(mean=list(MEAN), std=np.array(STD), size=224, crop=0.875)
    assert again == pipeline
    assert again.digest == pipeline.digest
    other = eval_pipeline(mean=MEAN, std=STD, size=224, crop=0.9)
    assert other.digest != pipeline.digest
    assert not pipeline.random
    out = pipeline({"image": make_picture(0, 300, 280), "label": 1})
    assert out["image"].shape == (224, 224, 3)
    assert out["label"] == 1


def test_training_pipelines(make_picture):
    image = {"image": make_picture(0, 40, 48)}
    for options in (
        {"flip": True, "jitter": (0.4, 0.4, 0.4)},
        {"crop": "random", "padding": 4, "randaugment": (2, 9.0)},
    ):
        pipeline = train_pipeline(mean=MEAN, std=STD, size=32, **options)
        assert pipeline.random
        out = pipeline(image, np.random.default_rng(0))["image"]
        assert out.shape == ((32, 32, 3))
        assert out.dtype == np.float32
        with pytest.raises(DataError, match="needs a generator"):
            pipeline(image)
    assert not train_pipeline(mean=MEAN, std=STD, size=32, crop="center").random


def test_streams_are_functions_of_their_coordinates():
    draws = {
        stream(s, n, e, i).random() for s in (0, 1) for n in "ab" for e in (0, 1) for i in (0, 1)
    }
    assert len(draws) == 16
    assert stream(3, "x", 1, 2).random() == stream(3, "x", 1, 2).random()
    with pytest.raises(ValueError, match="seed -1 is negative"):
        stream(-1, "x")
    # Golden: an order never changes, with no version of NumPy.
    assert permutation(0, "order", 10, 0).tolist() == GOLDEN_ORDERS[0]
    assert permutation(0, "order", 10, 1).tolist() == GOLDEN_ORDERS[1]
    assert permutation(1, "order", 10, 0).tolist() == GOLDEN_ORDERS[2]


GOLDEN_ORDERS = (
    [3, 0, 2, 7, 4, 5, 1, 6, 9, 8],
    [8, 3, 4, 9, 5, 7, 2, 1, 0, 6],
    [6, 1, 7, 8, 2, 5, 4, 9, 0, 3],
)
