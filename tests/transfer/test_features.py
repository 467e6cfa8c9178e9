"""The feature store: exact, keyed, whole or absent, every example once, random views refused."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn.transfer import feature_store
from tlearn.transfer.feature_store import StoreError, open_store
from tlearn.transfer.features import extract

N, WIDTH, BATCH = 23, 5, 8
KERNEL = np.random.default_rng(1).normal(size=(4, WIDTH)).astype(np.float32)
DATA = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
LABELS = np.arange(N, dtype=np.int32) % 3


class Batches:
    """Shuffled, padded batches; epoch e adds e to the inputs, as a random draw would."""

    steps_per_epoch = -(-N // BATCH)

    def __init__(self, fill=0.0):
        self.fill, self.asked = fill, 0

    def at(self, step):
        self.asked += 1
        epoch, at = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng(epoch).permutation(N)[at * BATCH : (at + 1) * BATCH]
        image = np.full((BATCH, 4), self.fill, np.float32)
        image[: len(order)] = DATA[order] + epoch
        pad = BATCH - len(order)
        return {
            "image": image,
            "label": np.pad(LABELS[order], (0, pad)),
            "index": np.pad(order, (0, pad), constant_values=-1),
            "mask": np.pad(np.ones(len(order), np.float32), (0, pad)),
        }


@jax.jit
def body(image):
    return jnp.tanh(image @ KERNEL)


def apply(batch):
    return body(batch["image"])


KEYS = {"weights": "w1", "preprocessing": "Resize(8)", "data": "d1"}


def test_features_are_those_of_the_body_in_the_order_of_the_data(tmp_path):
    done = []
    store = extract(
        apply, Batches(), tmp_path / "s", examples=N, progress=lambda *a: done.append(a), **KEYS
    )
    assert store.origin == "written"
    np.testing.assert_array_equal(store.features[0], body(DATA))
    np.testing.assert_array_equal(store.labels, LABELS)
    np.testing.assert_array_equal(store.rows([3, 1]), np.asarray(body(DATA))[[3, 1]])
    assert (len(store), store.width) == (N, WIDTH)
    assert done[-1] == (N, N)
    assert isinstance(store.features, np.memmap)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s"]


def test_equal_keys_reopen_and_any_other_recomputes_with_the_reason(tmp_path):
    first = Batches()
    extract(apply, first, tmp_path / "s", examples=N, **KEYS)
    again = Batches()
    store = extract(apply, again, tmp_path / "s", examples=N, **KEYS)
    assert store.origin == "reopened"
    assert again.asked == 0
    for name in KEYS:
        other = Batches()
        store = extract(apply, other, tmp_path / "s", examples=N, **KEYS | {name: "new"})
        assert store.origin == f"recomputed: {name} {KEYS[name]} is now new"
        assert other.asked == Batches.steps_per_epoch
        assert open_store(tmp_path / "s").key == store.key
        extract(apply, Batches(), tmp_path / "s", examples=N, **KEYS)
    store = extract(apply, Batches(), tmp_path / "s", examples=N, dtype="bfloat16", **KEYS)
    assert "dtype float32 is now bfloat16" in store.origin


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_half_precision_halves_the_store(tmp_path, dtype, tolerance):
    store = extract(apply, Batches(), tmp_path / "s", examples=N, dtype=dtype, **KEYS)
    assert store.features.dtype == jnp.dtype(dtype)
    assert store.features.nbytes == N * WIDTH * 2
    np.testing.assert_allclose(store.rows(np.arange(N)), body(DATA), rtol=tolerance)
    np.testing.assert_array_equal(jnp.asarray(store.features[0]), body(DATA).astype(dtype))


def test_random_preprocessing_is_refused_or_stored_as_views(tmp_path):
    options = {"examples": N, "random": True, **KEYS}
    with pytest.raises(StoreError, match=r"repeat one draw.*views=K"):
        extract(apply, Batches(), tmp_path / "s", **options)
    store = extract(apply, Batches(), tmp_path / "s", views=3, **options)
    assert store.features.shape == (3, N, WIDTH)
    for view in range(3):
        np.testing.assert_allclose(store.features[view], body(DATA + view), rtol=1e-6)
    np.testing.assert_array_equal(store.labels, LABELS)
    drawing = Batches()
    drawing.random, drawing.seed = True, 4
    store = extract(apply, drawing, tmp_path / "s", examples=N, views=3, **KEYS)
    assert "drawn with seed 4" in store.origin, "other draws are other features"
    with pytest.raises(StoreError, match="repeat one draw"):
        extract(apply, drawing, tmp_path / "t", examples=N, **KEYS)
    with pytest.raises(StoreError, match="2 copies"):
        extract(apply, Batches(), tmp_path / "t", examples=N, views=2, **KEYS)


def test_a_plain_list_of_batches_is_taken_in_order(tmp_path):
    batches = [{"image": DATA[:16]}, {"image": DATA[16:]}]
    store = extract(apply, batches, tmp_path / "s", examples=N, **KEYS)
    np.testing.assert_allclose(store.features[0], body(DATA), rtol=1e-6)
    assert store.labels is None
    with pytest.raises(StoreError, match="need batches with 'index'"):
        extract(apply, batches, tmp_path / "t", examples=N, random=True, views=2, **KEYS)


def test_every_example_must_come_exactly_once(tmp_path):
    # Law 6. Fails without the check that every example was seen once.
    for examples, reason in ((N + 1, "1 did not come"), (N - 1, "none beyond")):
        with pytest.raises(StoreError, match=reason):
            extract(apply, Batches(), tmp_path / "s", examples=examples, **KEYS)
    twice = Batches()
    twice.at = lambda step: Batches().at(0)
    with pytest.raises(StoreError, match="8 came more than once"):
        extract(apply, twice, tmp_path / "s", examples=N, **KEYS)
    assert list(tmp_path.iterdir()) == []


def test_padding_may_be_anything_and_features_must_be_finite(tmp_path):
    store = extract(apply, Batches(fill=np.nan), tmp_path / "s", examples=N, **KEYS)
    np.testing.assert_array_equal(store.features[0], body(DATA))
    with pytest.raises(StoreError, match=r"not finite for examples \[\d+"):
        extract(
            lambda b: jnp.where(b["index"][:, None] == 7, jnp.nan, apply(b)),
            Batches(),
            tmp_path / "t",
            examples=N,
            **KEYS,
        )
    with pytest.raises(StoreError, match="do not fit into float16"):
        extract(
            lambda b: 1e6 * apply(b), Batches(), tmp_path / "t", examples=N, dtype="float16", **KEYS
        )


def test_labels_that_change_between_views_are_refused(tmp_path):
    batches = Batches()

    def at(step):
        batch = Batches().at(step)
        return batch | {"label": batch["label"] + step // batches.steps_per_epoch}

    batches.at = at
    with pytest.raises(StoreError, match="labels change"):
        extract(apply, batches, tmp_path / "s", examples=N, random=True, views=2, **KEYS)
    mixed = [{"image": DATA, "label_weights": np.ones((N, 2))}]
    with pytest.raises(StoreError, match="mixup"):
        extract(apply, mixed, tmp_path / "s", examples=N, **KEYS)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    extract(apply, Batches(), tmp_path / "s", examples=N, **KEYS)
    failing = Batches()

    def at(step):
        if step == 2:
            raise RuntimeError("the picture is torn")
        return Batches().at(step)

    failing.at = at
    other = KEYS | {"weights": "w2"}
    with pytest.raises(RuntimeError, match="torn"):
        extract(lambda b: -apply(b), failing, tmp_path / "s", examples=N, **other)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s"]
    store = open_store(tmp_path / "s")
    assert store.key.weights == "w1"
    np.testing.assert_array_equal(store.features[0], body(DATA))


def test_a_damaged_store_is_recomputed_with_the_reason(tmp_path):
    for damage in ("truncate", "unlink", "meta"):
        extract(apply, Batches(), tmp_path / "s", examples=N, **KEYS)
        path = tmp_path / "s" / "features.npy"
        if damage == "truncate":
            os.truncate(path, path.stat().st_size - 8)
        elif damage == "unlink":
            path.unlink()
        else:
            (tmp_path / "s" / "meta.json").write_text("{")
        with pytest.raises(StoreError, match="feature store"):
            open_store(tmp_path / "s")
        store = extract(apply, Batches(), tmp_path / "s", examples=N, **KEYS)
        assert store.origin.startswith("recomputed: ")
        np.testing.assert_array_equal(store.features[0], body(DATA))


def test_folders_of_others_are_never_replaced(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"other files \(notes.txt\)"):
        extract(apply, Batches(), tmp_path, examples=N, **KEYS)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(StoreError, match="is a file"):
        extract(apply, Batches(), tmp_path / "notes.txt", examples=N, **KEYS)


def test_a_full_disk_is_said_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(feature_store.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="MiB free") as caught:
        extract(apply, Batches(), tmp_path / "s", examples=N, **KEYS)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys, time
import numpy as np
from tlearn.transfer.features import extract

def apply(batch):
    print("batch", flush=True)
    time.sleep(0.3)
    return batch["image"]

batches = [{"image": np.ones((4, 3), np.float32)}] * 100
extract(apply, batches, sys.argv[1], examples=400, weights="w", preprocessing="p", data="d")
"""


def test_a_killed_write_is_never_taken_for_complete(tmp_path):
    # Fails where the store is written in its own folder instead of one beside it.
    command = [sys.executable, "-c", KILLED, str(tmp_path / "s")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(3):
            process.stdout.readline()
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    left = list(tmp_path.iterdir())
    assert len(left) == 1
    assert (left[0] / "features.npy").exists(), "killed in the middle of writing"
    with pytest.raises(StoreError, match="no feature store"):
        open_store(tmp_path / "s")
    store = extract(apply, Batches(), tmp_path / "s", examples=N, **KEYS)
    assert store.origin == "written"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s"], "what the dead left is cleared"
