"""States to checkpoint in tests, and how to compare and find what was saved."""

import shutil
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax


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
