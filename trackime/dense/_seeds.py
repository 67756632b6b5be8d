"""Seeding: new points on the strongest corners, one a cell of a grid, wherever no point is tracked."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from trackime.arrays import BoolArray, Float32, FloatArray, Int64, UInt8, inside, pixels_at

_LEAST_CELL = 4.0
"""Pixels of a cell's side at least, however small the frame."""
_BLOCK = 5
"""Side in pixels of the neighbourhood whose gradients make a corner."""
_BREAK = 1.0
"""Pixels by which flow may differ within a patch on one surface (beyond it, three times as many points
fail in their first frame on scenes)."""
_PATCH = 9
"""Side in pixels of such a patch."""
_BORDER = 3
"""Pixels to the frame's edge that corners keep, where the cell has room."""


class Cells:
    """The grid of a frame.

    Args:
        size: (h, w) of the frame.
        side: pixels of a cell, roughly.

    Attributes:
        side: pixels of a cell's side.
    """

    def __init__(self, size: tuple[int, int], side: float) -> None:
        self.size = size
        self.side = max(_LEAST_CELL, side)
        self._rows, self._columns = (
            [n * k // m for k in range(m + 1)] for n, m in ((n, self._number(n)) for n in size)
        )

    def _number(self, pixels: int) -> int:
        return min(pixels, max(1, round(pixels / self.side)))

    def __len__(self) -> int:
        return (len(self._rows) - 1) * (len(self._columns) - 1)

    def of(self, xy: FloatArray) -> Int64:
        """The cell int64 [N] of points [N, 2]; -1 outside the frame."""
        x, y = xy[:, 0], xy[:, 1]
        n, m = len(self._rows) - 1, len(self._columns) - 1
        # The frame's far edges belong to it.
        column = np.minimum(np.searchsorted(self._columns, x, side="right") - 1, m - 1)
        row = np.minimum(np.searchsorted(self._rows, y, side="right") - 1, n - 1)
        return np.where(inside(xy, self.size), row * m + column, -1)

    def corners(self, grey: UInt8, known: FloatArray, flow: Float32 | None = None) -> FloatArray:
        """New points: the strongest corner (Shi and Tomasi, 1994) of each cell without a point.

        Args:
            grey: uint8 [h, w].
            known: [N, 2] points tracked.
            flow: [h, w, 2] to a neighbouring frame, if any: where it is discontinuous, corners belong to two surfaces.

        Returns:
            float32 [n, 2], pixel centres, each half a cell's side or more away from those known.
        """
        strength = np.asarray(cv2.cornerMinEigenVal(np.ascontiguousarray(grey), _BLOCK), np.float32)
        if flow is not None:
            strength = np.where(_breaks(flow), np.minimum(strength, 0), strength)
        edge = min(_BORDER, (min(grey.shape) - 1) // 2)
        if edge > 0:
            inner = np.zeros(grey.shape, bool)
            inner[edge:-edge, edge:-edge] = True
            # Still chosen where a cell has nothing else.
            strength = np.where(inner, strength, -0.5)
        cell = self.of(known)
        near = np.zeros(grey.shape, np.uint8)
        x, y = pixels_at(known[cell >= 0], self.size).T
        near[y, x] = 1
        reach = 2 * int(self.side / 2) + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
        strength = np.where(cv2.dilate(near, disc) > 0, -1, strength)
        bare = np.ones(len(self), bool)
        bare[cell[cell >= 0]] = False
        slices = [(slice(*v), slice(*u)) for v in pairwise(self._rows) for u in pairwise(self._columns)]
        found = []
        for k in np.flatnonzero(bare):
            rows, columns = slices[k]
            part = strength[rows, columns]
            y, x = np.unravel_index(int(np.argmax(part)), part.shape)
            if part[y, x] > -1:
                found.append((columns.start + x + 0.5, rows.start + y + 0.5))
        return np.array(found, np.float32).reshape(-1, 2)


def _breaks(flow: Float32) -> BoolArray:
    """bool [h, w]: where flow [h, w, 2] differs by more than `_BREAK` pixels within a patch."""
    square = np.ones((_PATCH, _PATCH), np.uint8)
    spread = np.zeros(flow.shape[:2], np.float32)
    for part in (flow[..., 0], flow[..., 1]):
        part = np.ascontiguousarray(part)
        spread = np.maximum(spread, cv2.dilate(part, square) - cv2.erode(part, square))
    return np.asarray(spread > _BREAK)
