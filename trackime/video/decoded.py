"""Conversion of decoded frames to arrays: depth, colours, alpha, rotation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from av.video.reformatter import Interpolation

from trackime.arrays import PixelArray

_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND
_EXACT |= Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
# Chroma is interpolated, too: the fast conversion's error is 2 levels of 1023 on a smooth ramp.


@dataclass(frozen=True)
class PixelKind:
    """What a pixel of a video holds.

    Attributes:
        depth: bits a channel, 8 .. 16.
        alpha: there is a fourth channel, not premultiplied.
    """

    depth: int = 8
    alpha: bool = False

    @property
    def channels(self) -> int:
        """3 (RGB) or 4 (RGB, alpha)."""
        return 4 if self.alpha else 3

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """uint8, or uint16 in its full scale 0 .. 65535 where the source has more than 8 bits."""
        return np.uint16 if self.depth > 8 else np.uint8


def kind_of(frame: Any) -> PixelKind:
    """Kind of a decoded frame's pixels. Palettes are opaque unless their format has alpha."""
    components = frame.format.components
    depth = max((int(c.bits) for c in components), default=8)
    alpha = any(c.is_alpha for c in components)
    return PixelKind(min(16, max(8, depth)), alpha)


def display_matrix(frame: Any) -> tuple[int, int, int, int] | None:
    """The display matrix (a, b, c, d) of a frame in whole quarter turns and mirrorings, None for upright.

    x' = a x + c y, y' = b x + d y (ISO 14496-12, 8.3.2); angles between quarter turns go to the nearest.
    """
    for data in frame.side_data:
        if str(data.type).endswith("DISPLAYMATRIX"):
            a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].astype(np.int64)
            turned = abs(b) + abs(c) > abs(a) + abs(d)
            signs = (0, np.sign(b), np.sign(c), 0) if turned else (np.sign(a), 0, 0, np.sign(d))
            matrix = (int(signs[0]), int(signs[1]), int(signs[2]), int(signs[3]))
            return None if matrix == (1, 0, 0, 1) else matrix
    return None


def upright(
    frame: Any,
    matrix: tuple[int, int, int, int] | None,
    size: tuple[int, int],
    kind: PixelKind = PixelKind(),
    exact: bool = False,
) -> PixelArray:
    """A decoded frame as RGB [H, W, C] of `size` (width, height before turning), turned by `matrix`.

    The matrix and the range of YUV are the frame's own (BT.601, limited, where it does not say). FFmpeg's fast
    conversion is three times as fast as the exact one and about a level of 255 darker: harmless for tracking, too much
    for frames that are written again.
    """
    image: PixelArray
    layouts = ("rgb24", "rgba") if kind.depth == 8 else ("rgb48le", "rgba64le")
    how = _EXACT if exact else None
    image = frame.reformat(width=size[0], height=size[1], format=layouts[kind.alpha], interpolation=how).to_ndarray()
    if matrix is None:
        return image
    a, b, c, d = matrix
    if a == 0:
        image = image.transpose(1, 0, 2)
    flip_x, flip_y = (c < 0, b < 0) if a == 0 else (a < 0, d < 0)
    return image[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
