"""TFDS through its data sources, on a set built here with TFDS's own builder; no TensorFlow."""

import io
import json
import pickle
import sys

import numpy as np
import pytest
from PIL import Image

from tlearn.data import Batches, DataError, Pipeline, Resize, open_dataset, per_class

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("array_record")


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (6 + seed % 2, 5, 3), dtype=np.uint8)


def prepare(data_dir, features, make, name="tiny"):
    """Writes a dataset with 7 training and 4 test examples in the array_record format."""

    def generate(count, start):
        for index in range(start, start + count):
            stream = io.BytesIO()
            Image.fromarray(picture(index)).save(stream, "png")
            stream.seek(0)
            yield index, make(stream, index)

    def info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    body = {
        "VERSION": tfds.core.Version("1.0.0"),
        "name": name,
        "_info": info,
        "_split_generators": lambda self, _: {"train": generate(7, 0), "test": generate(4, 7)},
        "_generate_examples": lambda self: iter(()),
    }
    kind = type(name.title(), (tfds.core.GeneratorBasedBuilder,), {**body, "__module__": __name__})
    builder = kind(data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare()
    return data_dir


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    labels = tfds.features.ClassLabel(names=["cat", "dog"])
    return prepare(
        tmp_path_factory.mktemp("tfds"),
        {"image": tfds.features.Image(shape=(None, None, 3)), "label": labels},
        lambda stream, index: {"image": stream, "label": index % 2},
    )


def test_by_name_by_folder_and_bare(data_dir):
    train = open_dataset("tfds:tiny", "train", data_dir=data_dir)
    assert train.label_names == ("cat", "dog")
    assert len(train) == 7
    assert "tensorflow" not in sys.modules
    # TFDS shuffles when it writes; every picture is there with its label.
    expected = {picture(i).tobytes(): i % 2 for i in range(7)}
    found = {train[i]["image"].tobytes(): int(train[i]["label"]) for i in range(7)}
    assert found == expected
    for where in (data_dir / "tiny", data_dir / "tiny" / "1.0.0"):
        assert open_dataset(f"tfds:{where}", "train").digest == train.digest
        assert open_dataset(where, "train").digest == train.digest
    assert open_dataset("tfds:tiny", "test", data_dir=data_dir).digest != train.digest
    # Ours and theirs cut at the same places.
    theirs = tfds.data_source("tiny", split="test[:50%]", data_dir=data_dir)
    ours = open_dataset("tfds:tiny", "test[:50%]", data_dir=data_dir)
    assert len(ours) == len(theirs)
    assert all(np.array_equal(ours[i]["image"], theirs[i]["image"]) for i in range(2))


def test_it_serves_subsets_batches_and_other_processes(data_dir):
    train = open_dataset("tfds:tiny", "train", data_dir=data_dir)
    train[0]
    copy = pickle.loads(pickle.dumps(train))
    assert np.array_equal(copy[3]["image"], train[3]["image"])
    assert np.bincount(per_class(train, 2, seed=0).labels).tolist() == [2, 2]
    batch = Batches(train, Pipeline((Resize((4, 4)),)), 4, seed=0, shuffle=True).at(1)
    assert batch["image"].shape == (4, 4, 4, 3)
    assert batch["mask"].tolist() == [1, 1, 1, 0]


def test_features_are_chosen_or_asked_for(tmp_path):
    label = tfds.features.ClassLabel(names=["a", "b"])
    image = tfds.features.Image(shape=(None, None, 3))
    where = prepare(
        tmp_path,
        {"photo": image, "kind": label, "other": label},
        lambda stream, index: {"photo": stream, "kind": index % 2, "other": (index + 1) % 2},
        name="twofold",
    )
    with pytest.raises(DataError, match=r"one ClassLabel feature, found \['kind', 'other'\]"):
        open_dataset(where, "train")
    assert len(open_dataset(where, "train", label_key="other")) == 7
    with pytest.raises(DataError, match="'kid' is no ClassLabel: did you mean 'kind'"):
        open_dataset(where, "train", label_key="kid")


def test_what_cannot_be_read_is_explained(data_dir, tmp_path):
    with pytest.raises(DataError, match=r"knows no dataset 'mnits': did you mean 'mnist'\?"):
        open_dataset("tfds:mnits", "train", data_dir=data_dir)
    with pytest.raises(DataError, match=r"is not prepared in .*file_format='array_record'"):
        open_dataset("tfds:mnist", "train", data_dir=tmp_path)
    with pytest.raises(DataError, match="expected one prepared TFDS dataset"):
        open_dataset(f"tfds:{tmp_path}", "train")
    with pytest.raises(DataError, match="did you mean 'train'"):
        open_dataset("tfds:tiny", "trian", data_dir=data_dir)
    # A folder of TFRecords, as TFDS writes them by default.
    old = tmp_path / "tiny" / "1.0.0"
    old.mkdir(parents=True)
    for file in (data_dir / "tiny" / "1.0.0").iterdir():
        text = file.read_bytes()
        if file.suffix == ".json":
            text = text.replace(b'"array_record"', b'"tfrecord"')
        (old / file.name.replace("array_record", "tfrecord")).write_bytes(text)
    assert json.loads((old / "dataset_info.json").read_text())["fileFormat"] == "tfrecord"
    with pytest.raises(DataError, match=r"stored as tfrecord, which needs TensorFlow"):
        open_dataset(f"tfds:{old}", "train")
