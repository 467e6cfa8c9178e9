"""Keras Sequential models in a SavedModel: a row of layers, for pictures, with a dense head.

TensorFlow 2 keeps Keras' own description of the layers as text beside the graph
(`tlearn.hub.saved_model`); nothing of the graph is read.
"""

from collections.abc import Mapping
from typing import Any

from tlearn.bodies.convnet import grouped
from tlearn.hub.errors import HubError, listed, quoted
from tlearn.hub.mapping import Row, Table
from tlearn.hub.tables.folder_family import Described, FolderFamily, Shapes

_ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "gelu": "gelu"}
_ACTIVATIONS |= {"swish": "silu", "silu": "silu"}
_NOTHING = ("InputLayer", "ActivityRegularization")


def described(found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Takes Keras' description of a model as a config.

    Args:
        found: The description; None if the SavedModel has none.

    Raises:
        HubError: If there is none, or it is not of a row of layers.
    """
    if found is None:
        raise HubError(
            "its saved_model.pb does not describe a Keras model (Keras 3 no longer writes that); "
            "tlearn.hub.read_tensorflow gives the arrays by name"
        )
    if found.get("class_name") != "Sequential":
        raise HubError(
            f"it is a Keras {quoted(found.get('class_name'))}; only Sequential models are a plain "
            "row of layers; tlearn.hub.read_tensorflow gives the arrays by name"
        )
    return {"model_type": "keras_sequential", **found.get("config", {})}


def _describe(config: Mapping[str, Any], shapes: Shapes) -> Described:
    steps: list[tuple[Any, ...]] = []
    owners: list[str] = []
    problems: list[str] = []
    size: list[Any] = []
    for layer in config["layers"]:
        kind, said = layer["class_name"], layer["config"]
        size = size or _items(said.get("batch_input_shape"))
        try:
            new = _steps(kind, said)
        except HubError as error:
            problems.append(f"the layer {quoted(said.get('name'))} ({kind}) {error}")
            continue
        steps += new
        owners += [said["name"]] * sum(step[0] in ("conv", "dense", "norm") for step in new)
    if len(size) != 4 or any(type(n) is not int or n < 1 for n in size[1:]):
        problems.append(f"pictures of a known size are wanted, not inputs of the shape {size}")
    head = max((i for i, step in enumerate(steps) if step[0] == "dense"), default=-1)
    after = [step for step in steps[head + 1 :] if step != ("activation", "softmax")]
    if head < 1 or after:
        problems.append(f"its last layer must be dense; after the last dense layer come {after}")
    if problems:
        raise HubError(f"its layers cannot all be expressed:\n{listed(problems)}")
    ends = [step for step in steps[head + 1 :]]
    return Described(
        body={
            "family": "convnet",
            "steps": tuple(steps[:head]),
            "image_size": (size[1], size[2]),
            "in_channels": size[3],
        },
        head={"family": "linear", "classes": steps[head][1]},
        architecture="Sequential",
        assumed=("outputs are logits before a softmax",) if ends else (),
        extra={"layers": owners},
    )


def _items(shape: Any) -> list[Any]:
    items = shape.get("items") if isinstance(shape, dict) else shape
    return list(items) if isinstance(items, (list, tuple)) else []


def _steps(kind: str, said: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """What one Keras layer is in our steps."""
    if kind in _NOTHING:
        return []
    if kind == "Conv2D":
        if said.get("groups", 1) != 1 or _one(said, "dilation_rate") != 1:
            raise HubError("has groups or dilation, which this body has not")
        width, side, stride = said["filters"], _one(said, "kernel_size"), _one(said, "strides")
        step = ("conv", width, side, stride, said["padding"])
        return [step, *_activation(said["activation"], _bias(said))]
    if kind == "Dense":
        return [("dense", said["units"]), *_activation(said["activation"], _bias(said))]
    if kind == "BatchNormalization":
        if not said.get("center", True) or not said.get("scale", True):
            raise HubError("normalises without scale or shift, which this body has not")
        return [("norm", float(said["epsilon"]))]
    if kind == "MaxPooling2D":
        return [("max_pool", _one(said, "pool_size"), _one(said, "strides"), said["padding"])]
    if kind == "AveragePooling2D" and said["padding"] == "valid":
        return [("mean_pool", _one(said, "pool_size"), _one(said, "strides"))]
    if kind == "GlobalAveragePooling2D":
        return [("global_mean",)]
    if kind == "Flatten":
        return [("flatten",)]
    if kind == "Dropout":
        return [("dropout", float(said["rate"]))]
    if kind == "ReLU" and not said.get("max_value") and not said.get("negative_slope"):
        return [("activation", "relu")]
    if kind == "Softmax":
        return [("activation", "softmax")]
    if kind == "Activation":
        return _activation(said["activation"], True)
    raise HubError("is none that the body convnet has")


def _bias(said: Mapping[str, Any]) -> bool:
    return bool(said.get("use_bias", True))


def _activation(name: Any, bias: bool) -> list[tuple[Any, ...]]:
    if not bias:
        raise HubError("has no bias, which this body's layers have")
    if name in (None, "linear"):
        return []
    if name != "softmax" and name not in _ACTIVATIONS:
        raise HubError(f"has the activation {quoted(name)}, none of {list(_ACTIVATIONS)}")
    return [("activation", _ACTIVATIONS.get(name, name))]


def _one(said: Mapping[str, Any], key: str) -> int:
    """A size that is the same by rows and columns."""
    items = _items(said[key]) or [said[key]]
    if len(set(items)) != 1 or type(items[0]) is not int:
        raise HubError(f"has {key} {items}: rows and columns must be alike")
    return items[0]


def _table(described: Described) -> Table:
    rows: list[Row] = []
    names = list(described.extra["layers"])
    for place, (layer, steps) in enumerate(grouped(tuple(map(tuple, described.body["steps"])))):
        kind = next(step[0] for step in steps if step[0] in ("conv", "dense", "norm"))
        there, here = names[place], f"body/{layer}/{kind}"
        if kind == "norm":
            rows += [
                Row(f"{there}/gamma", f"params/{here}/scale"),
                Row(f"{there}/beta", f"params/{here}/bias"),
                Row(f"{there}/moving_mean", f"batch_stats/{here}/mean"),
                Row(f"{there}/moving_variance", f"batch_stats/{here}/var"),
            ]
        else:
            rows += _affine(there, here)
    return Table("keras_sequential", (*rows, *_affine(names[-1], "head/dense")))


def _affine(there: str, here: str) -> tuple[Row, Row]:
    return (
        Row(f"{there}/kernel", f"params/{here}/kernel"),
        Row(f"{there}/bias", f"params/{here}/bias"),
    )


def _write(described: Described) -> dict[str, Any]:
    raise HubError(f"a {described.body['family']} has no folder layout to be written in")


FAMILY = FolderFamily(
    name="keras_sequential",
    model_types=("keras_sequential",),
    origin="hf",
    body="convnet",
    describe=_describe,
    table=_table,
    write=_write,
)
"""This table's entry; it is reached from SavedModel folders alone."""
