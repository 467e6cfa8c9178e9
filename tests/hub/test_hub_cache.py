"""The hub's cache: local folders first, only what is needed, and clear words without a network."""

import socket
import sys
import types
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from tests.hub.folders import write_folder
from tlearn import hub
from tlearn.hub.errors import HubError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of our own, and a network that nobody may touch."""
    place = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def touched(*args, **kwargs):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "getaddrinfo", touched)
    monkeypatch.chdir(tmp_path)
    return place


def cached(cache, repo="org/tiny", revision="main", **kwargs):
    """A repository as the hub's cache lays it out: blobs, links to them, and a ref."""
    root = cache / ("models--" + repo.replace("/", "--"))
    snapshot = root / "snapshots" / COMMIT
    write_folder(snapshot, **kwargs)
    (root / "blobs").mkdir()
    for number, file in enumerate(sorted(snapshot.iterdir())):
        blob = root / "blobs" / f"{number:040x}"
        file.rename(blob)
        file.symlink_to(Path("../../blobs") / blob.name)
    (root / "refs").mkdir()
    (root / "refs" / revision).write_text(COMMIT)
    return snapshot


class Hub:
    """Stands for the hub: what it lists, and what was asked of it."""

    def __init__(self, monkeypatch, snapshot, names=None, error=None):
        self.asked, self.snapshot, self.error = [], snapshot, error
        self.names = names or sorted(p.name for p in snapshot.iterdir())
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: self)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.download)

    def model_info(self, repo, revision=None, timeout=None):
        if self.error is not None:
            raise self.error
        self.asked.append((repo, revision))
        return types.SimpleNamespace(
            siblings=[types.SimpleNamespace(rfilename=name) for name in self.names]
        )

    def download(self, repo, revision=None, allow_patterns=(), local_files_only=False):
        self.asked.append((repo, revision, tuple(allow_patterns), local_files_only))
        return str(self.snapshot)


def test_a_local_folder_is_taken_without_touching_the_network(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    write_folder(tmp_path / "org" / "tiny")
    assert hub.load("hf:org/tiny").provenance["file"] == "model.safetensors"


@pytest.mark.parametrize("shards", [0, 2])
def test_offline_the_cache_gives_what_it_holds(cache, shards):
    cached(cache, shards=shards)
    source = hub.load("hf:org/tiny")
    assert source.label_names == ("bad", "good", "odd")
    assert "vocab.txt" in source.files
    assert hub.load(f"hf:org/tiny@{COMMIT}").digest == source.digest


def test_offline_and_not_cached_is_said_with_the_way_out(cache, tmp_path):
    (tmp_path / "tiney").mkdir()
    cached(cache)
    with pytest.raises(HubError) as error:
        hub.load("hf:tiny")
    message = str(error.value)
    assert "not in the hub's cache, and HF_HUB_OFFLINE is set" in message
    assert "'hf download tiny'" in message
    assert "nearest: 'tiney'" in message
    with pytest.raises(HubError, match="org/tiny@v2 is no folder here"):
        hub.load("hf:org/tiny@v2")


@pytest.mark.parametrize("place", ["../x/y", "a/b/c", "/no/such", "https://x.y/z", "org/", "a..b"])
def test_what_is_neither_folder_nor_name_never_reaches_the_hub(place):
    with pytest.raises(HubError, match=r"no name on the hub|names no weights"):
        hub.load(f"hf:{place}")


def test_only_what_is_needed_is_fetched(cache, monkeypatch):
    snapshot = cached(cache)
    more = ["pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "README.md", "LICENSE.txt"]
    names = [p.name for p in snapshot.iterdir()]
    asked = Hub(monkeypatch, snapshot, [*names, *more]).asked
    hub.load("hf:org/tiny@v1")
    assert asked[0] == ("org/tiny", "v1")
    repo, revision, wanted, local = asked[1]
    assert (repo, revision, local) == ("org/tiny", "v1", False)
    assert set(wanted) == {*names, "README.md", "LICENSE.txt"}
    assert len(asked) == 2


def test_shards_are_fetched_by_their_index_and_none_from_elsewhere(cache, monkeypatch):
    snapshot = cached(cache, shards=2)
    server = Hub(monkeypatch, snapshot)
    hub.load("hf:org/tiny")
    shards = [name for name in server.names if name.startswith("model-")]
    assert server.asked[2][2] == tuple(shards)
    assert not set(shards) & set(server.asked[1][2])
    server.names.remove(shards[0])
    with pytest.raises(HubError, match=f"'{shards[0]}' is no file of org/tiny"):
        hub.load("hf:org/tiny")


def test_out_of_reach_the_cache_serves(cache, monkeypatch):
    snapshot = cached(cache)
    server = Hub(monkeypatch, snapshot, error=ConnectionError("no route"))
    hub.load("hf:org/tiny")
    assert server.asked == [("org/tiny", None, ("config.json",), True)]


def test_the_hubs_refusals_are_told_in_words(cache, monkeypatch):
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    snapshot = cached(cache)
    for kind, words in (
        (GatedRepoError, "ask for access"),
        (RepositoryNotFoundError, "the hub does not know it, or it is private"),
    ):
        error = kind.__new__(kind)
        Exception.__init__(error, "refused")
        Hub(monkeypatch, snapshot, error=error)
        with pytest.raises(HubError, match=words):
            hub.load("hf:org/tiny")


def test_repositories_without_weights_or_config_are_refused(cache, monkeypatch):
    snapshot = cached(cache)
    Hub(monkeypatch, snapshot, ["config.json", "model.gguf"])
    with pytest.raises(HubError, match="has no weights that are read here"):
        hub.load("hf:org/tiny")
    Hub(monkeypatch, snapshot, ["model.safetensors"])
    with pytest.raises(HubError, match=r"has no config.json"):
        hub.load("hf:org/tiny")


def test_timm_names_belong_to_timms_organisation(cache, monkeypatch):
    snapshot = cached(cache)
    asked = Hub(monkeypatch, snapshot).asked
    hub.load("timm:vit_tiny_patch16_224.augreg_in21k")
    assert asked[0] == ("timm/vit_tiny_patch16_224.augreg_in21k", None)


def test_kaggles_package_fetches_and_its_absence_is_told(tmp_path, monkeypatch):
    handle = "google/bert/tensorFlow2/bert-en-uncased-l-2-h-128-a-2"
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(HubError, match=r"install the extra tlearn\[kaggle\]"):
        hub.load(f"tfhub:{handle}")
    (tmp_path / "fetched").mkdir()
    asked = []

    def download(name):
        asked.append(name)
        return str(tmp_path / "fetched")

    monkeypatch.setitem(sys.modules, "kagglehub", types.SimpleNamespace(model_download=download))
    with pytest.raises(HubError, match="fetched holds no TensorFlow checkpoint"):
        hub.load(f"kaggle:{handle}")
    assert asked == [handle]
    with pytest.raises(HubError, match="no handle of Kaggle"):
        hub.load("tfhub:https://tfhub.dev/google/x/1")
