"""Image files as frames: headers and pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from trackime.arrays import PixelArray, UInt8
from trackime.errors import OutputError, VideoError
from trackime.video.decoded import PixelKind


@dataclass(frozen=True)
class ImageHeader:
    """Of a png or jpg: (width, height) before any EXIF rotation, and what a pixel holds."""

    size: tuple[int, int]
    kind: PixelKind


def image_header(file: Path) -> ImageHeader | None:
    """The header of a png or jpg; None where it is neither, or damaged."""
    from PIL import Image

    try:
        with Image.open(file, formats=("PNG", "JPEG")) as image:
            # Pillow has no 16-bit RGB: the depth is in how it would decode the data. (Alpha of tRNS chunks is dropped.)
            deep = image.format == "PNG" and str(image.tile[0][3]).endswith("16B")
            return ImageHeader(image.size, PixelKind(16 if deep else 8, image.mode in ("LA", "RGBA")))
    except (OSError, ValueError, SyntaxError, IndexError, Image.DecompressionBombError):
        return None


def read_image(file: Path) -> UInt8:
    """uint8 [H, W, 3] RGB; EXIF orientation applied, alpha dropped, 16 bits to 8, grey repeated.

    Raises:
        VideoError: it cannot be read.
    """
    return np.ascontiguousarray(_decode(file, cv2.IMREAD_COLOR)[..., ::-1], dtype=np.uint8)


def read_pixels(file: Path, kind: PixelKind) -> PixelArray:
    """`kind.dtype` [H, W, `kind.channels`]: RGB, or RGB not premultiplied and alpha; grey is repeated.

    8 bits are scaled to the full range of 16 where `kind` has more, and missing alpha is opaque.

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


def write_image(path: Path, image: PixelArray) -> None:
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


def _decode(file: Path, how: int) -> PixelArray:
    try:
        data = np.fromfile(file, np.uint8)
    except OSError as error:
        raise VideoError(f"{file}: cannot be read ({error.strerror or error})") from None
    image = cv2.imdecode(data, how) if data.size else None
    if image is None:
        raise VideoError(f"{file}: not an image that can be read" if data.size else f"{file}: the file is empty")
    return np.asarray(image)
