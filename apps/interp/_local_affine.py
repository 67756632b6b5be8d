"""What a few tracked points say of every pixel: locally affine motion of the points alike in place and colour."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import cKDTree

from trackime.arrays import Float32, FloatArray, UInt8

NEAREST = 12
"""Points that a pixel listens to."""
GRID = 4
"""Pixels a node; between nodes values are interpolated."""
COLOUR = 50.0
"""A difference of so much in CIELAB parts a pixel from a point as much as a point's distance does."""
_RIDGE = np.diag([1e-4, 0.05, 0.05])
_OUTLIER = 3.0  # pixels


class Spreader:
    """Spreads values of points over a frame.

    Around each pixel an affine map is fitted to the values of the points nearest to it in place and colour (in the
    spirit of Revaud et al., EpicFlow, CVPR 2015, with colour in place of geodesic distance), once more with those that
    do not fit counting less.

    Args:
        picture: uint8 [h, w, 3] RGB.
        points: [N, 2] pixels of the picture, centres at + 0.5; at least one.
        trust: [N], above 0.
        spacing: pixels, about the distance of a point from its neighbours.
    """

    def __init__(self, picture: UInt8, points: FloatArray, trust: FloatArray, spacing: float) -> None:
        self._size = picture.shape[:2]
        h, w = self._size
        rows, columns = max(1, h // GRID), max(1, w // GRID)
        lab = cv2.cvtColor(cv2.GaussianBlur(picture, (0, 0), 2).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        coarse = cv2.resize(lab, (columns, rows), interpolation=cv2.INTER_AREA).reshape(-1, 3)
        y, x = np.mgrid[0:rows, 0:columns]
        nodes = np.stack([(x.ravel() + 0.5) * w / columns, (y.ravel() + 0.5) * h / rows], 1)
        at = np.clip(np.floor(points).astype(int), 0, [w - 1, h - 1])
        marks = np.concatenate([points / spacing, lab[at[:, 1], at[:, 0]] / COLOUR], 1)
        count = min(NEAREST, len(points))
        far, self._who = cKDTree(marks).query(np.concatenate([nodes / spacing, coarse / COLOUR], 1), count)
        far, self._who = far.reshape(-1, count), self._who.reshape(-1, count)
        reach = far[:, count // 2, None] + 1e-6
        self._weight = (np.exp(-((far / reach) ** 2)) * trust[self._who]).astype(np.float32)
        offset = (points[self._who] - nodes[:, None]) / spacing
        self._basis = np.concatenate([np.ones_like(offset[..., :1]), offset], -1).astype(np.float32)
        self._shape = (rows, columns)
        near = np.exp(-((far[:, 0] / 2.0) ** 2)).reshape(rows, columns).astype(np.float32)
        self.support: Float32 = self._enlarged(near)

    def __call__(self, values: FloatArray) -> Float32:
        """Values [N, 2] of the points as a field [h, w, 2]."""
        given = np.asarray(values, np.float32)[self._who]
        fit = self._fit(self._weight, given)
        left = np.linalg.norm(self._basis @ fit - given, axis=2)
        fit = self._fit(self._weight / (1 + (left / _OUTLIER) ** 2), given)
        return self._enlarged(fit[:, 0].reshape(*self._shape, 2).astype(np.float32))

    def _fit(self, weight: FloatArray, given: FloatArray) -> FloatArray:
        """Coefficients [nodes, 3, 2]: the value at the node, its slopes."""
        left = np.swapaxes(self._basis * weight[..., None], 1, 2)
        return np.linalg.solve((left @ self._basis + _RIDGE).astype(np.float64), left @ given)

    def _enlarged(self, field: FloatArray) -> Float32:
        h, w = self._size
        return np.asarray(cv2.resize(field, (w, h), interpolation=cv2.INTER_LINEAR), np.float32)
