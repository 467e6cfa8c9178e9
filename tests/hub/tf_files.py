"""Writes TensorFlow checkpoints without TensorFlow: an index of two blocks, and one shard."""

import numpy as np

KINDS = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "bool": 10, "float16": 19}


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF).to_bytes(4, "little")


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field, value):
    return varint(field << 3) + varint(value)


def message(field, content):
    return varint(field << 3 | 2) + varint(len(content)) + content


def entry(array, begin, checksum=True, **changes):
    dims = b"".join(message(2, number(1, size)) for size in changes.get("shape", array.shape))
    content = number(1, changes.get("dtype", KINDS[array.dtype.name])) + message(2, dims)
    content += number(4, changes.get("offset", begin)) + number(5, array.nbytes)
    if checksum:
        content += varint(6 << 3 | 5) + changes.get("crc", crc32c(array.tobytes()))
    return content


def block(pairs, kind=0):
    content, last = b"", b""
    for key, value in pairs:
        shared = 0
        while shared < min(len(last), len(key)) and last[shared] == key[shared]:
            shared += 1
        content += varint(shared) + varint(len(key) - shared) + varint(len(value))
        content += key[shared:] + value
        last = key
    content += (0).to_bytes(4, "little") + (1).to_bytes(4, "little")
    return content + bytes([kind]) + crc32c(content + bytes([kind]))


def table(pairs, kind=0):
    out, index = b"", []
    half = len(pairs) // 2 + 1
    for part in (pairs[:half], pairs[half:]):
        if part:
            made = block(part, kind)
            index.append((part[-1][0], varint(len(out)) + varint(len(made) - 5)))
            out += made
    empty = block([])
    meta = varint(len(out)) + varint(len(empty) - 5)
    out += empty
    made = block(index)
    footer = meta + varint(len(out)) + varint(len(made) - 5)
    return out + made + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def write_checkpoint(prefix, arrays, kind=0, shards=1, changes=None):
    """A checkpoint at ``prefix``; ``changes`` alters what the index says of a name."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    data, pairs = b"", [(b"", number(1, shards) + message(3, number(1, 1)))]
    for name in sorted(arrays, key=str.encode):
        array = np.ascontiguousarray(arrays[name])
        said = (changes or {}).get(name, {})
        pairs.append((name.encode(), entry(array, len(data), array.nbytes <= 4096, **said)))
        data += array.tobytes()
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(pairs, kind))
    prefix.with_name(f"{prefix.name}.data-00000-of-{shards:05d}").write_bytes(data)
    return prefix
