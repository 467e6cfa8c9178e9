"""The data room on real files, small parts only: MNIST, hymenoptera and the CIFAR-10 JPEGs."""

import numpy as np
import pytest

from tlearn.data import (
    Batches,
    CenterCrop,
    DataError,
    Pipeline,
    Resize,
    eval_pipeline,
    open_dataset,
)

pytestmark = pytest.mark.data


def test_mnist(shared_data):
    test = open_dataset(f"mnist:{shared_data}/mnist", "test[:500]")
    assert len(test) == 500
    assert test[0]["image"].shape == (28, 28, 1)
    assert [test.label_names[label] for label in test.labels[:6]] == list("721041")
    pipeline = eval_pipeline(mean=(0.1307,), std=(0.3081,), size=28)
    batch = Batches(test, pipeline, 500, seed=0, shuffle=False).at(0)
    assert abs(batch["image"].mean()) < 0.1
    assert abs(batch["image"].std() - 1) < 0.1


def test_hymenoptera(shared_data):
    root = shared_data / "hymenoptera"
    everything = open_dataset(root, "train")
    assert len(everything) == 245  # with the file that is a picture, but not of an ant
    train = open_dataset(root, "train", exclude=("imageNotFound.gif",))
    assert len(train) == 244
    val = open_dataset(root, "val", exclude=("imageNotFound.gif",))
    assert (len(val), val.label_names) == (153, ("ants", "bees"))
    with pytest.raises(DataError, match=r"did you mean 'imageNotFound\.gif'"):
        open_dataset(root, "train", exclude=("imagenotfound.png",))


def test_resize_and_crop_are_bit_equal_to_an_independent_pipeline(shared_data):
    reference = np.load(shared_data / "w_mobilenet_v2_imagenet" / "reference.npz")
    val = open_dataset(shared_data / "hymenoptera", "val", check="none")
    batches = Batches(
        val.subset([0, 40, 80, 120]),
        Pipeline((Resize(256), CenterCrop(224))),
        4,
        seed=0,
        shuffle=False,
    )
    assert np.array_equal(batches.at(0)["image"], reference["images_uint8_nhwc"])


def test_cifar_as_an_archive(shared_data):
    test = open_dataset(f"tar:{shared_data}/cifar10_jpeg", "test")
    assert len(test) == 10_000
    assert test.in_memory
    assert test.label_names[:3] == ("airplane", "automobile", "bird")
    assert np.bincount(test.labels).tolist() == [1000] * 10
    reference = np.load(shared_data / "w_resnet_cifar10" / "reference.npz")
    known = {image.tobytes() for image in test.images}
    assert all(image.tobytes() in known for image in reference["images_uint8_nhwc"])
