"""Attention through one function, which picks the kernel for the device.

Shapes: b batch, t queries, s keys, n heads, d size of a head.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tlearn.bodies.dropout import drop

FORMS = ("auto", "plain", "cudnn")
# Added to nothing, so that rows with nothing to attend stay finite: all their weights are equal.
_NEVER = -1e30
# Bytes of attention weights that stay near a core; measured, 1 to 3 MiB are alike.
_IN_CACHE = 2 * 2**20


def attend(
    q: Float[Array, "b t n d"],
    k: Float[Array, "b s n d"],
    v: Float[Array, "b s n d"],
    *,
    query_segments: Int[Array, "b t"] | None = None,
    key_segments: Int[Array, "b s"] | None = None,
    causal: bool = False,
    query_start: int | Int[Array, ""] | Int[Array, " b"] = 0,
    bias: Float[Array, "_ n _ _"] | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    key: Array | None = None,
    query_total: Any = None,
    form: str = "auto",
) -> Float[Array, "b t n d"]:
    """Mixes values by softmax(q·k): scaled dot-product attention (Vaswani et al. 2017).

    A query attends to keys of its own segment only; segment 0 is padding and attends to nothing,
    which gives some finite output that nobody may read.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        query_segments: Number of each query's example in its row, 0 for padding; None for all 1.
        key_segments: The same of keys; None for those of the queries.
        causal: Whether a query attends only to keys at its own place or before.
        query_start: Place of the first query among the keys, for caches and partial computation;
            one for all rows or one for each.
        bias: Added to the scores.
        scale: Multiplies the products; None for ``d ** -0.5``.
        dropout: Chance that a weight is dropped.
        key: A typed PRNG key, if weights are dropped.
        query_total: How many queries there are where only some are computed, so that the same
            weights are dropped; None if ``q`` has them all.
        form: ``plain`` (the formula), ``cudnn`` (fused flash attention on NVIDIA) or ``auto``.

    Raises:
        ValueError: If the form is unknown or cannot compute this, or a key for dropout is missing.
    """
    if dropout and key is None:
        raise ValueError(f"attention dropout of {dropout} needs a random key, got key=None")
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    started = not (isinstance(query_start, int) and query_start == 0)
    chosen = choose_form(
        form,
        platform=_platform() if form != "plain" else "cpu",
        dtype=jnp.dtype(q.dtype).name,
        head_size=q.shape[-1],
        lengths=(q.shape[1], k.shape[1]),
        masked=query_segments is not None or key_segments is not None,
        dropout=dropout,
        biased=bias is not None,
        partial=started or query_total is not None,
    )
    if chosen == "cudnn":
        allowed = _allowed(q, k, query_segments, key_segments, causal, query_start)
        if allowed is not None and query_segments is None and key_segments is None:
            allowed = None  # Causal alone has a kernel of its own.
        if allowed is not None:
            # Spread over heads and rows: masks with axes of one are refused by some versions.
            allowed = jnp.broadcast_to(allowed, (len(q), q.shape[2], q.shape[1], k.shape[1]))
        return jax.nn.dot_product_attention(
            q, k, v, mask=allowed, scale=factor, is_causal=causal, implementation="cudnn"
        )
    total = q.shape[1] if query_total is None else query_total

    def formula(q: Array, k: Array, v: Array, segments: Any, first_row: int | Array) -> Array:
        scores = jnp.einsum("btnd,bsnd->bnts", q, k, preferred_element_type=jnp.float32) * factor
        if bias is not None:
            scores = scores + bias.astype(jnp.float32)
        allowed = _allowed(q, k, segments[0], segments[1], causal, query_start)
        if allowed is not None:
            scores = jnp.where(allowed, scores, _NEVER)
        weights = softmax(scores)
        if dropout and key is not None:
            weights = drop(
                weights, dropout, key, axis=2, start=query_start, total=total, first_row=first_row
            )
        return jnp.einsum("bnts,bsnd->btnd", weights.astype(v.dtype), v)

    segments = (query_segments, key_segments)
    whole = started or query_total is not None or (bias is not None and len(bias) > 1)
    rows = None if whole else _rows_at_once(q, k)
    if rows is None:
        return formula(q, k, v, segments, 0)
    parts = len(q) // rows
    cut = jax.tree.map(lambda x: x.reshape(parts, rows, *x.shape[1:]), (q, k, v, segments))

    @jax.checkpoint
    def some(_: None, part: Any) -> tuple[None, Array]:
        number, (q, k, v, segments) = part
        return None, formula(q, k, v, segments, number * rows)

    _, mixed = jax.lax.scan(some, None, (jnp.arange(parts), cut))
    return mixed.reshape(*q.shape[:-1], v.shape[-1])


@jax.custom_vjp
def softmax(scores: Float[Array, "*rows s"]) -> Float[Array, "*rows s"]:
    """Softmax of the last axis, whose gradient keeps its digits where one weight is nearly all."""
    return jax.nn.softmax(scores, axis=-1)


def _softmax_backward(weights: Array, dy: Array) -> tuple[Array]:
    # The weights' mean of dy is taken off twice. Beside a weight near 1 the first difference is
    # small, and off by the rounding of large numbers; of what is left, the mean is that rounding.
    for _ in range(2):
        dy = dy - (weights * dy).sum(axis=-1, keepdims=True)
    return (weights * dy,)


softmax.defvjp(lambda scores: (weights := softmax(scores), weights), _softmax_backward)


def _rows_at_once(q: Array, k: Array) -> int | None:
    """How many rows' weights fit a processor's cache; None where rows are not taken in turn.

    On a CPU weights that go through the main memory cost more than the products themselves; taken
    in parts, and computed again in the backward pass, they never leave the cache.
    """
    sizes = (q.shape[0], q.shape[1], k.shape[1])
    # A scan over rows that lie on several devices would gather them.
    if jax.default_backend() != "cpu" or jax.device_count() > 1:
        return None
    if not all(isinstance(size, int) for size in sizes):  # Exported for any length.
        return None
    row = 4 * q.shape[2] * q.shape[1] * k.shape[1]
    if row * len(q) <= _IN_CACHE * 2:
        return None
    most = max(_IN_CACHE // row, 1)
    rows = max(n for n in range(1, most + 1) if len(q) % n == 0)
    return rows if rows < len(q) else None


def choose_form(
    form: str,
    *,
    platform: str,
    dtype: str,
    head_size: int,
    lengths: tuple[Any, Any],
    masked: bool,
    dropout: float,
    biased: bool,
    partial: bool,
) -> str:
    """Picks ``plain`` or ``cudnn`` from static facts alone.

    Args:
        form: What was asked for.
        platform: ``cuda`` where cuDNN's flash attention runs, else the backend's name.
        dtype: Of queries, keys and values.
        head_size: Size of a head.
        lengths: Numbers of queries and keys; symbols where a function of any length is exported.
        masked: Whether padding or packed examples are masked.
        dropout: Chance that a weight is dropped.
        biased: Whether a bias is added to the scores.
        partial: Whether the queries are a part of the sequence.

    Raises:
        ValueError: If the form is unknown, or ``cudnn`` was asked for and cannot compute this.
    """
    if form not in FORMS:
        raise ValueError(f"unknown attention form {form!r}: use one of {list(FORMS)}")
    if form == "plain":
        return "plain"
    problems = []
    if platform != "cuda":
        problems.append(f"the device is {platform!r}, not NVIDIA's Ampere or later")
    if dtype not in ("float16", "bfloat16"):
        problems.append(f"it computes in float16 or bfloat16, got {dtype}")
    if head_size % 8 or head_size > 128:
        problems.append(f"heads must be of a multiple of 8 and at most 128, got {head_size}")
    if masked and (lengths[0] % 2 or lengths[1] % 2):
        problems.append(f"masked lengths must be even, got {lengths[0]} and {lengths[1]}")
    if dropout:
        problems.append(f"it drops no weights, got dropout={dropout}")
    if biased:
        problems.append("it differentiates no bias")
    if partial:
        problems.append("it computes all queries of a sequence")
    if form == "cudnn" and problems:
        raise ValueError("cuDNN attention cannot compute this: " + "; ".join(problems))
    return "plain" if problems else "cudnn"


def _platform() -> str:
    """``cuda`` on an NVIDIA device that has flash attention, else the backend's name."""
    backend = jax.default_backend()
    device: Any = jax.devices()[0]
    if backend != "gpu" or "cuda" not in getattr(device.client, "platform_version", ""):
        return backend
    return "cuda" if float(getattr(device, "compute_capability", "0")) >= 8.0 else backend


def _allowed(
    q: Array,
    k: Array,
    query_segments: Array | None,
    key_segments: Array | None,
    causal: bool,
    query_start: int | Array,
) -> Bool[Array, "_ 1 t s"] | None:
    """Which query may attend to which key; None for all to all."""
    allowed = None
    if key_segments is None:
        key_segments = query_segments
    if key_segments is not None:
        keys = key_segments[:, None, None, :]
        allowed = keys > 0
        if query_segments is not None:
            allowed = allowed & (query_segments[:, None, :, None] == keys)
        else:
            allowed = jnp.broadcast_to(allowed, (len(q), 1, q.shape[1], k.shape[1]))
    if causal:
        rows = jnp.arange(q.shape[1]).reshape(1, 1, -1, 1)
        rows = rows + jnp.asarray(query_start).reshape(-1, 1, 1, 1)
        before = jnp.arange(k.shape[1]).reshape(1, 1, 1, -1) <= rows
        allowed = before if allowed is None else allowed & before
    return allowed
