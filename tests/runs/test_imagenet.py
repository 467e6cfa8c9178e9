"""Supervised pre-training at ImageNet's shape: its two layouts, with a preset's own pipeline."""

import io

import numpy as np
import pytest
from PIL import Image
from small_runs import transfer

from tlearn.data import open_dataset
from tlearn.runs.build import build
from tlearn.runs.config import DataConfig, RunConfig, replace
from tlearn.runs.presets import apply_preset
from tlearn.runs.reading import Selection
from tlearn.runs.training import start
from tlearn.runs.use import load, score

SYNSETS = ("n01440764", "n01443537", "n02089867")
SMALL = ("stage_blocks=1,", "stage_widths=4,", "stem_width=4", "zero_init_residual=true")


def jpeg(seed: int) -> bytes:
    """A photograph's shape, never square, with a colour of its class."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, (240 + 7 * (seed % 5), 300 + 11 * (seed % 3), 3), np.uint8)
    pixels[..., seed % 3] += 150
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "jpeg")
    return stream.getvalue()


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """``train/<synset>/<synset>_<n>.JPEG`` and ``val/<synset>/ILSVRC2012_val_<n>.JPEG``."""
    root = tmp_path_factory.mktemp("sets") / "imagenet"
    for split, count in (("train", 4), ("val", 2)):
        for place, synset in enumerate(SYNSETS):
            folder = root / split / synset
            folder.mkdir(parents=True)
            for number in range(count):
                stem = f"{synset}_{number}" if split == "train" else f"ILSVRC2012_val_{number:08}"
                seed = 3 * (number + (100 if split == "val" else 0)) + place
                (folder / f"{stem}.JPEG").write_bytes(jpeg(seed))
    return root


@pytest.fixture(scope="module")
def pretrained(imagenet, tmp_path_factory):
    base = RunConfig(data=DataConfig(data=f"folder:{imagenet}"))
    config = replace(
        apply_preset(base, "resnet50_imagenet_cosine"),
        settings=SMALL,
        batch_size=4,
        length="2st",
        ema=0.9,
    )
    return start(config, tmp_path_factory.mktemp("runs") / "old", say=list().append, quiet=True)


def test_it_pretrains_evaluates_and_is_fine_tuned_from(pretrained, imagenet, tmp_path):
    assert pretrained.test.count == 6  # All of val, read as `validation`.
    facts = load(str(pretrained.folder)).source.facts
    assert (facts.size, facts.crop, facts.interpolation) == (224, 0.875, "bilinear")
    assert facts.mean == (0.485, 0.456, 0.406)
    again = score(str(pretrained.folder), Selection(str(imagenet), "val"))
    assert again.metrics["accuracy"] == pretrained.test.metrics["accuracy"]
    assert again.predictions == pytest.approx(pretrained.test.predictions, abs=1e-5)
    # Its facts carry over: the new task's pictures are prepared as the old one's were.
    shown = {"data": str(imagenet), "classes": SYNSETS[:2], "per_class": 2, "validation": "0%"}
    run = transfer(
        pretrained.folder, tmp_path / "new", **shown, length="1st", batch_size=4, freeze="body"
    )
    assert load(str(run.folder)).source.facts == facts
    assert load(str(run.folder)).label_names == SYNSETS[:2]


def test_recipes_prepare_pictures_as_published(imagenet):
    base = RunConfig(data=DataConfig(data=f"folder:{imagenet}"))
    small = {"settings": ("width=16", "depth=1", "heads=2", "feed_forward=16"), "length": "2st"}
    built = build(replace(apply_preset(base, "deit_small"), **small, batch_size=4), draw=False)
    assert str(built.task.eval_pipeline).startswith("Resize(size=256, interpolation='bicubic') > ")
    train = str(built.task.train_pipeline)
    for part in (
        "RandomResizedCrop(size=224, scale=(0.08, 1.0)",
        "RandAugment(layers=2, magnitude=27.0, spread=1.5)",
        "RandomErasing(probability=0.25",
    ):
        assert part in train
    assert built.task.objective.smoothing == 0.1
    batch = built.task.train_batches(4, 0).at(0)
    assert batch["image"].shape == (4, 224, 224, 3)
    assert batch["label_weights"].sum(1) == pytest.approx(1)
    # The test part of a recipe is what is reported; nothing is chosen on it.
    assert built.task.validation is None
    assert len(built.task.test) == 6


def test_the_scale_of_pixels_travels_with_weights(pretrained, imagenet, tmp_path):
    shown = {"data": str(imagenet), "classes": (), "per_class": 0, "validation": "0%"}
    with pytest.raises(ValueError, match="own mean and deviation travel"):
        transfer(pretrained.folder, tmp_path / "no", **shown, pixels="half")


def test_tfds_imagenet2012_by_name(tmp_path):
    """As TFDS lays ILSVRC 2012 out: features, splits (test without labels) and version."""
    tfds = pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("array_record")
    theirs = tfds.builder("imagenet2012", data_dir=tmp_path)

    def generate(count, start, labelled=True):
        for index in range(start, start + count):
            yield (
                index,
                {
                    "image": io.BytesIO(jpeg(index)),
                    "label": index % 3 if labelled else -1,
                    "file_name": f"{index}.JPEG",
                },
            )

    def splits(self, _):
        return {
            "train": generate(5, 0),
            "validation": generate(3, 5),
            "test": generate(2, 8, labelled=False),
        }

    body = {
        "VERSION": theirs.version,
        "name": "imagenet2012",
        "_info": lambda self: tfds.core.DatasetInfo(builder=self, features=theirs.info.features),
        "_split_generators": splits,
        "_generate_examples": lambda self: iter(()),
        "__module__": __name__,
    }
    bases = (tfds.core.GeneratorBasedBuilder,)
    ours = type("Imagenet2012", bases, body, skip_registration=True)
    ours(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    train = open_dataset("tfds:imagenet2012", "train", data_dir=tmp_path)
    assert len(train) == 5
    assert len(train.label_names) == 1000
    assert train.label_names[0] == "n01440764"
    assert train[0]["image"].shape[2] == 3
    assert len(open_dataset("tfds:imagenet2012", "validation", data_dir=tmp_path)) == 3
    with pytest.raises(ValueError, match="2 of 2 examples have no label"):
        open_dataset("tfds:imagenet2012", "test", data_dir=tmp_path)
    # A preset's splits fit as they are.
    base = RunConfig(data=DataConfig(data=f"tfds:{tmp_path / 'imagenet2012'}"))
    small = {"settings": SMALL, "batch_size": 2, "length": "2st"}
    built = build(replace(apply_preset(base, "resnet50_imagenet"), **small), draw=False)
    assert (len(built.task.train), len(built.task.test)) == (5, 3)
