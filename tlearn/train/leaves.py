"""Any pytree as named host arrays and back: what a checkpoint stores of a state."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from tlearn.params import nearest

_SHOWN = 20
_SCALARS = (bool, int, float, str)

Record = dict[str, Any]
"""What is noted of one leaf, JSON-able: kind, dtype, shape, and its digest or its value."""


class MismatchError(ValueError):
    """A checkpoint holds another state than the one asked for; the message names every misfit."""


def encode(state: PyTree) -> tuple[dict[str, np.ndarray], dict[str, Record]]:
    """Copies a pytree to the host as named arrays, and notes what each leaf is.

    The arrays are copies: the state may be donated or changed as soon as this returns. Typed PRNG
    keys become their key data; plain Python values and empty arrays live in the records alone.

    Returns:
        The arrays to store, and a record of every leaf (`seal` adds the digests).

    Raises:
        TypeError: Naming every leaf that is neither array, PRNG key, number, bool nor string.
        ValueError: If two leaves have one name.
    """
    leaves = _named(state)
    wrong = [f"{name}: {type(leaf).__name__}" for name, leaf in leaves.items() if not _spec(leaf)]
    if wrong:
        raise TypeError(
            "a state is made of arrays, PRNG keys, numbers, bools and strings; it also holds "
            + _listed(wrong)
        )
    data = {
        name: jax.random.key_data(leaf) if _spec(leaf)["kind"] == "key" else leaf
        for name, leaf in leaves.items()
    }
    for leaf in data.values():
        if isinstance(leaf, jax.Array) and leaf.is_fully_addressable:
            leaf.copy_to_host_async()
    arrays: dict[str, np.ndarray] = {}
    records: dict[str, Record] = {}
    for name, leaf in leaves.items():
        record = records[name] = _spec(leaf)
        if record["kind"] == "value":
            record["value"] = leaf
            continue
        if record["kind"] == "key":
            record["impl"] = str(jax.random.key_impl(leaf))
        array = _on_host(data[name])
        if array.size:
            arrays[name] = array
    return arrays, records


def seal(arrays: Mapping[str, np.ndarray], records: dict[str, Record]) -> None:
    """Notes the SHA-256 of every array in its record."""
    for name, array in arrays.items():
        records[name]["sha256"] = _sha(array)


def damages(arrays: Mapping[str, np.ndarray], records: Mapping[str, Record]) -> list[str]:
    """Compares arrays read back with their records; an empty list means bit-equal."""
    found = []
    for name in stored(records):
        if name not in arrays:
            found.append(f"{name} is missing")
        elif _sha(arrays[name]) != records[name]["sha256"]:
            found.append(f"{name} has other bytes than were saved")
    return found


def stored(records: Mapping[str, Record]) -> list[str]:
    """Names of the leaves that are stored as arrays."""
    return [name for name, record in records.items() if "sha256" in record]


def check(records: Mapping[str, Record], template: PyTree, what: str) -> None:
    """Compares what was saved with what is asked for, before any array is read.

    Args:
        records: The saved leaves.
        template: Pytree of arrays or `jax.ShapeDtypeStruct`.
        what: Names the checkpoint in the error.

    Raises:
        MismatchError: Naming all missing, surplus and differing leaves.
    """
    wanted = {name: _spec(leaf) for name, leaf in _named(template).items()}
    missing = [name for name in wanted if name not in records]
    surplus = [name for name in records if name not in wanted]
    problems = []
    for count, name in enumerate(missing):
        # Near misses cost milliseconds each among thousands of names: a few are enough.
        close = nearest(name, surplus, n=1) if count < 5 else []
        hint = f" (nearest there: {close[0]} {_shown(records[close[0]])})" if close else ""
        problems.append(f"not in the checkpoint: {name} {_shown(wanted[name])}{hint}")
    surplus_lines = [f"only in the checkpoint: {name} {_shown(records[name])}" for name in surplus]
    differing = [
        f"differs: {name}: wanted {_shown(spec)}, found {_shown(records[name])}"
        for name, spec in wanted.items()
        if name in records and not _fits(records[name], spec)
    ]
    if problems or surplus_lines or differing:
        parts = [_listed(part, "\n  ") for part in (differing, problems, surplus_lines) if part]
        raise MismatchError(
            f"{what} holds another state than the one it is to be restored into "
            f"({len(differing)} leaves differ, {len(missing)} are missing, {len(surplus)} are "
            "surplus); restore it with the model, strategy and optimizer it was saved with, or "
            "load its weights as a source (run:FOLDER):\n  " + "\n  ".join(parts)
        )


def decode(
    arrays: Mapping[str, np.ndarray], records: Mapping[str, Record], template: PyTree
) -> PyTree:
    """Builds the saved state in the structure of a template, placed as the template says.

    A leaf of the template that is a numpy array or scalar or a Python number gets the same back; a
    `jax.Array` or `jax.ShapeDtypeStruct` gets a `jax.Array` with its sharding.
    """

    def rebuild(path: Any, like: Any) -> Any:
        name = _name(path)
        record = records[name]
        if record["kind"] == "value":
            return (
                record["value"]
                if isinstance(like, _SCALARS)
                else _place(np.asarray(record["value"], like.dtype), like)
            )
        array = arrays.get(name)
        if array is None:
            array = np.zeros(_data_shape(record, like), _data_dtype(record))
        if record["kind"] == "key":
            return jax.random.wrap_key_data(_place(array, like), impl=record["impl"])
        return _place(array, like)

    return jax.tree_util.tree_map_with_path(rebuild, template)


def _named(tree: PyTree) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = _name(path)
        if name in named:
            raise ValueError(f"two leaves of the state share the name {name!r}; rename one")
        named[name] = leaf
    return named


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/") or "."


def _spec(leaf: Any) -> Record:
    """Kind, dtype and shape of a leaf; empty if it cannot be stored."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        kind = {"kind": "value", "dtype": type(leaf).__name__}
        return kind if isinstance(leaf, _SCALARS) else {}
    shape = [int(n) for n in leaf.shape]
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return {"kind": "key", "dtype": str(dtype), "shape": shape}
    if np.dtype(dtype).kind in "OUSMm" or np.dtype(dtype).fields:
        return {}
    return {"kind": "array", "dtype": np.dtype(dtype).name, "shape": shape}


def _fits(found: Record, wanted: Record) -> bool:
    if "value" in (kinds := {found["kind"], wanted["kind"]}) and len(kinds) == 2:
        # A Python number and an array without axes stand for each other (shapes from eval_shape).
        value, array = (found, wanted) if found["kind"] == "value" else (wanted, found)
        families = {"bool": "b", "int": "iu", "float": "f"}
        return (
            array["kind"] == "array"
            and array["shape"] == []
            and _family(array["dtype"]) in families.get(value["dtype"], "")
        )
    return all(found.get(key) == wanted.get(key) for key in ("kind", "dtype", "shape"))


def _family(dtype: str) -> str:
    kinds = {"b": np.bool_, "i": jnp.integer, "f": jnp.floating}
    return next((k for k, kind in kinds.items() if jnp.issubdtype(jnp.dtype(dtype), kind)), "c")


def _on_host(leaf: Any) -> np.ndarray:
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        from jax.experimental import multihost_utils

        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    # On a CPU np.asarray would be a view of the buffer that is about to be donated.
    return np.array(leaf, copy=True, order="C")


def _place(array: np.ndarray, like: Any) -> Any:
    if isinstance(like, np.generic):
        return array[()]
    if isinstance(like, np.ndarray):
        return array
    if isinstance(like, _SCALARS):
        return array.item()
    sharding = like.sharding
    if sharding is None or (isinstance(like, jax.Array) and not like.committed):
        return jnp.asarray(array)
    if sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def _data_shape(record: Record, like: Any) -> tuple[int, ...]:
    if record["kind"] == "key":
        return jax.eval_shape(
            jax.random.key_data, jax.ShapeDtypeStruct(like.shape, like.dtype)
        ).shape
    return tuple(record["shape"])


def _data_dtype(record: Record) -> Any:
    return np.uint32 if record["kind"] == "key" else jnp.dtype(record["dtype"])


def _sha(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()


def _shown(record: Record) -> str:
    return record["dtype"] + (f" {record['shape']}" if record.get("shape") else "")


def _listed(lines: Iterable[str], separator: str = ", ") -> str:
    lines = list(lines)
    more = [f"... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return separator.join(lines[:_SHOWN] + more)
