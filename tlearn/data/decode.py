"""Encoded pictures (JPEG, PNG, ...) to pixels, with an error for what is no whole 8-bit picture."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from tlearn.data.errors import DataError

_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
_MAX_PIXELS = 89_000_000
_MODE = {1: "L", 3: "RGB"}
_ORIENTATION = 0x0112
# How a whole file ends. Other formats, and files with something behind the end, are decoded to see.
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}


def decode_image(
    data: bytes | Path, *, channels: int = 3, upright: bool = True
) -> UInt8[np.ndarray, "h w c"]:
    """Decodes one picture to 8-bit pixels.

    Args:
        data: The encoded picture, or the path of its file.
        channels: 3 for RGB (grey pictures are repeated, palettes looked up, transparency is
            dropped) or 1 for grey (colours by their luma).
        upright: Turn the picture as its camera noted (EXIF orientation).

    Raises:
        DataError: Naming the file and saying why it is no picture: not decodable, truncated, more
            than one frame, more than 8 bits a channel, or larger than 89 megapixels.
    """
    try:
        return decode_pixels(data, channels=channels, upright=upright)
    except DataError as error:
        name = f"{data}" if isinstance(data, Path) else "this picture"
        raise DataError(f"{name} {error}") from error


def decode_pixels(
    data: bytes | Path, *, channels: int = 3, upright: bool = True
) -> UInt8[np.ndarray, "h w c"]:
    """Decodes one picture; its errors give only the reason, for callers that know a better name."""
    if channels not in _MODE:
        raise DataError(f"must be decoded to 1 or 3 channels, not {channels}")
    from PIL import Image, ImageOps

    try:
        with Image.open(_stream(data)) as picture:
            _check_header(picture)
            picture.load()
            flat: Any = picture
            # Each of these copies the picture, so only where it changes something.
            if upright and picture.getexif().get(_ORIENTATION, 1) != 1:
                flat = ImageOps.exif_transpose(picture)
            if flat.mode == "P" and "transparency" in flat.info:
                flat = flat.convert("RGBA")
            if flat.mode != _MODE[channels]:
                flat = flat.convert(_MODE[channels])
            pixels = np.array(flat, dtype=np.uint8)
    except DataError:
        raise
    # What broken files make the decoders raise is not promised; none of it may pass as a picture.
    except Exception as error:
        raise DataError(_reason(error)) from error
    return pixels.reshape(*pixels.shape[:2], channels)


def check_image(data: bytes | Path, *, full: bool = False) -> str | None:
    """Says what is wrong with an encoded picture, or None.

    The quick check reads the header and looks at how the file ends; only a file with an unusual
    end is decoded. It finds everything that is no picture, and files cut short. With ``full``
    every picture is decoded.
    """
    from PIL import Image

    try:
        with Image.open(_stream(data)) as picture:
            _check_header(picture)
            end = _ENDS.get(picture.format or "")
    except DataError as error:
        return str(error)
    except Exception as error:
        return _reason(error)
    if not full and end is not None and _tail(data, len(end)) == end:
        return None
    try:
        decode_pixels(data)
    except DataError as error:
        return str(error)
    return None


def _stream(data: bytes | Path) -> Any:
    return io.BytesIO(data) if isinstance(data, bytes) else data


def _tail(data: bytes | Path, count: int) -> bytes:
    if isinstance(data, bytes):
        return data[-count:]
    with data.open("rb") as file:
        file.seek(0, io.SEEK_END)
        file.seek(max(0, file.tell() - count))
        return file.read()


def _check_header(picture: Any) -> None:
    frames = getattr(picture, "n_frames", 1)
    # MPO is what some cameras call a JPEG with a preview behind it: the first frame is the picture.
    if frames > 1 and picture.format != "MPO":
        raise DataError(f"holds {frames} frames, expected a single picture")
    if picture.mode not in _MODES:
        raise DataError(f"has pixels of mode {picture.mode}, expected 8 bits a channel")
    width, height = picture.size
    if width * height > _MAX_PIXELS:
        raise DataError(f"is {width} x {height}, more than {_MAX_PIXELS // 10**6} megapixels")


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "is no picture in a known format"
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    return f"cannot be decoded: {error}"
