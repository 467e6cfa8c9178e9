"""Features once: a frozen body run a single time over the data, into a memory-mapped store."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.data.whole_folder import whole_folder
from tlearn.transfer.feature_store import (
    FORMAT,
    DType,
    FeatureStore,
    StoreError,
    StoreKey,
    allocate,
    numpy_dtype,
    open_store,
    refuse_foreign,
)


def extract(
    apply: Callable[[Mapping[str, Any]], Any],
    batches: Any,
    folder: str | Path,
    *,
    examples: int,
    weights: str,
    preprocessing: str,
    data: str,
    random: bool | None = None,
    views: int | None = None,
    dtype: DType = "float32",
    output: str = "pooled",
    shape: tuple[int, ...] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureStore:
    """Reopens the features of exactly this, or runs the body once over the data and stores them.

    Args:
        apply: A batch to features [batch, ...]; usually a jitted function.
        batches: ``batches.at(step)`` and ``batches.steps_per_epoch``, or a sequence of batches.
            Batches hold ``"mask"`` (0 on padding), ``"label"`` if there are labels, and
            ``"index"``, the example's number; without it examples come in their order.
            View v is epoch v.
        folder: Where the store is or will be.
        examples: How many examples there are; each must come exactly once per view.
        weights: Digest of the body's weights and statistics (`tlearn.params.digest`).
        preprocessing: The pipeline as text (its ``repr``).
        data: Digest of the examples.
        random: Whether the preprocessing draws at random; ``batches.random`` is asked by default.
        views: How many random draws of every example to store; needed if it is random.
        dtype: float32 keeps features exactly; the others halve the store.
        output: What of the body the features are: ``pooled``, or the output of the layer named.
        shape: Of an example's features, where batches differ in width: narrower ones are filled up
            with zeros. By default that of the first batch.
        progress: Called with (examples done, examples in all) after every batch.

    Returns:
        The store; its ``origin`` says whether anything was computed, and why.

    Raises:
        StoreError: If the preprocessing is random and no views are given, the batches do not hold
            every example once, features are not finite, or the folder holds other things.
        OSError: If the disk is full; nothing is left behind.
    """
    random = bool(random) or bool(getattr(batches, "random", False))
    if random and views is None:
        raise StoreError(
            "the preprocessing draws at random, so features computed once would repeat one draw in "
            "every epoch: store several with views=K, or use a deterministic pipeline "
            "(the evaluation pipeline)"
        )
    if not random and views not in (None, 1):
        raise StoreError(
            f"the preprocessing is deterministic, so {views} views would be {views} copies: "
            "leave views out"
        )
    if random:
        preprocessing += f", drawn with seed {getattr(batches, 'seed', 'unknown')}"
    if examples < 1:
        raise StoreError("there is no example to extract features of")
    key = StoreKey(
        weights=weights,
        preprocessing=preprocessing,
        data=data,
        views=views or 1,
        dtype=dtype,
        output=output,
    )
    folder = Path(folder).resolve()
    origin = "written"
    if folder.exists():
        refuse_foreign(folder)
        try:
            store = open_store(folder)
            changed = key.differences(store.key)
            if len(store) != examples:
                changed.append(f"{len(store)} examples are now {examples}")
            found = store.features.shape[2:]
            if shape is not None and found != shape:
                changed.append(f"features of {found} are now of {shape}")
        except StoreError as error:
            changed = [str(error)]
        else:
            if not changed:
                return store
        origin = "recomputed: " + "; ".join(changed)
    with whole_folder(folder, replace=True) as partial:
        _write(apply, batches, partial, key, examples, shape, progress)
    return dataclasses.replace(open_store(folder), origin=origin)


def _write(
    apply: Callable[[Mapping[str, Any]], Any],
    batches: Any,
    folder: Path,
    key: StoreKey,
    examples: int,
    one: tuple[int, ...] | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    features: np.memmap | None = None
    labels: np.ndarray | None = None
    done = 0
    for view in range(key.views):
        seen = np.zeros(examples, np.int64)
        for output, rows, kept, label in _outputs(apply, batches, view, key.views, seen):
            values = np.asarray(output)[kept]
            if features is None:
                shape = (key.views, examples, *(one or values.shape[1:]))
                features = allocate(folder / "features.npy", shape, key.dtype)
            with np.errstate(over="ignore"):  # said below, with the examples
                cast = values.astype(numpy_dtype(key.dtype))
            if not np.isfinite(cast.astype(np.float32)).all():
                _refuse_not_finite(values, cast, rows, key.dtype)
            # The file was made with zeros in it: a narrower batch leaves the rest of its rows so.
            place = (view, rows, *(slice(size) for size in cast.shape[1:]))
            features[place] = cast.view(features.dtype)
            done += len(rows)
            if label is not None:
                label = label[kept]
                if labels is None:
                    labels = np.zeros((examples, *label.shape[1:]), label.dtype)
                if view == 0:
                    labels[rows] = label
                elif not np.array_equal(labels[rows], label):
                    raise StoreError(
                        "labels change from view to view; a pipeline whose features are stored "
                        "may change inputs only"
                    )
            if progress is not None:
                progress(done, key.views * examples)
        if (seen != 1).any():
            missing, twice = int(np.sum(seen == 0)), int(np.sum(seen > 1))
            raise StoreError(
                f"one pass over the batches must hold each of {examples} examples once; "
                f"{missing} did not come and {twice} came more than once"
            )
    if features is None:
        raise StoreError("there are no batches to extract features of")
    features.flush()
    if labels is not None:
        np.save(folder / "labels.npy", labels, allow_pickle=False)
    meta = {
        "format": FORMAT,
        "key": dataclasses.asdict(key),
        "examples": examples,
        "shape": list(features.shape[2:]),
        "labels": labels is not None,
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))


def _outputs(
    apply: Callable[[Mapping[str, Any]], Any],
    batches: Any,
    view: int,
    views: int,
    seen: np.ndarray,
) -> Iterator[tuple[Any, np.ndarray, np.ndarray, np.ndarray | None]]:
    """Runs the body one batch ahead: the next batch is read while the device computes."""
    stepwise = hasattr(batches, "at")
    steps = batches.steps_per_epoch if stepwise else len(batches) // views
    waiting = None
    for step in range(view * steps, (view + 1) * steps):
        batch = batches.at(step) if stepwise else batches[step]
        if "label_weights" in batch:
            raise StoreError(
                "the batches are mixed (mixup, cutmix): features of blends belong to no example; "
                "leave the mixing out"
            )
        output = apply(batch)
        if waiting is not None:
            yield waiting
        mask = batch.get("mask")
        size = output.shape[0]
        kept = np.arange(size) if mask is None else np.flatnonzero(np.asarray(mask) > 0)
        rows = _rows(batch, kept, views, seen)
        np.add.at(seen, rows, 1)
        label = batch.get("label")
        waiting = (output, rows, kept, None if label is None else np.asarray(label))
    if waiting is not None:
        yield waiting


def _rows(batch: Mapping[str, Any], kept: np.ndarray, views: int, seen: np.ndarray) -> np.ndarray:
    if "index" in batch:
        rows = np.asarray(batch["index"])[kept]
        if rows.size and (rows.min() < 0 or rows.max() >= len(seen)):
            raise StoreError(
                f"batches hold example {rows.max()}; examples={len(seen)} says there are none "
                f"beyond {len(seen) - 1}"
            )
        return rows
    if views > 1:
        raise StoreError("several views need batches with 'index', to bring them together")
    start = int(np.sum(seen))
    if start + len(kept) > len(seen):
        raise StoreError(f"batches hold more than the {len(seen)} examples of examples=")
    return np.arange(start, start + len(kept))


def _refuse_not_finite(values: np.ndarray, cast: np.ndarray, rows: np.ndarray, dtype: str) -> None:
    finite = np.isfinite(cast.astype(np.float32)).reshape(len(cast), -1).all(axis=1)
    bad = rows[~finite][:10].tolist()
    if np.isfinite(np.asarray(values, np.float32)).all():
        raise StoreError(
            f"features of examples {bad} do not fit into {dtype}; use dtype='bfloat16' or 'float32'"
        )
    raise StoreError(f"the body gives features that are not finite for examples {bad}")
