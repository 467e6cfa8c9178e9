"""What TensorFlow calls things: parts of variables, objects of TF2, and what is no weight."""

import re

from tlearn.hub.errors import HubError
from tlearn.hub.protobuf import fields

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
# What TensorFlow calls a variable that was given no name.
_NAMELESS = re.compile(r"(Variable(_\d+)?)?")
# TF1 writes slots and counters beside the variables they belong to, told apart by name alone.
_SLOTS = ("adam_m", "adam_v", "Adam", "Adam_1", "Momentum", "lamb_m", "lamb_v", "Adagrad")
_SLOTS += ("RMSProp", "RMSProp_1", "Ftrl", "Ftrl_1", "AdafactorV", "slot_vc", "slot_vr", "slot_v")
_OPTIMIZERS = ("adam/", "adamw/", "sgd/", "rmsprop/", "lamb/", "nadam/", "adagrad/", "adafactor/")
_KERAS_SLOTS = ("_momentum", "_velocity", "iteration", "learning_rate")
_COUNTERS = ("global_step", "beta1_power", "beta2_power", "save_counter", "good_steps")
_COUNTERS += ("current_loss_scale", "training_step")


def setting_aside(key: str, name: str) -> bool:
    """Whether an entry is no weight of the model: an optimizer's slot, a counter, a metric.

    Args:
        key: What it is stored under.
        name: What the variable is called.
    """
    if "/.OPTIMIZER_SLOT/" in key or key.startswith(("optimizer/", "_optimizer/", "save_counter")):
        return True
    if key.startswith("keras_api/metrics/") or "/keras_api/metrics/" in key:
        return True
    last = name.rpartition("/")[2]
    # Keras 3 names an optimizer's variables after itself.
    if name.startswith(_OPTIMIZERS) and last.endswith(_KERAS_SLOTS):
        return True
    return last in _COUNTERS or ("/" in name and last in _SLOTS)


def object_names(graph: bytes) -> dict[str, str]:
    """Reads which variable lies under which key from a TF2 checkpoint's object graph.

    Args:
        graph: A serialised TrackableObjectGraph (trackable_object_graph.proto).

    Returns:
        Names by key: the variable's own where it has one and no other has it, else the path of
        objects to it.
    """
    names: dict[str, str] = {}
    try:
        for number, node in fields(graph):
            if number != 1:
                continue
            for inner, attribute in fields(node):
                if inner == 2:
                    said = dict(fields(attribute))
                    key, full = (said.get(i, b"").decode("utf-8", "replace") for i in (3, 2))
                    nameless = _NAMELESS.fullmatch(full)
                    names[key] = key.removesuffix(_VALUE) if nameless else full
    except (HubError, AttributeError, TypeError, ValueError) as error:
        raise HubError(f"its graph of objects is unsound: {error}") from error
    counts: dict[str, int] = {}
    for key, name in names.items():
        if not setting_aside(key, name):
            counts[name] = counts.get(name, 0) + 1
    return {
        key: name if counts.get(name, 0) < 2 else key.removesuffix(_VALUE)
        for key, name in names.items()
    }


def slice_key(key: bytes, extents: tuple[tuple[int, int], ...]) -> bytes:
    """Writes the key of a slice of a partitioned variable, in TensorFlow's ordered code.

    Args:
        key: The variable's key.
        extents: (start, length) of each axis; the whole axis is (0, -1).
    """
    if b"\x00" in key or b"\xff" in key:
        raise HubError("has a name with bytes that no variable has")
    parts = [_number(0), key + b"\x00\x01", _number(len(extents))]
    for start, length in extents:
        parts += [_signed(start), _signed(length)]
    return b"".join(parts)


def _number(value: int) -> bytes:
    """A number from 0, as its count of bytes and those bytes."""
    content = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([len(content)]) + content


def _signed(value: int) -> bytes:
    """A signed number: as many leading ones as bytes, all inverted if it is negative."""
    magnitude = value if value >= 0 else ~value
    length = magnitude.bit_length() // 7 + 1
    if length > 7:
        raise HubError(f"has a slice at {value}")
    content = (1 << length) - 1 << 7 * length | magnitude
    whole = content if value >= 0 else content ^ (1 << 8 * length) - 1
    return whole.to_bytes(length, "big")
