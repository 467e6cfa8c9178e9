"""What a finished run is good for: scores, labels for pictures, features."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import NEW, OLD, colour_folder, transfer

from tlearn import hub
from tlearn.data import DataError, open_dataset, select_classes
from tlearn.hub import HubError
from tlearn.model import variables
from tlearn.runs.reading import Selection
from tlearn.runs.use import extract, load, predict, score
from tlearn.transfer.feature_store import StoreError


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    return colour_folder(tmp_path_factory.mktemp("colours") / "pictures")


@pytest.fixture(scope="module")
def trained(digits_run, colours, tmp_path_factory):
    """A run that tells red, green and blue apart."""
    data = {"data": str(colours), "classes": (), "per_class": 0, "validation": "test", "size": 8}
    out = tmp_path_factory.mktemp("colour") / "run"
    return transfer(digits_run, out, **data, channels="adapt", length="30st", rate=0.1)


def test_a_score_is_the_same_by_folder_by_source_and_in_any_batches(digits_run):
    found = score(str(digits_run), Selection("digits", "test", classes=OLD))
    assert found.count == 250
    again = score(f"run:{digits_run}", Selection("digits", "test", classes=OLD), batch_size=37)
    assert again.metrics == pytest.approx(found.metrics, rel=1e-6)
    assert found.metrics["accuracy"] == np.mean(found.predictions.argmax(-1) == found.labels)


def test_labels_are_matched_by_name(digits_run):
    backward = score(str(digits_run), Selection("digits", "test", classes=OLD[::-1]))
    forward = score(str(digits_run), Selection("digits", "test", classes=OLD))
    assert backward.metrics["accuracy"] == forward.metrics["accuracy"]
    two = score(str(digits_run), Selection("digits", "test", classes=("3", "1")))
    assert two.count == 100
    assert set(two.labels) == {1, 3}


def test_labels_unseen_in_training_are_refused(digits_run):
    with pytest.raises(DataError, match=r"unseen.*: '5'.*--classes 0 1 2 3 4; the model"):
        score(str(digits_run), Selection("digits", "test"))
    with pytest.raises(DataError, match="unseen in training: '7'; the model knows '0', '1'"):
        score(str(digits_run), Selection("digits", "test", classes=("7",)))


def test_pictures_get_label_names_with_probabilities(trained, colours):
    assert trained.validation.metrics["accuracy"] > 0.8
    pictures = [colours / "test" / name / f"{i}.png" for name in ("blue", "red") for i in range(4)]
    found = list(predict(str(trained.folder), pictures))
    assert [p.given for p in found] == pictures
    for prediction in found:
        names, chances = zip(*prediction.labels, strict=True)
        assert set(names) == {"red", "green", "blue"}
        assert sum(chances) == pytest.approx(1, abs=1e-5)
        assert list(chances) == sorted(chances, reverse=True)
    right = [p.labels[0][0] == p.given.parent.name for p in found]
    assert np.mean(right) > 0.7
    assert str(found[0]).startswith(f"{pictures[0]}: ")


def test_predictions_do_not_depend_on_the_batch(trained, colours):
    pictures = sorted((colours / "test").rglob("*.png"))[:5]
    one = [p.labels for p in predict(str(trained.folder), pictures, batch_size=2)]
    all_ = [p.labels for p in predict(str(trained.folder), pictures)]
    for a, b in zip(one, all_, strict=True):
        assert dict(a) == pytest.approx(dict(b), abs=1e-6)


def test_all_unreadable_pictures_are_named(trained, colours, tmp_path):
    (tmp_path / "note.png").write_text("no picture")
    wrong = [tmp_path / "note.png", tmp_path / "absent.png"]
    with pytest.raises(DataError) as told:
        list(predict(str(trained.folder), [colours / "test" / "red" / "0.png", *wrong]))
    assert all(str(path) in str(told.value) for path in wrong)
    assert str(told.value).count("note.png") == 1


def test_features_are_the_bodys_and_reopened(digits_run, tmp_path):
    done = []
    store = extract(
        str(digits_run),
        Selection("digits", "test", classes=NEW),
        tmp_path / "features",
        progress=lambda count, whole: done.append((count, whole)),
    )
    assert len(store) == 250
    assert store.origin == "written"
    assert done[-1] == (250, 250)
    loaded = load(str(digits_run))
    dataset = select_classes(open_dataset("digits", "test"), NEW)
    image = loaded.reader().pipeline(dataset[7])["image"]
    features = loaded.model.apply(
        variables(loaded.params, loaded.statistics), jnp.asarray(image)[None], method="features"
    )
    np.testing.assert_allclose(store.rows([7])[0], features.pooled[0], rtol=1e-5, atol=1e-6)
    again = extract(
        str(digits_run), Selection("digits", "test", classes=NEW), tmp_path / "features"
    )
    assert again.origin == "reopened"
    other = extract(
        str(digits_run), Selection("digits", "test", classes=OLD), tmp_path / "features"
    )
    assert other.origin.startswith("recomputed")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"holds other files \(notes.txt\)"):
        extract(str(digits_run), Selection("digits", "test"), tmp_path / "taken")


def test_features_of_the_same_weights_read_otherwise_are_others(digits_run, tmp_path, monkeypatch):
    chosen = Selection("digits", "test", classes=NEW)
    first = extract(str(digits_run), chosen, tmp_path / "features")
    source = load(str(digits_run)).source
    other = dataclasses.replace(source, body=dict(source.body) | {"norm_epsilon": 0.5})
    monkeypatch.setattr("tlearn.runs.use._source", lambda spec: other)
    second = extract(str(digits_run), chosen, tmp_path / "features")
    assert second.origin.startswith("recomputed")
    assert not np.allclose(second.rows([7]), first.rows([7]))


def test_converted_channels_are_told(digits_run, colours, tmp_path):
    said = []
    extract(str(digits_run), Selection(str(colours), "test"), tmp_path / "grey", say=said.append)
    assert said == ["the pictures have 3 channels and are converted to 1"]


def test_a_source_without_a_head_is_refused(digits_run, tmp_path):
    source = hub.load(f"run:{digits_run}")
    body = {path: value for path, value in source.params.items() if path.startswith("body/")}
    bare = dataclasses.replace(source, params=body, head=None, label_names=None)
    hub.save_model(tmp_path / "bare", bare)
    with pytest.raises(HubError, match="carries no head; fine-tune it first"):
        score(f"run:{tmp_path / 'bare'}", Selection("digits", "test"))


def test_outputs_without_names_must_at_least_be_as_many(digits_run, tmp_path):
    source = dataclasses.replace(hub.load(f"run:{digits_run}"), label_names=None)
    hub.save_model(tmp_path / "nameless", source)
    with pytest.raises(DataError, match="5 outputs without names, the data has 10 labels"):
        score(str(tmp_path / "nameless"), Selection("digits", "test"))
    assert load(str(tmp_path / "nameless")).label_names == OLD
