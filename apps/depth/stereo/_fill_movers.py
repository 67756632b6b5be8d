"""Depth of movers, which parallax does not determine: that of the nearer part of their surroundings."""

from __future__ import annotations

import cv2
import numpy as np

from trackime.arrays import BoolArray, FloatArray

RING = 4
"""Width in pixels of the rim around a mover whose depths count, at a frame width of 320 pixels."""
SHARE = 5
"""Percentile of the rim's depths that a mover gets: it is nearer than all it hides."""


def fill_movers(depth: FloatArray, moving: BoolArray) -> FloatArray:
    """The map [H, W] with each piece of `moving` [H, W] at one depth, that of the nearer part of its rim."""
    out = depth.copy()
    reach = max(2, round(RING * moving.shape[1] / 320))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(moving.astype(np.uint8), connectivity=8)
    for k in range(1, count):
        x, y, w, h = (int(v) for v in stats[k, :4])
        rows = slice(max(0, y - 2 * reach), y + h + 2 * reach)
        columns = slice(max(0, x - 2 * reach), x + w + 2 * reach)
        piece = labels[rows, columns] == k
        rim = (cv2.dilate(piece.astype(np.uint8), kernel) > 0) & ~moving[rows, columns]
        if rim.any():
            out[rows, columns][piece] = np.percentile(depth[rows, columns][rim], SHARE)
    return out
