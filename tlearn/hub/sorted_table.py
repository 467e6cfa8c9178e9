"""Sorted tables on disk (LevelDB's format), as TensorFlow writes the index of a checkpoint.

Format: blocks of entries that share prefixes, then an index block of the blocks' handles, then a
footer of 48 bytes. https://github.com/google/leveldb/blob/main/doc/table_format.md
"""

from tlearn.hub.errors import HubError, quoted
from tlearn.hub.protobuf import varint

_FOOTER = 48
_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
_TRAILER = 5
_MOST = 2_000_000


def is_sorted_table(tail: bytes) -> bool:
    """Whether the last bytes of a file are those of a sorted table."""
    return tail[-8:] == _MAGIC


def read_sorted_table(data: bytes) -> dict[bytes, bytes]:
    """Reads all entries, checking every block's checksum.

    Raises:
        HubError: If the table is torn or altered, or its blocks are compressed.
    """
    if len(data) < _FOOTER or not is_sorted_table(data):
        raise HubError(
            f"it is no sorted table: its {len(data)} bytes do not end as one; it is truncated, or "
            "of another format"
        )
    footer = data[-_FOOTER:]
    # The first handle is the index of filters, which nobody writes here.
    _, at = varint(footer, 0)
    _, at = varint(footer, at)
    offset, at = varint(footer, at)
    size, _ = varint(footer, at)
    found: dict[bytes, bytes] = {}
    for _, handle in _entries(_block(data, offset, size)):
        offset, at = varint(handle, 0)
        size, _ = varint(handle, at)
        for key, value in _entries(_block(data, offset, size)):
            if key in found:
                raise HubError(f"the name {quoted(key)} occurs twice")
            found[key] = value
            if len(found) > _MOST:
                raise HubError(f"it has more than {_MOST} entries")
    return found


def _block(data: bytes, offset: int, size: int) -> bytes:
    end = offset + size
    if end + _TRAILER > len(data):
        raise HubError(f"a block claims bytes {offset} to {end} of {len(data)}: it is truncated")
    kind = data[end]
    if kind:
        name = "snappy" if kind == 1 else f"method {kind}"
        raise HubError(
            f"its blocks are compressed ({name}), which TensorFlow's own checkpoints never are; "
            "save it again with TensorFlow 2"
        )
    stored = int.from_bytes(data[end + 1 : end + _TRAILER], "little")
    if masked_crc32c(data[offset : end + 1]) != stored:
        raise HubError(f"the checksum of the block at byte {offset} is wrong: the file is damaged")
    return data[offset:end]


def _entries(block: bytes) -> list[tuple[bytes, bytes]]:
    if len(block) < 4:
        raise HubError("a block is shorter than its own end")
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise HubError(f"a block of {len(block)} bytes claims {restarts} restart points")
    entries: list[tuple[bytes, bytes]] = []
    key, at = b"", 0
    while at < end:
        shared, at = varint(block, at)
        own, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or at + own + length > end:
            raise HubError(f"an entry at byte {at} leaves its block")
        key = key[:shared] + block[at : at + own]
        entries.append((key, block[at + own : at + own + length]))
        at += own + length
    return entries


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC_TABLE = _crc_table()


def masked_crc32c(data: bytes) -> int:
    """Computes CRC-32C as these files store it: rotated, and a constant added."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
