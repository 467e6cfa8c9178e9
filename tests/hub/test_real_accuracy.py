"""Real weights on real pictures: the figures PyTorch gives with the same files.

Measured once with these tests: ResNet-20 0.8103 and ResNet-32 0.8256 of the 10,000 JPEG test
pictures; MobileNetV2 top-1 121, top-5 145 and ant against bee 147 of 153.
"""

import io
import tarfile

import jax
import numpy as np
import pytest

from tlearn import bodies, heads, hub
from tlearn.hub.labels import CIFAR10
from tlearn.model import Model, variables

pytestmark = [pytest.mark.slow, pytest.mark.data]


def predictor(source, head=None, params=None):
    model = Model(body=bodies.build(source.body), head=head or heads.build(source.head))
    state = variables(params or source.params, source.collections)
    mean, std = np.float32([[[source.facts.mean]]]), np.float32([[[source.facts.std]]])

    @jax.jit
    def logits(state, images):
        return model.apply(state, (images.astype(np.float32) / 255 - mean) / std)

    return lambda images: logits(state, images)


def in_batches(logits, images, size):
    assert len(images) % size == 0
    return np.concatenate([logits(images[i : i + size]) for i in range(0, len(images), size)])


@pytest.fixture(scope="module")
def cifar_test(shared_data):
    image_of = pytest.importorskip("PIL.Image")
    images, labels = [], []
    with tarfile.open(shared_data / "cifar10_jpeg" / "test.tar.xz") as archive:
        for member in archive:
            if member.isfile():
                content = archive.extractfile(member).read()
                images.append(np.asarray(image_of.open(io.BytesIO(content)).convert("RGB")))
                labels.append(CIFAR10.index(member.name.split("/")[1]))
    assert len(images) == 10_000
    return np.stack(images), np.array(labels)


@pytest.mark.parametrize(
    ("file", "correct"), [("resnet20-12fca82f.th", 8103), ("resnet32-d509ac18.th", 8256)]
)
def test_resnet_on_the_jpeg_copy_of_cifar(shared_data, cifar_test, file, correct):
    source = hub.load(f"torch:{shared_data / 'w_resnet_cifar10' / file}")
    images, labels = cifar_test
    hits = (in_batches(predictor(source), images, 250).argmax(1) == labels).sum()
    print(file, hits)
    # Two pictures of slack: another machine's rounding may flip a tie.
    assert abs(int(hits) - correct) <= 2


def hymenoptera_picture(path, image_of):
    """Short side to 256 (only two pictures need it), bilinear; then the central 224, floored."""
    picture = image_of.open(path).convert("RGB")
    short = min(picture.size)
    if short != 256:
        size = tuple(int(side * 256 / short) for side in picture.size)
        picture = picture.resize(size, image_of.Resampling.BILINEAR)
    left, top = ((side - 224) // 2 for side in picture.size)
    return np.asarray(picture.crop((left, top, left + 224, top + 224)))


def test_mobilenet_tells_ants_from_bees_without_training(shared_data):
    image_of = pytest.importorskip("PIL.Image")
    folder = shared_data / "w_mobilenet_v2_imagenet"
    source = hub.load(f"safetensors:{folder / 'mobilenet_v2_dequantized_fp16.safetensors'}")
    ant, bee = source.label_index("ant"), source.label_index("bee")
    images, labels = [], []
    for name, label in (("ants", ant), ("bees", bee)):
        for path in sorted((shared_data / "hymenoptera" / "val" / name).iterdir()):
            images.append(hymenoptera_picture(path, image_of))
            labels.append(label)
    assert len(images) == 153
    labels = np.array(labels)
    logits = in_batches(predictor(source), np.stack(images), 51)
    ranked = np.argsort(-logits, axis=1)
    assert (ranked[:, 0] == labels).sum() == 121
    assert (ranked[:, :5] == labels[:, None]).any(1).sum() == 145
    chosen = np.where(logits[:, ant] > logits[:, bee], ant, bee)
    assert (chosen == labels).sum() == 147

    # The same question as a two-class head cut out of the thousand.
    shapes = {
        path: np.zeros((*a.shape[:-1], 2) if path.startswith("head/") else a.shape, np.float32)
        for path, a in source.params.items()
    }
    cut = [("head/.*", "class_subset", ("ant", "bee"))]
    params, _, _ = hub.reconcile(source, shapes, source.collections, resize=cut)
    two = predictor(source, heads.create("linear", classes=2), params)(np.stack(images[:51]))
    np.testing.assert_allclose(two, logits[:51][:, [ant, bee]], atol=1e-4)
