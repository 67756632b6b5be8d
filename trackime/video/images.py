"""Image files as frames: what their headers say, and their pixels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from trackime.arrays import UInt8
from trackime.errors import OutputError, VideoError
from trackime.video.decoded import PixelKind


@dataclass(frozen=True)
class ImageHeader:
    """What a png or jpg says of itself, before any EXIF rotation: (width, height), and what a pixel holds."""

    size: tuple[int, int]
    kind: PixelKind


def image_header(file: Path) -> ImageHeader | None:
    """The header of a png or jpg; None where it holds none."""
    try:
        with open(file, "rb") as data:
            head = data.read(26)
            if head.startswith(b"\x89PNG") and len(head) == 26:
                # PNG 11.2.2: colour types 4 and 6 have alpha. (That of tRNS chunks is dropped.)
                size = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
                return ImageHeader(size, PixelKind(max(8, head[24]), head[25] in (4, 6)))
            if not head.startswith(b"\xff\xd8"):
                return None
            data.seek(2)
            while len(segment := data.read(4)) == 4 and segment[0] == 0xFF:
                length = int.from_bytes(segment[2:4], "big")
                # SOF0 .. SOF15 hold the size; C4, C8 and CC in that range are tables (ITU-T T.81, B.1.1.3).
                if 0xC0 <= segment[1] <= 0xCF and segment[1] not in (0xC4, 0xC8, 0xCC):
                    _, high, wide = data.read(1), data.read(2), data.read(2)
                    return ImageHeader((int.from_bytes(wide, "big"), int.from_bytes(high, "big")), PixelKind())
                data.seek(length - 2, os.SEEK_CUR)
    except OSError:
        pass
    return None


def read_image(file: Path) -> UInt8:
    """uint8 [H, W, 3] RGB; EXIF orientation applied, alpha dropped, 16 bits to 8, grey repeated.

    Raises:
        VideoError: it cannot be read.
    """
    return np.ascontiguousarray(_decode(file, cv2.IMREAD_COLOR)[..., ::-1], dtype=np.uint8)


def read_pixels(file: Path, kind: PixelKind) -> npt.NDArray[Any]:
    """`kind.dtype` [H, W, `kind.channels`]: RGB, or RGB not premultiplied and alpha; grey is repeated.

    What the file has less is filled in: 8 bits to the full scale of 16, alpha opaque.

    Raises:
        VideoError: it cannot be read.
    """
    header = image_header(file)
    if header is not None and header.kind.alpha and kind.alpha:
        image = _decode(file, cv2.IMREAD_UNCHANGED)
        colour = cv2.COLOR_BGRA2RGBA
    else:
        image = _decode(file, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        colour = cv2.COLOR_BGR2RGBA if kind.alpha else cv2.COLOR_BGR2RGB
    if image.dtype == np.uint8 and kind.dtype is np.uint16:
        image = image.astype(np.uint16) * 257
    return np.ascontiguousarray(cv2.cvtColor(image, colour))


def write_image(path: Path, image: npt.NDArray[Any]) -> None:
    """Write a png of uint8 or uint16 [H, W, 3 or 4], RGB or RGB and alpha not premultiplied. Not atomic.

    Raises:
        OutputError: it cannot be written.
    """
    order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    done, data = cv2.imencode(".png", cv2.cvtColor(image, order))
    if not done:
        raise OutputError(f"{path}: the frame cannot be encoded")
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _decode(file: Path, how: int) -> npt.NDArray[Any]:
    try:
        data = np.fromfile(file, np.uint8)
    except OSError as error:
        raise VideoError(f"{file}: cannot be read ({error.strerror or error})") from None
    image = cv2.imdecode(data, how) if data.size else None
    if image is None:
        raise VideoError(f"{file}: not an image that can be read" if data.size else f"{file}: the file is empty")
    return np.asarray(image)
