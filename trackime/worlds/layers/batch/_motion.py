"""Paths and rotations of many objects at once; `trackime.worlds.motion` has those of one."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from scipy.ndimage import gaussian_filter1d

from trackime.arrays import BoolArray, FloatArray, IntArray
from trackime.worlds.motion import curves, fold


def rotation(angle: FloatArray) -> FloatArray:
    """Rotations [*S, 2, 2] by angles [*S] in radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)


def wander(
    rng: Generator,
    frames: int,
    speed: FloatArray,
    period: FloatArray,
    at: IntArray,
    place: FloatArray,
    box: FloatArray,
    jerky: BoolArray,
) -> FloatArray:
    """Paths through given places that turn back at the sides of boxes.

    Args:
        rng: source of randomness.
        frames: T.
        speed: [N] typical pixels per frame; it varies along the way.
        period: [N] frames in which a smooth path changes its heading.
        at: [N] frame in which a path passes its place.
        place: [N, 2] pixels.
        box: [N, 4] x0, y0, x1, y1.
        jerky: [N] straight dashes and stops instead of smooth turns.

    Returns:
        float64 [N, T, 2].
    """
    margin = 8
    total, count = frames + 2 * margin, len(speed)
    heading = rng.uniform(0, 2 * math.pi, count)[:, None] + 2.2 * curves(rng, (count,), total, period)
    gain = np.exp(0.6 * curves(rng, (count,), total, period))
    dash = np.cumsum(rng.random((count, total)) < 1 / 6, 1, dtype=np.int64)
    turns = np.take_along_axis(rng.uniform(0, 2 * math.pi, (count, total)), dash, 1)
    dashes = np.exp(rng.normal(0, 0.5, (count, total))) * (rng.random((count, total)) > 0.2)
    heading = np.where(jerky[:, None], turns, heading)
    gain = np.where(jerky[:, None], np.take_along_axis(dashes, dash, 1), gain)
    step = (speed[:, None] * gain)[..., None] * np.stack([np.cos(heading), np.sin(heading)], -1)
    path = np.cumsum(step, 1)
    path += (place - path[np.arange(count), at + margin])[:, None]
    path = np.stack([fold(path[..., k], box[:, k, None], box[:, k + 2, None]) for k in (0, 1)], -1)
    # Corners are rounded off.
    soft, sharp = (gaussian_filter1d(path, sigma, axis=1, mode="nearest") for sigma in (1.5, 0.6))
    out: FloatArray = np.where(jerky[:, None, None], sharp, soft)[:, margin:-margin]
    return out
