"""Finding patches again in another frame by normalised cross-correlation."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from trackime.arrays import FloatArray
from trackime.patches.templates import RADIUS, SIDE

_DISTANCE_COST = 0.1
"""What a match at the edge of the search must have more of correlation than one at its middle."""
_FLAT = 1.0
"""Grey levels of contrast (standard deviation) below which there is nothing to search for, or in."""


def search(
    coarse: FloatArray,  # [h, w] every `stride`-th pixel of the smoothed frame
    stride: int,
    patches: FloatArray,  # [N, G] what to look for
    xy: FloatArray,  # [N, 2] where to look, in pixels of the frame
    reach: FloatArray,  # [N] how far from there, in pixels of the frame
) -> FloatArray:
    """The place [N, 2] within reach of `xy` that correlates best with each patch, to `stride` pixels.

    Where there is nothing to go by (a flat patch, a search outside the frame) the answer is `xy` itself.
    """
    found = np.array(xy, dtype=np.float32)
    middles = np.rint((found.astype(np.float64) - 0.5) / stride).astype(np.int64)
    reaches = np.ceil(reach / stride).astype(np.int64)
    for n, (middle, steps) in enumerate(zip(middles, reaches, strict=True)):
        place = _best(coarse, patches[n].reshape(SIDE, SIDE), (int(middle[0]), int(middle[1])), int(steps))
        if place is not None:
            found[n] = place[0] * stride + 0.5, place[1] * stride + 0.5
    return found


def _best(coarse: FloatArray, template: FloatArray, middle: tuple[int, int], steps: int) -> tuple[int, int] | None:
    """Pixel (x, y) of `coarse` on which `template` fits best, at most `steps` from `middle` on either axis."""
    height, width = coarse.shape
    x0, x1 = max(middle[0] - steps, 0), min(middle[0] + steps, width - 1)
    y0, y1 = max(middle[1] - steps, 0), min(middle[1] + steps, height - 1)
    if x0 > x1 or y0 > y1 or cv2.meanStdDev(template)[1][0, 0] < _FLAT:
        return None
    region = _crop(coarse, x0 - RADIUS, y0 - RADIUS, x1 + RADIUS + 1, y1 + RADIUS + 1)
    if cv2.meanStdDev(region)[1][0, 0] < _FLAT:
        return None
    score = cv2.matchTemplate(region, template, cv2.TM_CCOEFF_NORMED)
    np.clip(np.nan_to_num(score, copy=False), -1, 1, out=score)
    u = np.arange(x0 - middle[0], x1 + 1 - middle[0], dtype=np.float32)
    v = np.arange(y0 - middle[1], y1 + 1 - middle[1], dtype=np.float32)
    farness = (u**2 + v[:, None] ** 2) / max(1, steps) ** 2
    row, column = divmod(int(np.argmax(score - _DISTANCE_COST * farness)), len(u))
    return x0 + column, y0 + row


def _crop(image: FloatArray, x0: int, y0: int, x1: int, y1: int) -> Any:
    """image[y0:y1, x0:x1] with the border pixels going on outside."""
    height, width = image.shape
    inner = image[max(y0, 0) : min(y1, height), max(x0, 0) : min(x1, width)]
    pads = max(-y0, 0), max(y1 - height, 0), max(-x0, 0), max(x1 - width, 0)
    if not any(pads):
        return np.ascontiguousarray(inner)
    return cv2.copyMakeBorder(inner, *pads, borderType=cv2.BORDER_REPLICATE)
