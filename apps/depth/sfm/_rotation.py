"""Parallax between two frames: the residual motion after the best rotation of the camera."""

from __future__ import annotations

import numpy as np

from trackime.arrays import Float64

ROUNDS = 8
"""Reweightings of the robust fit."""
NARROW = 0.5
"""Pixels below which all points have equal weight."""


def left_by_rotation(a: Float64, b: Float64, focal: Float64) -> Float64:
    """Residuals of the rotation between two frames that fits most points, in pixels of the second frame.

    A rotation R moves pixels by the homography K R K^-1. It minimises the sum of distances, by iteratively
    reweighted least squares on the rays (Kabsch 1976), so that points with parallax or on movers weigh little where
    most have none.

    Args:
        a, b: [N, 2], the same points in the two frames, pixels from the centre.
        focal: [S], focal lengths to try.

    Returns:
        float64 [S, N]; infinite for a point carried behind the camera.
    """
    scale = focal[:, None, None]
    one = np.ones((len(focal), len(a), 1))
    here = np.concatenate((a[None] / scale, one), 2)
    there = np.concatenate((b[None] / scale, one), 2)
    u = here / np.linalg.norm(here, axis=2, keepdims=True)
    v = there / np.linalg.norm(there, axis=2, keepdims=True)
    weight = np.ones(u.shape[:2])
    left = np.full(u.shape[:2], np.inf)
    for _ in range(ROUNDS):
        left_vectors, _, right = np.linalg.svd((v * weight[..., None]).transpose(0, 2, 1) @ u)
        sign = np.linalg.det(left_vectors @ right)
        left_vectors[:, :, 2] *= sign[:, None]
        carried = here @ (left_vectors @ right).transpose(0, 2, 1)
        ahead = carried[..., 2] > 1e-6
        pixels = scale * carried[..., :2] / np.where(ahead, carried[..., 2], 1.0)[..., None]
        left = np.where(ahead, np.linalg.norm(pixels - b, axis=2), np.inf)
        weight = 1 / np.maximum(left, NARROW)
    return left


def parallax(a: Float64, b: Float64, focal: Float64) -> float:
    """The median pixels that no rotation explains, at the focal length [S] that leaves the least; 0 without points."""
    return float(np.median(left_by_rotation(a, b, focal), axis=1).min()) if len(a) else 0.0


def explained(a: Float64, b: Float64, focal: Float64, tolerance: float) -> float:
    """The share of points that a rotation explains within `tolerance` pixels, at the focal length [S] that explains
    most."""
    return float((left_by_rotation(a, b, focal) <= tolerance).mean(1).max()) if len(a) else 1.0
