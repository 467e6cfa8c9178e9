"""Checkpoints: what goes in comes out bit-equal, and damage of any kind is noticed."""

import json
import multiprocessing
import random
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tlearn.params import digest
from tlearn.train.checkpoint import CheckpointError, Checkpoints, MismatchError


@flax.struct.dataclass
class State:
    step: Any
    params: dict[str, Any]
    slots: Any
    key: Any
    gathered: Any
    misc: dict[str, Any]


def make_state(seed: int = 0) -> State:
    rng = np.random.default_rng(seed)
    params = {
        "body/stage_1/block_01/conv_1/kernel": jnp.asarray(
            rng.normal(size=(3, 3, 4, 8)), "float32"
        ),
        "body/stage_1/block_01/norm_1/scale": jnp.asarray(rng.normal(size=8), "bfloat16"),
        "head/dense/bias": jnp.zeros((0,)),
    }
    return State(
        step=jnp.asarray(seed, jnp.int32),
        params=params,
        slots=optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3)).init(params),
        key=jax.random.fold_in(jax.random.key(3), seed),
        gathered=None,
        misc={
            "count": 7 + seed,
            "flag": True,
            "rate": 0.1,
            "name": "adamw",
            "numpy": np.float32(2.5),
            "long": np.array(rng.integers(0, 2**60)),
            "keys": jax.random.split(jax.random.key(1, impl="rbg"), 3),
            "bits": jnp.asarray([1, -2], "int4"),
            "nan": float("nan"),
            "empty": (),
            "two": np.bool_(True),
        },
    )


def small(step: int) -> dict[str, Any]:
    rng = np.random.default_rng(step)
    return {f"w{i}": rng.normal(size=(40, 50)).astype(np.float32) for i in range(4)}


def assert_same(a: Any, b: Any) -> None:
    """Bit-equal, of equal structure and types."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert type(x) is type(y)
        if not hasattr(x, "dtype"):
            assert x == y or (x != x and y != y)
            continue
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def files_of(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def biggest(folder: Path) -> Path:
    return max(files_of(folder), key=lambda p: p.stat().st_size)


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


def ruin(folder: Path, how: str) -> None:
    """Damages a checkpoint in a named way."""
    if how == "torn folder":
        shutil.rmtree(folder / "state")
    elif how == "empty folder":
        shutil.rmtree(folder)
        folder.mkdir()
    elif how == "missing file":
        biggest(folder / "state").unlink()
    elif how == "truncate":
        file = biggest(folder / "state")
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif how == "flip":
        file = biggest(folder / "state")
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))
    elif how == "manifest flip":
        file = folder / "manifest" / "metadata"
        file.write_text(file.read_text().replace('"epoch": 2', '"epoch": 3'))
    elif how == "manifest cut":
        file = folder / "manifest" / "metadata"
        file.write_text(file.read_text()[:100])
    elif how == "other arrays":  # Whole and readable, but not what the manifest says.
        shutil.rmtree(folder / "state")
        shutil.copytree(folder.parent / "1" / "state", folder / "state")


RUINS = [
    "torn folder",
    "empty folder",
    "missing file",
    "truncate",
    "flip",
    "manifest flip",
    "manifest cut",
    "other arrays",
]


@pytest.mark.parametrize("how", RUINS)
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(tmp_path, capfd, how):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, small(1), {"epoch": 1})
        checkpoints.save(2, small(2), {"epoch": 2})
    ruin(tmp_path / "2", how)
    said: list[str] = []
    checkpoints = Checkpoints(tmp_path, report=said.append)
    step, state, extra = checkpoints.restore(small(0))
    assert (step, extra) == (1, {"epoch": 1})
    assert_same(state, small(1))
    assert len(said) == len(checkpoints.problems) == 1
    assert "step 2 is damaged" in said[0]
    assert "using the one of step 1" in said[0]
    assert len(said[0]) < 600
    # The damaged one makes way for the step when it is reached again, and is not deleted.
    assert checkpoints.save(2, small(2))
    checkpoints.close()
    assert (tmp_path / "damaged" / "2").is_dir()
    again = Checkpoints(tmp_path)
    assert_same(again.restore(small(0))[1], small(2))
    assert again.problems == []
    assert "Traceback" not in capfd.readouterr().err


def test_any_flipped_byte_is_harmless_or_noticed(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, small(1), {"epoch": 1})
        checkpoints.save(2, small(2), {"epoch": 2})
    rng = random.Random(0)
    noticed = 0
    for file in files_of(tmp_path / "2"):
        content = file.read_bytes()
        for _ in range(2 if content else 0):
            bad = bytearray(content)
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
            file.write_bytes(bytes(bad))
            step, state, _ = Checkpoints(tmp_path, report=lambda _: None).restore(small(0))
            noticed += step == 1
            assert_same(state, small(step))
        file.write_bytes(content)
    assert noticed > 0


def test_if_none_is_good_one_error_says_what_is_wrong_with_each(tmp_path):
    with pytest.raises(CheckpointError, match="no finished checkpoint"):
        Checkpoints(tmp_path / "nothing").restore(small(0))
    assert not (tmp_path / "nothing").exists()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, small(1))
        checkpoints.save(2, small(2))
    ruin(tmp_path / "1", "empty folder")
    ruin(tmp_path / "2", "truncate")
    with pytest.raises(CheckpointError) as caught:
        Checkpoints(tmp_path).restore(small(0))
    message = str(caught.value)
    assert "step 2 is damaged: its arrays cannot be read" in message
    assert "step 1 is damaged: its manifest cannot be read" in message
    assert len(message) < 1500


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


def test_a_failed_save_surfaces_later_and_later_saves_work(tmp_path, monkeypatch):
    from tlearn.train.store import Store

    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, small(1))
        checkpoints.wait()
        real = Store.write

        def full(self, *_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Store, "write", full)
        assert checkpoints.save(2, small(2))
        with pytest.raises(CheckpointError, match=r"step 2 .* disk is full .* that of step 1"):
            checkpoints.save(3, small(3))
        checkpoints.save(3, small(3))
        with pytest.raises(CheckpointError, match=r"MiB free, up to 0\.0 MiB needed"):
            checkpoints.wait()
        monkeypatch.setattr(Store, "write", real)
        assert checkpoints.save(4, small(4))
        checkpoints.wait()
        assert checkpoints.steps() == [1, 4]
    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(ZeroDivisionError):  # What went wrong first is what is raised.
        _save_and_fail(Checkpoints(tmp_path))


def _save_and_fail(checkpoints: Checkpoints) -> None:
    with checkpoints:
        checkpoints.save(5, small(5))
        raise ZeroDivisionError


def test_a_full_disk_is_a_clear_error_and_loses_nothing(tmp_path):
    """A real limit of the operating system on file sizes, in a process of its own."""
    code = """
        import resource, signal, sys
        import numpy as np
        from tlearn.train.checkpoint import CheckpointError, Checkpoints
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        def state(step):
            return {"w": np.random.default_rng(step).normal(size=(400, 400))}
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        checkpoints = Checkpoints(sys.argv[1])
        checkpoints.save(1, state(1))
        checkpoints.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        checkpoints.save(2, state(2))
        try:
            checkpoints.wait()
        except CheckpointError as error:
            print("ERROR", error)
        try:
            checkpoints.save_once("frozen", state(2))
        except CheckpointError as error:
            print("ERROR", error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        step, found, _ = checkpoints.restore(state(0))
        print("AFTER", step, np.array_equal(found["w"], state(1)["w"]))
        checkpoints.save(3, state(3))
        checkpoints.close()
        print("STEPS", checkpoints.steps())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "checkpoint of step 2 could not be written" in lines[0]
    assert "the disk is full or a file-size limit was reached" in lines[0]
    assert "up to 1.2 MiB needed); the newest checkpoint is still that of step 1" in lines[0]
    assert "the weights 'frozen' could not be written" in lines[1]
    assert lines[2:] == ["AFTER 1 True", "STEPS [1, 3]"]
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.rglob("*tmp*")] == []


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


def kill_state(step: int) -> dict[str, Any]:
    rng = np.random.default_rng(step)
    return {f"w{i}": rng.normal(size=(100, 20 + i)).astype(np.float32) for i in range(40)}


def _save_for_ever(folder: str, started: Any) -> None:
    """The body of the process that is killed: resume, then save step after step."""
    checkpoints = Checkpoints(folder, keep=2)
    step = checkpoints.restore(kill_state(0))[0] if checkpoints.steps() else 0
    while True:
        step += 1
        checkpoints.save(step, kill_state(step), {"step": step})
        started.set()


def test_ten_kills_at_random_times_never_leave_half_a_checkpoint(tmp_path):
    # A fork server imports jax and Orbax once; its children start in milliseconds.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["orbax.checkpoint", __name__])
    rng = random.Random(7)
    reached = []
    for number in range(10):
        started = context.Event()
        process = context.Process(target=_save_for_ever, args=(str(tmp_path), started), daemon=True)
        process.start()
        assert started.wait(60)
        # Every other child is killed after a checkpoint of its own, however slow the machine is.
        newest, patience = max(reached, default=-1), time.monotonic() + 60
        while number % 2 and time.monotonic() < patience:
            if max(Checkpoints(tmp_path).steps(), default=-1) > newest:
                break
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.4))
        process.kill()
        process.join()
        said: list[str] = []
        checkpoints = Checkpoints(tmp_path, report=said.append)
        if not checkpoints.steps():
            reached.append(0)
            continue
        step, state, extra = checkpoints.restore(kill_state(0))
        assert extra == {"step": step}
        assert_same(state, kill_state(step))
        assert step == checkpoints.steps()[-1]
        assert said == []  # Rename is atomic: what has a number is whole.
        reached.append(step)
    assert reached == sorted(reached)
    assert reached[-1] >= 4  # Five children at least left one each.


def test_the_manifest_is_plain_json(tmp_path):
    """Orbax's layout on disk, which `Store.manifest` reads without importing Orbax."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"w": jnp.ones(2)}, {"epoch": 1})
    manifest = json.loads((tmp_path / "1" / "manifest" / "metadata").read_text())
    assert manifest["extra"] == {"epoch": 1}
    assert manifest["leaves"]["w"]["shape"] == [2]
