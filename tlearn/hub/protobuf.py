"""Protocol buffers on the wire: fields by number, without any schema or generated code.

Format: https://protobuf.dev/programming-guides/encoding
"""

from collections.abc import Iterator
from typing import Any

from tlearn.hub.errors import HubError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Reads a number of 7 bits a byte.

    Returns:
        The number, and where the next value begins.

    Raises:
        HubError: If it does not end within the data, or in ten bytes.
    """
    value = shift = 0
    for place in range(at, min(at + 10, len(data))):
        value |= (data[place] & 0x7F) << shift
        if data[place] < 0x80:
            return value, place + 1
        shift += 7
    raise HubError(f"a number at byte {at} has no end")


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Lists the fields of a message in their order: numbers, or bytes for all that has a length.

    Raises:
        HubError: If the message is torn or holds groups, which nobody writes any more.
    """
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise HubError(f"a field at byte {at} has the unknown wire type {kind}")
        if at + length > len(data):
            raise HubError(f"a field claims {length} bytes at byte {at} of {len(data)}")
        content = data[at : at + length]
        at += length
        yield number, content if kind == _BYTES else int.from_bytes(content, "little")


def signed(value: int) -> int:
    """Reads a varint as the two's complement of 64 bits."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value
