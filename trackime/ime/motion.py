"""The motion of an instance: its neighbours' displacements, averaged by visibility, integrated from a query.

InstaTAP eq. 4 to eq. 7. The seed integrates forward from frame 0; here the sum runs away from the query
frame in both directions, each step weighted by the frame it arrives at, so that reversing a video reverses its
tracks.
"""

from __future__ import annotations

import numpy as np

from trackime.arrays import FloatArray, IntArray

TINY = 1e-6
"""Weights that sum to less than this carry no evidence."""


def instance_steps(xy: FloatArray, weights: FloatArray, scheme: str = "visibility") -> tuple[FloatArray, FloatArray]:
    """Mean displacement of an instance between neighbouring frames (InstaTAP eq. 4, eq. 5).

    Args:
        xy: [S, T, 2] positions of the neighbours, pixels.
        weights: [S, T] their visibility (times whatever else is known of them).
        scheme: "visibility" weighs a step by the frame it arrives at (the published form), "both" by the
            smaller of its two ends, "equal" not at all.

    Returns:
        forward [T - 1, 2], entry t the step from t to t + 1, and backward [T - 1, 2], entry t the step from
        t + 1 to t. Zero where every neighbour is hidden.
    """
    steps = np.diff(xy.astype(np.float64), axis=1)  # [S, T - 1, 2]
    w = np.ones_like(weights, dtype=np.float64) if scheme == "equal" else weights.astype(np.float64)
    ahead, back = w[:, 1:], w[:, :-1]
    if scheme == "both":
        ahead = back = np.minimum(ahead, back)
    return _mean(steps, ahead), -_mean(steps, back)


def _mean(steps: FloatArray, weights: FloatArray) -> FloatArray:
    total = weights.sum(0)[:, None]
    mean = (weights[..., None] * steps).sum(0) / np.maximum(total, TINY)
    return np.where(total > TINY, mean, 0.0)


def integrate(points: FloatArray, t: IntArray, steps: tuple[FloatArray, FloatArray]) -> FloatArray:
    """Trajectories of points that move with an instance (InstaTAP eq. 6, in both directions).

    Args:
        points: [N, 2] positions at their query frames.
        t: [N] query frames.
        steps: forward and backward steps [T - 1, 2] each, from `instance_steps`.

    Returns:
        [N, T, 2].
    """
    ahead, back = (np.concatenate([np.zeros((1, 2)), np.cumsum(s, 0)]) for s in (steps[0], steps[1][::-1]))
    back = back[::-1]  # back[t] is the sum of steps from the last frame down to t
    frames = np.arange(len(ahead))
    later = frames[None] >= t[:, None]
    moved = np.where(later[..., None], ahead[None] - ahead[t][:, None], back[None] - back[t][:, None])
    return (points[:, None].astype(np.float64) + moved).astype(np.float32)


def prefer_query(xy: FloatArray, visibility: FloatArray, guided: FloatArray, queries: FloatArray) -> FloatArray:
    """The query's own track where it is visible, the instance's motion where it is not (InstaTAP eq. 7).

    Args:
        xy: [N, T, 2] the queries' own tracks.
        visibility: [N, T].
        guided: [N, T, 2] from `integrate`.
        queries: [N, 3] (x, y, t): at t the result is the query.

    Returns:
        [N, T, 2].
    """
    v = visibility[..., None]
    mixed = (v * xy + (1 - v) * guided).astype(np.float32)
    rows = np.arange(len(queries))
    mixed[rows, queries[:, 2].astype(np.int64)] = queries[:, :2]
    return mixed
