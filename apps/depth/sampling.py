"""Depth maps read between pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trackime.arrays import Float64, FloatArray
from trackime.errors import ShapeError

_EDGE = 1.15
"""Ratio of the largest depth around a place to the smallest from which an edge runs through: nothing is in between."""


def read(depth: FloatArray, xy: npt.ArrayLike, width: int, height: int) -> Float64:
    """Depths float64 [N] of a map [h, w] of any resolution at pixels [N, 2] of its frame, width x height.

    Bilinear in 1 / depth, which is linear in the pixels on every plane. 0, unknown, where one of the pixels that
    count is unknown, where they differ by a factor of `_EDGE`, and outside the frame. Centres of pixels are at + 0.5 in
    the map, too; beyond the outermost, the map is what it is there.

    Raises:
        ShapeError: the map is not [h, w].
    """
    depth, xy = np.asarray(depth, np.float64), np.asarray(xy, np.float64)
    if depth.ndim != 2 or not depth.size:
        raise ShapeError("depth map", "[h, w]", depth.shape)
    h, w = depth.shape
    inside = ((xy >= 0) & (xy <= (width, height))).all(1)
    u = np.clip(np.where(inside, xy[:, 0], 0) * (w / width) - 0.5, 0, w - 1)
    v = np.clip(np.where(inside, xy[:, 1], 0) * (h / height) - 0.5, 0, h - 1)
    x0, y0 = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    x1, y1 = np.minimum(x0 + 1, w - 1), np.minimum(y0 + 1, h - 1)
    a, b = u - x0, v - y0
    share = np.stack([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b], 1)  # [N, 4]
    corner = np.stack([depth[y0, x0], depth[y0, x1], depth[y1, x0], depth[y1, x1]], 1)
    known = np.isfinite(corner) & (corner > 0)
    counts = share > 0
    low = np.where(counts & known, corner, np.inf).min(1)
    high = np.where(counts & known, corner, 0).max(1)
    good = inside & (known | ~counts).all(1) & (high <= _EDGE * low)
    inverse = (share * np.divide(1, corner, out=np.zeros_like(corner), where=known)).sum(1)
    return np.divide(1, inverse, out=np.zeros_like(inverse), where=good)
