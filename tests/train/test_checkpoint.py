"""Checkpoints: what goes in comes out bit-equal, and damage of any kind is noticed."""

import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tests.checkpoint_states import assert_same, files_of, make_state, ruin, small
from tlearn.params import digest
from tlearn.train.checkpoint import CheckpointError, Checkpoints, MismatchError


@pytest.mark.parametrize("asynchronous", [True, False])
def test_any_pytree_survives(tmp_path, asynchronous):
    state = make_state(5)
    with Checkpoints(tmp_path / "c", asynchronous=asynchronous) as checkpoints:
        assert checkpoints.save(12, state, {"epoch": 1.5, "sums": {"loss": 0.1}, "none": None})
    step, found, extra = Checkpoints(tmp_path / "c").restore(make_state(0))
    assert step == 12
    assert extra == {"epoch": 1.5, "sums": {"loss": 0.1}, "none": None}
    assert_same(found, state)
    assert found.params["head/dense/bias"].shape == (0,)
    # A key is not only equal bits but the same stream.
    assert (
        jax.random.normal(found.key, (2,)).tolist() == jax.random.normal(state.key, (2,)).tolist()
    )


def test_shapes_from_eval_shape_are_a_template(tmp_path):
    state = {"w": jnp.arange(3.0), "n": 4, "key": jax.random.key(2)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        _, found, _ = checkpoints.restore(jax.eval_shape(lambda: state))
    assert found["n"].dtype == jnp.int32
    assert int(found["n"]) == 4
    assert_same(found["w"], state["w"])
    assert_same(found["key"], state["key"])


def test_the_template_may_depend_on_what_was_saved(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"a": jnp.ones(2)}, {"stage": 0})
        checkpoints.save(2, {"a": jnp.ones(2), "b": jnp.ones(3)}, {"stage": 1})
        checkpoints.wait()
        ruin(tmp_path / "2", "truncate")

        def template(extra):
            return {"ab"[i]: jnp.zeros(2 + i) for i in range(extra["stage"] + 1)}

        step, state, _ = checkpoints.restore(template)
    assert step == 1
    assert set(state) == {"a"}


def test_the_newest_are_kept_and_an_existing_step_is_left_alone(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3, 4):
            assert checkpoints.save(step, small(step))
        assert not checkpoints.save(4, small(99))
        checkpoints.wait()
        assert checkpoints.steps() == [3, 4]
        assert_same(checkpoints.restore(small(0))[1], small(4))
        assert_same(checkpoints.restore(small(0), step=3)[1], small(3))
        with pytest.raises(CheckpointError, match=r"older than the newest one .* step 4"):
            checkpoints.save(2, small(2))
    again = Checkpoints(tmp_path, keep=2)
    assert not again.save(4, small(99))
    assert again.save(5, small(5))
    again.close()
    assert again.steps() == [4, 5]


def test_a_relative_folder_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Checkpoints("runs/a") as checkpoints:
        monkeypatch.chdir("/")
        checkpoints.save(1, small(1))
    assert Checkpoints(tmp_path / "runs/a").steps() == [1]


def test_the_state_may_be_donated_and_changed_right_after(tmp_path):
    grow = jax.jit(lambda s: jax.tree.map(lambda x: x * 0 - 1, s), donate_argnums=0)
    with Checkpoints(tmp_path) as checkpoints:
        for step in range(1, 6):
            want = {k: np.array(v) for k, v in small(step).items()}
            state = {k: jnp.array(v) for k, v in want.items()} | {"host": np.full(3, step)}
            checkpoints.save(step, state)
            state.pop("host")[:] = -1
            state = jax.block_until_ready(grow(state))
            found = checkpoints.restore(want | {"host": np.zeros(3, int)})[1]
            assert_same(found, want | {"host": np.full(3, step)})


def test_a_restored_state_may_be_donated(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"w": jnp.arange(4096.0)})
        _, found, _ = checkpoints.restore({"w": jnp.zeros(4096)})
        # An uncommitted template stays uncommitted: it may meet arrays on a mesh.
        assert not found["w"].committed
        out = jax.jit(lambda s: s["w"] + 1, donate_argnums=0)(found)
        assert out[:3].tolist() == [1, 2, 3]
        assert checkpoints.restore({"w": np.zeros(4096, np.float32)})[1]["w"][0] == 0


def test_other_shardings_and_numbers_of_devices(tmp_path):
    devices = jax.devices()
    if len(devices) < 4:
        pytest.skip("needs four devices")
    four = Mesh(np.array(devices[:4]), ("data",))
    spread = NamedSharding(four, PartitionSpec("data"))
    everywhere = NamedSharding(four, PartitionSpec())
    keys = jax.random.split(jax.random.key(0), 8)
    w = np.arange(64, dtype=np.float32).reshape(8, 8)
    saved = {"w": jax.device_put(w, spread), "k": jax.device_put(keys, spread)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, saved)
        for sharding in (spread, everywhere, jax.sharding.SingleDeviceSharding(devices[1])):
            template = {
                "w": jax.ShapeDtypeStruct((8, 8), jnp.float32, sharding=sharding),
                "k": jax.ShapeDtypeStruct((8,), keys.dtype, sharding=sharding),
            }
            found = checkpoints.restore(template)[1]
            assert found["w"].sharding == sharding
            assert found["k"].sharding.is_equivalent_to(sharding, 1)
            assert_same(found, {"w": jnp.asarray(w), "k": keys})
            found = checkpoints.restore(jax.device_put({"w": w * 0, "k": keys}, sharding))[1]
            assert found["w"].sharding == sharding


def test_another_architecture_is_one_readable_error(tmp_path, capfd):
    saved = {f"trainable/body/stage_{i // 9}/block_{i:03}/kernel": np.ones(3) for i in range(1500)}
    wanted = {k.replace("stage_", "layer_"): v for k, v in saved.items()}
    first = "trainable/body/stage_0/block_000/kernel"
    wanted[first] = np.ones(4)
    with Checkpoints(tmp_path, asynchronous=False) as checkpoints:
        checkpoints.save(3, saved)
        start = time.perf_counter()
        with pytest.raises(MismatchError) as caught:
            checkpoints.restore(wanted)
        assert time.perf_counter() - start < 5
    message = str(caught.value)
    assert f"differs: {first}: wanted float64 [4], found float64 [3]" in message
    assert "not in the checkpoint: trainable/body/layer_0/block_000/kernel float64 [3]" in message
    assert "only in the checkpoint: trainable/body/stage_0/block_001/kernel" in message
    assert "(nearest there: trainable/body/stage_" in message
    assert "and 1480 more" in message
    assert len(message) < 8000
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("saved", "wanted", "says"),
    [
        (jnp.ones(3), jnp.ones(3, jnp.bfloat16), "wanted bfloat16 [3], found float32 [3]"),
        (jnp.ones((3, 1)), jnp.ones(3), "wanted float32 [3], found float32 [3, 1]"),
        (jnp.ones(2, "uint32"), jax.random.key(0), "wanted key<fry>, found uint32 [2]"),
        (jax.random.key(0, impl="rbg"), jax.random.key(0), "wanted key<fry>, found key<rbg>"),
        (1.5, 1, "wanted int, found float"),
        ("adam", jnp.ones(()), "wanted float32, found str"),
    ],
)
def test_no_leaf_is_cast(tmp_path, saved, wanted, says):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"w": saved, "x": jnp.ones(1)})
        with pytest.raises(MismatchError) as caught:
            checkpoints.restore({"w": wanted, "x": jnp.ones(1)})
    assert f"differs: w: {says}" in str(caught.value)


def test_what_cannot_be_stored_is_refused_at_once(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(TypeError, match="also holds a: object, b: ndarray"):
            checkpoints.save(1, {"a": object(), "b": np.array(["x"])})
        with pytest.raises(TypeError, match="JSON-able"):
            checkpoints.save(1, small(1), {"w": np.ones(2)})
        with pytest.raises(ValueError, match="share the name 'a/b'"):
            checkpoints.save(1, {"a/b": 1, "a": {"b": 2}})
        assert checkpoints.steps() == []
    with pytest.raises(ValueError, match="keep=0"):
        Checkpoints(tmp_path, keep=0)


def test_frozen_weights_are_kept_once_and_verified(tmp_path):
    frozen = {
        "body/stem/kernel": jnp.arange(12.0).reshape(3, 4),
        "body/stem/low": jnp.ones((2, 2), jnp.bfloat16),
        "body/stem/scalar": np.float32(3),
        "body/stem/none": np.zeros((0, 3), np.float32),
    }
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(CheckpointError, match="never given to save_once"):
            checkpoints.save(1, small(1), once=["frozen_0"])
        assert checkpoints.save_once("frozen_0", frozen) == digest(frozen)
        assert checkpoints.save_once("frozen_0", frozen) == digest(frozen)
        checkpoints.save(1, small(1))
        checkpoints.save_once("frozen_1", {"body/stem/kernel": jnp.zeros(3)})
        checkpoints.save(2, small(2), once=["frozen_1"])
    assert len(files_of(tmp_path / "once")) == 2
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(CheckpointError, match="restore first"):
        checkpoints.load_once("frozen_0")
    checkpoints.restore(small(0), step=1)
    found = checkpoints.load_once("frozen_0")
    assert digest(found) == digest(frozen)
    assert found["body/stem/low"].dtype == jnp.bfloat16
    # They were handed over: what is asked for again comes from the file again.
    again = checkpoints.load_once("frozen_0")
    assert digest(again) == digest(frozen)
    assert not any(np.shares_memory(again[path], value) for path, value in found.items())
    # Damaged frozen weights damage the checkpoints that need them, and no others.
    file = next((tmp_path / "once").glob("frozen_1*"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    checkpoints = Checkpoints(tmp_path, report=lambda _: None)
    assert checkpoints.restore(small(0))[0] == 1
    assert "frozen_1" in checkpoints.problems[0]
    # Writing them again mends the file.
    checkpoints.save_once("frozen_1", {"body/stem/kernel": jnp.zeros(3)})
    assert Checkpoints(tmp_path).restore(small(0))[0] == 2


def test_saving_hardly_blocks(tmp_path):
    state = {f"w{i}": jnp.asarray(np.random.default_rng(i).normal(size=(256, 1024)), "float32")
             for i in range(16)}  # fmt: skip
    jax.block_until_ready(state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        start = time.perf_counter()
        checkpoints.wait()
        whole = time.perf_counter() - start
        start = time.perf_counter()
        checkpoints.save(2, state)
        blocked = time.perf_counter() - start
    # 16 MiB take milliseconds to copy and tens of them to hash, pack and write.
    assert blocked < max(0.5 * whole, 0.05)


def test_a_reader_neither_creates_nor_tidies(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, small(1))
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()  # What a writer at work looks like.
    with Checkpoints(tmp_path) as reader:
        assert reader.restore(small(0))[0] == 1
    assert (tmp_path / "2.orbax-checkpoint-tmp").is_dir()
    with Checkpoints(tmp_path) as writer:
        writer.save(2, small(2))
    assert writer.steps() == [1, 2]
    assert not (tmp_path / "2.orbax-checkpoint-tmp").exists()


def test_the_manifest_is_plain_json(tmp_path):
    """Orbax's layout on disk, which `Store.manifest` reads without importing Orbax."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"w": jnp.ones(2)}, {"epoch": 1})
    manifest = json.loads((tmp_path / "1" / "manifest" / "metadata").read_text())
    assert manifest["extra"] == {"epoch": 1}
    assert manifest["leaves"]["w"]["shape"] == [2]
