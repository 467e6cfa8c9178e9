"""Fits a source to a model: every leaf is loaded, or fresh or resized by name, or it raises."""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlearn.hub.errors import HubError, listed
from tlearn.hub.report import Entry, Report, make_report
from tlearn.hub.resize import check_rules, resize_array
from tlearn.hub.source import Source
from tlearn.params import Digest, nearest


def reconcile(
    source: Source,
    params: Mapping[str, Any],
    collections: Mapping[str, Any],
    *,
    fresh: Sequence[str] = (),
    resize: Sequence[Sequence[Any]] = (),
    shardings: Mapping[str, jax.sharding.Sharding] | None = None,
    progress: Callable[[int, int], None] | None = None,
    read: bool = True,
    only: Collection[str] | None = None,
) -> tuple[dict[str, Any], dict[str, Any], Report]:
    """Puts a source's weights where a freshly drawn model has its own, leaf after leaf.

    Beside the result there is never more than one leaf in the host's memory: each is read from its
    file, changed, and put onto its devices before the next is touched.

    Args:
        source: The weights to start from.
        params: Freshly drawn parameters of the model, by path.
        collections: Its fresh statistics, by path.
        fresh: Patterns (full match) of paths that keep what was drawn. A head of the source that
            has no place in the model must be covered too: it is left behind.
        resize: ``(pattern, operation, *arguments)``: what may change its shape, and how, as in
            ``("body/stem/conv/kernel", "adapt_input_channels")`` or
            ``("head/.*", "class_subset", ("ant", "bee"))``.
        shardings: Where leaves go, by path; the rest goes to the default device.
        progress: Told ``(bytes done, bytes in all)`` after every leaf.
        read: False looks at names, shapes and types only: what is returned holds zeros for what
            would be loaded, and the report has no digests.
        only: Parameters whose numbers are read, beside all statistics; of the others come zeros
            that take no memory, and digests are of what is read. None reads all.

    Returns:
        Parameters and statistics of the model, in its dtypes (those of ``params``: bfloat16 where
        a frozen leaf is to be kept so), as JAX arrays of their own; and what became of each.

    Raises:
        HubError: Naming, all at once: every leaf of the model that the source lacks, every leaf of
            the source without a place, every wrong shape, type or value, every rule that does
            nothing, and every leaf that two rules claim.

    Example:
        reconcile(source, params, collections, fresh=["head/.*"])
    """
    if isinstance(fresh, str):
        raise HubError(f"fresh is a list of patterns: write [{fresh!r}]")
    problems = check_rules(resize)
    if problems:
        raise HubError(f"the source does not fit the model:\n{listed(problems)}")
    rules = _Rules(fresh, resize, problems)
    entries: list[Entry] = []
    digests: dict[str, Digest] = {}
    results: list[dict[str, Any]] = []
    total = _bytes(params) + _bytes(collections)
    done = 0
    for kind, targets, given in (
        ("parameter", params, source.params),
        ("statistic", collections, source.collections),
    ):
        result: dict[str, Any] = {}
        for path in sorted(targets):
            wanted = read and (only is None or kind == "statistic" or path in only)
            try:
                entry, value = _fit(source, path, targets[path], given, rules, wanted)
            except HubError as error:
                problems.append(f"{kind} {path!r} {error}")
                continue
            entries.append(entry)
            unread = not wanted and entry.status != "fresh"
            if wanted:
                digests.setdefault(entry.status, Digest()).add(f"{kind}:{path}", value)
            elif unread:
                value = _nothing(value)  # What was resized would be zeros that take memory.
            # After the first problem there is no use in filling a device's memory.
            if not problems:
                sharding = (shardings or {}).get(path)
                drawn = entry.status == "fresh" and sharding is None
                result[path] = value if drawn or unread or not read else _put(value, sharding)
            done += _bytes({path: targets[path]})
            if progress is not None:
                progress(done, total)
        for path in sorted(given):
            if path in targets:
                continue
            rule = rules.fresh_for(path)
            if rule is not None and path.startswith("head/"):
                entries.append(Entry(path, "left behind", given[path].shape, f"fresh {rule!r}"))
                if read and only is None:
                    digests.setdefault("left behind", Digest()).add(f"{kind}:{path}", given[path])
            else:
                problems.append(f"{kind} {path!r} of the source {_homeless(path, targets)}")
        results.append(result)
    problems += rules.idle([*params, *collections])
    for path in shardings or ():
        if path not in params and path not in collections:
            problems.append(f"shardings name {path!r}, which the model does not have")
    if problems:
        raise HubError(f"the source does not fit the model:\n{listed(problems)}")
    where = str(source.provenance.get("spec", "memory"))
    return results[0], results[1], make_report(entries, digests, where)


class _Rules:
    """Which rule claims which path, and which rules claimed nothing."""

    def __init__(
        self, fresh: Sequence[str], resize: Sequence[Sequence[Any]], problems: list[str]
    ) -> None:
        self.patterns: list[tuple[str, re.Pattern[str], Any]] = []
        for pattern, rule in [*((p, None) for p in fresh), *((r[0], r) for r in resize)]:
            try:
                self.patterns.append((pattern, re.compile(pattern), rule))
            except (re.error, TypeError) as error:
                problems.append(f"{pattern!r} is no regular expression: {error}")
        self.used: set[int] = set()

    def claims(self, path: str) -> list[tuple[str, Any]]:
        found = []
        for index, (pattern, expression, rule) in enumerate(self.patterns):
            if expression.fullmatch(path):
                self.used.add(index)
                found.append((pattern, rule))
        return found

    def fresh_for(self, path: str) -> str | None:
        return next((pattern for pattern, rule in self.claims(path) if rule is None), None)

    def idle(self, paths: list[str]) -> list[str]:
        lines = []
        for index, (pattern, _, rule) in enumerate(self.patterns):
            if index not in self.used:
                close = nearest(pattern.replace(".*", ""), paths, 2)
                what = "fresh" if rule is None else "resize"
                lines.append(
                    f"the {what} rule {pattern!r} matches nothing"
                    + (f" (nearest: {', '.join(close)})" if close else "")
                    + "; patterns match the whole path, as in 'head/.*'"
                )
        return lines


def _bytes(flat: Mapping[str, Any]) -> int:
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in flat.values())


def _put(value: Any, sharding: jax.sharding.Sharding | None) -> jax.Array:
    """Puts one leaf onto its devices, as a copy of its own; shards go straight to theirs."""
    if sharding is not None:
        return jax.make_array_from_callback(
            value.shape, sharding, lambda index: np.array(np.asarray(value)[index], copy=True)
        )
    # A copy of its own: a step that gives its buffers away must not write into the source.
    return jnp.array(value, copy=True)


def _fit(
    source: Source, path: str, target: Any, given: Mapping[str, Any], rules: _Rules, read: bool
) -> tuple[Entry, Any]:
    """Decides what one leaf of the model becomes."""
    shape = tuple(target.shape)
    claims = rules.claims(path)
    if len(claims) > 1:
        raise HubError(f"is claimed by several rules: {[pattern for pattern, _ in claims]}")
    if claims and claims[0][1] is None:
        if not hasattr(target, "__array__"):
            raise HubError("is to be fresh, but the model brings only its shape: draw it first")
        return Entry(path, "fresh", shape, f"rule {claims[0][0]!r}"), target
    if path not in given:
        close = nearest(path, given, 1)
        hint = f" (nearest: {close[0]!r})" if close else ""
        top = "head/.*" if path.startswith("head/") else path
        raise HubError(f"is not in the source{hint}; to draw it anew, say fresh=[{top!r}]")
    array, status, detail = _numbers(given[path], read), "loaded", ""
    if claims:
        resized = resize_array(source, path, array, shape, claims[0][1])
        array, status, detail = resized.array, "resized", resized.detail
    if array.shape != shape:
        raise HubError(
            f"has the shape {array.shape} in the source, {shape} in the model; {_fix(path)}"
        )
    if status == "loaded" and path in source.provenance.get("casts", {}):
        status, detail = "cast", f"{source.provenance['casts'][path]} to float32"
    wanted = np.dtype(target.dtype)
    if array.dtype != wanted:
        floating = [
            name.startswith(("float", "bfloat")) for name in (array.dtype.name, wanted.name)
        ]
        if not all(floating):
            raise HubError(f"has the type {array.dtype} in the source, {wanted} in the model")
        detail = f"{detail}; " if detail else ""
        detail += f"{array.dtype} to {wanted}"
        array, status = array.astype(wanted), "resized" if status == "resized" else "cast"
    if read and not np.isfinite(array.astype(np.float32, copy=False)).all():
        raise HubError("holds values that are not finite: the source is spoilt (diverged or torn)")
    return Entry(path, status, shape, detail), array


def _numbers(value: Any, read: bool) -> np.ndarray:
    """The array itself, or zeros of its shape that take no memory."""
    return np.asarray(value) if read else _nothing(value)


def _nothing(value: Any) -> np.ndarray:
    return np.broadcast_to(np.zeros((), value.dtype), value.shape)


def _fix(path: str) -> str:
    if path.startswith("head/"):
        return (
            "fresh=['head/.*'] draws a new head, "
            "resize=[('head/.*', 'class_subset', labels)] keeps some outputs"
        )
    if path == "body/stem/conv/kernel":
        return f"resize=[({path!r}, 'adapt_input_channels')] adapts input channels"
    if path == "body/embeddings/positions":
        return f"resize=[({path!r}, 'position_grid')] resizes a ViT's positions"
    return f"build the body from source.body, or say fresh=[{path!r}]"


def _homeless(path: str, targets: Mapping[str, Any]) -> str:
    if path.startswith("head/"):
        return "has no place in the model; to leave it behind, say fresh=['head/.*']"
    close = nearest(path, targets, 1)
    hint = f" (nearest: {close[0]!r})" if close else ""
    return f"has no place in the model{hint}; build the body from source.body"
