"""What no file of text may hold: bytes that are no UTF-8, and NUL bytes."""


def bad_byte(raw: bytes) -> str | None:
    """Names a byte of a line that is no text, and its place from 1; None if there is none."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"byte 0x{raw[error.start]:02x} at place {error.start + 1}"
    return f"a NUL byte at place {raw.index(0) + 1}" if b"\0" in raw else None
