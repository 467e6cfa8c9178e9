"""AWD-LSTM in the names of the two code bases that train it, which differ in prefixes.

A layer is torch's LSTM inside a wrapper that drops recurrent weights: the weights to keep are those
called ``_raw``, the others are a copy of some training step. Torch's two biases only ever act as
their sum.
"""

import re
from collections.abc import Mapping
from typing import Any

from tlearn.bodies.facts import TextFacts
from tlearn.hub.errors import HubError
from tlearn.hub.mapping import Row, Table
from tlearn.hub.tables.family import Family, Recognised, Shapes

# Copies of the embedding inside the module that drops words, in either version of fast.ai.
_COPIES = ("encoder_dp.emb.weight", "encoder_with_dropout.embed.weight")
_DROPPED = "a copy of the recurrent weights with some of them dropped"
_TIED = "tied to the embedding"


def make_family(name: str, prefix: str, decoder: str) -> Family:
    """Builds the entry of a naming.

    Args:
        name: Of the table.
        prefix: Before all names of the body.
        decoder: Before the names of the language head.
    """

    def recognise(shapes: Shapes) -> Recognised:
        return _recognise(name, prefix, decoder, shapes)

    def written(body: Mapping[str, Any], head: Mapping[str, Any] | None) -> Table:
        raw = [f"{prefix}rnns.{i}.weight_hh_l0_raw" for i in range(body["depth"])]
        rows = [_embedding(prefix), *_layers(prefix, raw)]
        if head is not None:
            rows += _decoder(decoder, prefix, bool(head.get("use_bias")))
        return Table(name, tuple(rows))

    first = f"{prefix}rnns.0.module."
    return Family(
        name=name,
        body="awd_lstm",
        signature=(f"{prefix}encoder.weight", f"{first}weight_ih_l0", f"{first}bias_ih_l0"),
        head=decoder,
        recognise=recognise,
        table=lambda body, _: written(body, None),
        unfit=lambda _: "",
        written=written,
        heads=("causal_lm",),
    )


def _recognise(name: str, prefix: str, decoder: str, shapes: Shapes) -> Recognised:
    vocabulary, width = _matrix(shapes, f"{prefix}encoder.weight")
    depth, wanted = 0, width
    units: list[int] = []
    raw: list[str] = []
    rows = [_embedding(prefix)]
    while f"{prefix}rnns.{depth}.module.weight_ih_l0" in shapes:
        layer = f"{prefix}rnns.{depth}."
        gates, given = _matrix(shapes, f"{layer}module.weight_ih_l0")
        if gates % 4 or given != wanted:
            raise HubError(
                f"{layer}module.weight_ih_l0 is {gates}x{given}: four gates of {wanted} inputs are "
                "wanted"
            )
        wanted = gates // 4
        units.append(wanted)
        kept, copies = _recurrent(layer, shapes)
        raw.append(kept)
        rows += [Row(copy, "", "drop", _DROPPED) for copy in copies]
        depth += 1
    if units[-1] != width or len(set(units[:-1])) > 1:
        raise HubError(
            f"its LSTMs have the widths {units}: all but the last must be of one width, and the "
            f"last as wide as the embedding ({width})"
        )
    rows += _layers(prefix, raw)
    rows += [
        Row(f"{prefix}{copy}", "", "drop", _TIED, tied=f"{prefix}encoder.weight")
        for copy in _COPIES
        if f"{prefix}{copy}" in shapes
    ]
    head = None
    if any(other.startswith(decoder) for other in shapes):
        biased = f"{decoder}bias" in shapes
        head = {"family": "causal_lm", "use_bias": biased}
        rows += _decoder(decoder, prefix, biased)
    return Recognised(
        {
            "family": "awd_lstm",
            "vocab_size": vocabulary,
            "width": width,
            # Of a single layer nothing says it, and nothing needs it.
            "hidden": units[0] if depth > 1 else width,
            "depth": depth,
        },
        None,
        # Both directions were published, under the same names and shapes.
        facts=TextFacts(vocab_size=vocabulary, backward=None),
        assumed=("its dropouts are those of the paper",),
        head=head,
        table=Table(name, tuple(rows)),
    )


def _matrix(shapes: Shapes, name: str) -> tuple[int, int]:
    shape = shapes[name]
    if len(shape) != 2:
        raise HubError(f"{name} has the shape {shape}, but a matrix is wanted")
    return shape[0], shape[1]


def _recurrent(layer: str, shapes: Shapes) -> tuple[str, list[str]]:
    """The name of a layer's recurrent weights, and those of their copies."""
    known = re.compile(re.escape(layer) + r"(module\.)?weight_hh_l0(_raw)?")
    names = sorted(name for name in shapes if known.fullmatch(name))
    raw = [name for name in names if name.endswith("_raw")]
    if len(raw) > 1 or not names:
        raise HubError(f"{layer} has {len(raw)} recurrent weights called _raw: one is wanted")
    # Without weight dropout there is no wrapper's copy, and the plain name is the weight.
    kept = raw[0] if raw else names[0]
    return kept, [name for name in names if name != kept]


def _embedding(prefix: str) -> Row:
    return Row(f"{prefix}encoder.weight", "params/body/embeddings/tokens/embedding")


def _layers(prefix: str, raw: list[str]) -> list[Row]:
    rows = []
    for i, recurrent in enumerate(raw):
        layer, here = f"{prefix}rnns.{i}.module.", f"params/body/lstm_{i}"
        rows += [
            Row(f"{layer}weight_ih_l0", f"{here}/input/kernel", "linear"),
            Row(recurrent, f"{here}/recurrent/kernel", "linear"),
            Row(f"{layer}bias_ih_l0", f"{here}/input/bias", "vector", plus=f"{layer}bias_hh_l0"),
        ]
    return rows


def _decoder(decoder: str, prefix: str, biased: bool) -> list[Row]:
    rows = [Row(f"{decoder}weight", "", "drop", _TIED, tied=f"{prefix}encoder.weight")]
    if biased:
        rows.append(Row(f"{decoder}bias", "params/head/bias", "vector"))
    return rows
