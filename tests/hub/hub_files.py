"""Writes the files the hub reads, sound ones and hostile ones, without torch."""

import struct
import zipfile

import numpy as np

STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}
STORAGES |= {"bfloat16": "BFloat16Storage", "float64": "DoubleStorage", "bool": "BoolStorage"}
REBUILD = ("torch._utils", "_rebuild_tensor_v2")


def text(value):
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def number(value):
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    content = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def name(module, attribute):
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def group(*items):
    return b"(" + b"".join(items) + b"t"


def call(function, *arguments):
    return function + group(*arguments) + b"R"


def storage(key, kind, count):
    view = group(text("storage"), name("torch", kind), text(key), text("cpu"), number(count))
    return view + b"Q"


def tensor(key, kind, count, offset, shape, strides, rebuild=REBUILD):
    return call(
        name(*rebuild),
        storage(key, kind, count),
        number(offset),
        group(*map(number, shape)),
        group(*map(number, strides)),
        b"\x89",
        call(name("collections", "OrderedDict")),
    )


def dictionary(items):
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def pickled(value):
    return b"\x80\x02" + value + b"."


def legacy_storage(key, kind, count):
    parts = (text("storage"), name("torch", kind), text(key), text("cpu"), number(count), b"N")
    return group(*parts) + b"Q"


def plain_tensors(arrays, legacy=False):
    """The pickle of a state dict, and the storages it wants."""
    items, contents = {}, {}
    for index, (path, array) in enumerate(arrays.items()):
        array = np.ascontiguousarray(array)
        strides = [stride // array.itemsize for stride in array.strides]
        kind = STORAGES[array.dtype.name]
        made = tensor(str(index), kind, array.size, 0, array.shape, strides)
        if legacy:
            made = made.replace(
                storage(str(index), kind, array.size), legacy_storage(str(index), kind, array.size)
            )
        items[path] = made
        contents[str(index)] = array.tobytes()
    return items, contents


def write_zip(path, root, contents=None, folder="archive", deflate=False, extra=None):
    method = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(f"{folder}/data.pkl", pickled(root))
        archive.writestr(f"{folder}/byteorder", "little")
        for key, content in (contents or {}).items():
            archive.writestr(f"{folder}/data/{key}", content)
        for member, content in (extra or {}).items():
            archive.writestr(member, content)
    return path


def write_legacy(path, root, contents=None, sizes=None):
    system = dictionary({"little_endian": b"\x88", "protocol_version": number(1001)})
    parts = [pickled(number(0x1950A86A20F9469CFC6C)), pickled(number(1001)), pickled(system)]
    parts.append(pickled(root))
    contents = contents or {}
    parts.append(pickled(b"](" + b"".join(text(key) for key in contents) + b"e"))
    for key, content in contents.items():
        parts.append(struct.pack("<q", (sizes or {}).get(key, len(content) // 4)) + content)
    path.write_bytes(b"".join(parts))
    return path


def write_state_dict(path, arrays, legacy=False, wrap=None, prefix=""):
    """A file as torch.save writes it."""
    items, contents = plain_tensors({prefix + k: v for k, v in arrays.items()}, legacy)
    root = dictionary(items)
    if wrap:
        root = dictionary({"epoch": number(7), "best": number(91.5), wrap: root})
    if legacy:
        sizes = {str(i): array.size for i, array in enumerate(arrays.values())}
        return write_legacy(path, root, contents, sizes)
    return write_zip(path, root, contents)


def write_safetensors_raw(path, header, data=b"", length=None):
    import json

    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    claimed = len(encoded) if length is None else length
    path.write_bytes(struct.pack("<Q", claimed) + encoded + data)
    return path
