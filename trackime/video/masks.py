"""Masks in and out of files: object ids, 0 background, 255 void.

Written are indexed PNGs with DAVIS's palette. Read are palette PNGs (values are ids), and grey or colour images with
a single value beside black (object 1).
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trackime.arrays import UInt8
from trackime.errors import FormatError, InputError, ShapeError
from trackime.files import atomic

_VOID = 255
"""The id of pixels nobody labelled."""

_FORMATS = ("PNG", "BMP", "TIFF", "GIF", "JPEG")


def _palette() -> UInt8:
    """uint8 [256, 3], the colours DAVIS and PASCAL VOC give ids: the id's bits dealt to R, G, B from the top."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for k in range(8):
        for channel in range(3):
            bit = (ids >> (3 * k + channel)) & 1
            colours[:, channel] |= (bit << (7 - k)).astype(np.uint8)
    return colours


def read_mask(path: str | os.PathLike[str]) -> UInt8:
    """Object ids of a mask file.

    A palette image: its values are ids, 255 void. A grey or colour image with one value beside black: object 1.

    Returns:
        uint8 [H, W].

    Raises:
        FormatError: no such file, not an image, translucent, or more than one value beside black without a palette.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            mode = image.mode
            pixels = np.asarray(image)
    except FileNotFoundError:
        raise FormatError(f"{Path(path)}: no such mask") from None
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise FormatError(f"{Path(path)}: expected a mask image ({', '.join(_FORMATS)}), got: {error}") from None
    if mode == "P":
        return np.array(pixels, np.uint8)
    if mode in ("RGBA", "LA"):
        if not (pixels[..., -1] == 255).all():
            raise FormatError(f"{Path(path)}: expected an opaque mask, got transparent pixels")
        pixels = pixels[..., :-1]
    return _one_object(pixels, path)


def _one_object(pixels: npt.NDArray[np.generic], path: str | os.PathLike[str]) -> UInt8:
    """0 where black, 1 elsewhere; FormatError where there is more than one colour beside black."""
    colours = pixels.reshape(*pixels.shape[:2], -1)
    filled = (colours != 0).any(-1)
    chosen = colours[filled]
    if len(chosen) and (chosen != chosen[0]).any():
        values = np.unique(chosen[:: max(1, len(chosen) // 100_000)], axis=0)
        raise FormatError(
            f"{Path(path)}: expected a palette PNG of ids, or one value beside black, "
            f"got {max(len(values), 2)} or more values without a palette"
        )
    return filled.astype(np.uint8)


def write_mask(path: str | os.PathLike[str], ids: npt.ArrayLike) -> None:
    """Write object ids as an indexed PNG with DAVIS's palette; atomic.

    Args:
        ids: integers or bool [H, W] in 0 .. 255.

    Raises:
        ShapeError: not [H, W], or empty.
        InputError: values that are not whole numbers in 0 .. 255.
        OutputError: the file cannot be written.
    """
    mask = np.asarray(ids)
    if mask.ndim != 2 or not mask.size:
        raise ShapeError("mask", "[H, W], not empty", mask.shape)
    if mask.dtype.kind not in "bui" or mask.min() < 0 or mask.max() > 255:
        raise InputError(f"mask: expected whole numbers in 0 .. 255, got {mask.dtype} {mask.min()} .. {mask.max()}")
    with atomic(path) as temporary:
        temporary.write_bytes(_encode_mask(mask.astype(np.uint8)))


def _encode_mask(mask: UInt8) -> bytes:
    """The bytes of an indexed PNG (ISO/IEC 15948) of uint8 [H, W] ids. cv2 cannot write palettes."""
    height, width = mask.shape
    # 8 bits an index, colour type 3 (palette), no interlacing; each row starts with its filter, 0: none.
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    rows = np.pad(mask, ((0, 0), (1, 0))).tobytes()
    chunks = ((b"IHDR", header), (b"PLTE", _palette().tobytes()), (b"IDAT", zlib.compress(rows, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
