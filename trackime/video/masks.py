"""Masks in and out of files: object ids, 0 background, 255 void.

Masks are written as indexed PNGs with DAVIS's palette, and read from palette images (values are ids), grey or colour
images with a single value besides black (object 1).
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

_FORMATS = ("PNG", "BMP", "TIFF", "GIF", "JPEG")


def _palette() -> UInt8:
    """uint8 [256, 3], colours of ids in DAVIS and PASCAL VOC: bits of the id go to R, G, B in turn, from the top."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for k in range(8):
        for channel in range(3):
            bit = (ids >> (3 * k + channel)) & 1
            colours[:, channel] |= (bit << (7 - k)).astype(np.uint8)
    return colours


def read_mask(path: str | os.PathLike[str]) -> UInt8:
    """Object ids of a mask file.

    A palette image: its values are ids, 255 void. A grey or colour image with one value besides black: object 1.

    Returns:
        uint8 [H, W].

    Raises:
        FormatError: no such file, not an image, translucent, or more than one value besides black without a palette.
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
    """0 where black, 1 elsewhere; FormatError where there is more than one colour besides black."""
    colours = pixels.reshape(*pixels.shape[:2], -1)
    filled = (colours != 0).any(-1)
    chosen = colours[filled]
    if len(chosen) and (chosen != chosen[0]).any():
        values = np.unique(chosen[:: max(1, len(chosen) // 100_000)], axis=0)
        raise FormatError(
            f"{Path(path)}: expected a palette PNG of ids, or one value besides black, "
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
    from PIL import Image

    image = Image.frombytes("P", (mask.shape[1], mask.shape[0]), mask.astype(np.uint8).tobytes())
    image.putpalette(_palette().tobytes())
    with atomic(path) as temporary:
        image.save(temporary, "PNG")
