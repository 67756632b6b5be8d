"""A mask from points that move and points that do not."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import cKDTree

from trackime.arrays import BoolArray, FloatArray, UInt8, pixels_at

SIDE = 160
"""Shorter side the region is made at."""
VOTERS = 8
"""Points around a pixel that vote on it."""
COLOUR = 12.0
"""Difference in colour (CIE Lab) that counts like the distance between neighbouring points."""
MOST = 3.0
"""A pixel farther from every moving point than this many times the points' spacing is not part of the mask."""


def region(xy: FloatArray, moving: BoolArray, size: tuple[int, int], picture: UInt8 | None = None) -> BoolArray:
    """bool [H, W]: pixels whose neighbouring points of similar colour mostly move.

    Args:
        xy: [N, 2] points in a frame.
        moving: bool [N].
        size: (H, W).
        picture: uint8 [H, W, 3], the frame; None: the nearest points decide.
    """
    h, w = size
    if not moving.any():
        return np.zeros(size, bool)
    shrink = max(1.0, min(size) / SIDE)
    rows, columns = max(1, round(h / shrink)), max(1, round(w / shrink))
    y, x = np.mgrid[:rows, :columns]
    places = np.stack([(x.ravel() + 0.5) * w / columns, (y.ravel() + 0.5) * h / rows], 1)
    spacing = float(np.sqrt(h * w / len(xy)))
    at, pixels = xy / spacing, places / spacing
    if picture is not None:
        small = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        lab = cv2.cvtColor(cv2.GaussianBlur(small, (3, 3), 0), cv2.COLOR_RGB2LAB) / COLOUR
        u, v = pixels_at(xy * (columns / w, rows / h), (rows, columns)).T
        at, pixels = np.concatenate((at, lab[v, u]), 1), np.concatenate((pixels, lab.reshape(-1, 3)), 1)
    count = min(VOTERS, len(xy))
    away, near = (v.reshape(len(pixels), -1) for v in cKDTree(at).query(pixels, k=count))
    weight = np.exp(-0.5 * (away**2 - away[:, :1] ** 2))
    vote = (weight * moving[near]).sum(1) / weight.sum(1)
    closest, _ = cKDTree(xy[moving]).query(places)
    vote = np.where(closest < MOST * spacing, vote, 0).reshape(rows, columns).astype(np.float32)
    return np.asarray(cv2.resize(vote, (w, h), interpolation=cv2.INTER_LINEAR) > 0.5)
