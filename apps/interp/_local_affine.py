"""Dense motion from sparse points: an affine fit at each pixel to the points close in position and colour."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import cKDTree

from trackime.arrays import Float32, FloatArray, UInt8, pixels_at

_NEAREST = 12
"""Points in the fit of a pixel."""
_GRID = 4
"""Pixels between the fitted nodes; values between nodes are interpolated."""
_COLOUR = 50.0
"""Difference in CIELAB that counts as much as the distance between neighbouring points."""
_RIDGE = np.diag([1e-4, 0.05, 0.05])
_OUTLIER = 3.0  # pixels


class LocalAffine:
    """Interpolates values of points over a frame.

    At each pixel an affine map is fitted to the values of the points nearest to it in position and colour (after Revaud
    et al., EpicFlow, CVPR 2015, with colour in place of geodesic distance), then again with outliers down-weighted.

    Args:
        image: uint8 [h, w, 3] RGB.
        points: [N, 2] pixels of the image, centres at + 0.5; at least one.
        weights: [N], above 0.
        spacing: pixels, about the distance of a point from its neighbours.

    Attributes:
        support: float32 [h, w], 0 .. 1: near 1 where a point is close.
    """

    def __init__(self, image: UInt8, points: FloatArray, weights: FloatArray, spacing: float) -> None:
        self._size = image.shape[:2]
        h, w = self._size
        rows, columns = max(1, h // _GRID), max(1, w // _GRID)
        lab = cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), 2).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        coarse = cv2.resize(lab, (columns, rows), interpolation=cv2.INTER_AREA).reshape(-1, 3)
        y, x = np.mgrid[0:rows, 0:columns]
        nodes = np.stack([(x.ravel() + 0.5) * w / columns, (y.ravel() + 0.5) * h / rows], 1)
        column, row = pixels_at(points, (h, w)).T
        features = np.concatenate([points / spacing, lab[row, column] / _COLOUR], 1)
        count = min(_NEAREST, len(points))
        far, self._nearest = cKDTree(features).query(np.concatenate([nodes / spacing, coarse / _COLOUR], 1), count)
        far, self._nearest = far.reshape(-1, count), self._nearest.reshape(-1, count)
        reach = far[:, count // 2, None] + 1e-6
        self._weight = (np.exp(-((far / reach) ** 2)) * weights[self._nearest]).astype(np.float32)
        offset = (points[self._nearest] - nodes[:, None]) / spacing
        self._basis = np.concatenate([np.ones_like(offset[..., :1]), offset], -1).astype(np.float32)
        self._shape = (rows, columns)
        near = np.exp(-((far[:, 0] / 2.0) ** 2)).reshape(rows, columns).astype(np.float32)
        self.support: Float32 = self._upsampled(near)

    def __call__(self, values: FloatArray) -> Float32:
        """The field [h, w, 2] of values [N, 2] at the points."""
        given = np.asarray(values, np.float32)[self._nearest]
        fit = self._fit(self._weight, given)
        residual = np.linalg.norm(self._basis @ fit - given, axis=2)
        fit = self._fit(self._weight / (1 + (residual / _OUTLIER) ** 2), given)
        return self._upsampled(fit[:, 0].reshape(*self._shape, 2).astype(np.float32))

    def _fit(self, weight: FloatArray, given: FloatArray) -> FloatArray:
        """Coefficients [nodes, 3, 2] of weighted least squares: the value at the node, and its two slopes."""
        left = np.swapaxes(self._basis * weight[..., None], 1, 2)
        return np.linalg.solve((left @ self._basis + _RIDGE).astype(np.float64), left @ given)

    def _upsampled(self, field: FloatArray) -> Float32:
        h, w = self._size
        return np.asarray(cv2.resize(field, (w, h), interpolation=cv2.INTER_LINEAR), np.float32)
