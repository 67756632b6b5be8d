"""The motion between two frames from the points both see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from trackime.arrays import BoolArray, Float64

from ._reprojection import Observations, Views
from ._triangulate import angles, meet, rays

FEWEST = 12
"""Points below which there is no motion to find."""
PIXELS = 1.0
"""Distance from the epipolar line of a point that fits."""


@dataclass(frozen=True, eq=False)
class RelativePose:
    """The second camera seen from the first: x2 = R x1 + t, |t| = 1; which points fit bool [N]; points [N, 3] (NaN
    where none) and the angle [N] in degrees between their rays."""

    rotation: Float64
    shift: Float64
    inliers: BoolArray
    points: Float64
    angle: Float64


def essential(a: Float64, b: Float64, focal: float, pixels: float = PIXELS) -> tuple[Float64, BoolArray] | None:
    """The essential matrix [3, 3] that most points [N, 2] agree with (MAGSAC++: Barath et al., CVPR 2020) and which do
    bool [N]; None where there is none. The same input gives the same result."""
    import cv2

    if len(a) < FEWEST:
        return None
    camera = np.diag([focal, focal, 1.0])
    params = _params(cv2, pixels)
    none = np.zeros((0, 1))
    try:
        matrix, mask = cv2.findEssentialMat(a, b, camera, camera, none, none, params)
    except cv2.error:
        return None
    if matrix is None or mask is None or np.shape(matrix) != (3, 3) or not np.isfinite(matrix).all():
        return None
    return np.asarray(matrix, np.float64), np.asarray(mask).reshape(-1).astype(bool)


def _params(cv2: Any, pixels: float) -> Any:
    params = cv2.UsacParams()
    params.score = cv2.SCORE_METHOD_MAGSAC
    params.loMethod = cv2.LOCAL_OPTIM_SIGMA
    params.sampler = cv2.SAMPLING_UNIFORM
    params.threshold = pixels
    params.maxIterations = 1000
    params.confidence = 0.999
    params.randomGeneratorState = 1
    params.isParallel = False
    return params


def relative_pose(a: Float64, b: Float64, focal: float) -> RelativePose | None:
    """The motion between two frames that puts most points before both; None where there is none.

    Args:
        a, b: [N, 2] the same points in the first and the second frame, pixels from the centre.
        focal: pixels.
    """
    import cv2

    found = essential(a, b, focal)
    if found is None:
        return None
    matrix, fits = found
    one, other, shift = (np.asarray(item, np.float64) for item in cv2.decomposeEssentialMat(matrix))
    best: RelativePose | None = None
    for rotation in (one, other):
        for sign in (1.0, -1.0):
            trial = _lifted(a, b, focal, rotation, sign * shift.reshape(3), fits)
            if best is None or np.isfinite(trial.points).sum() > np.isfinite(best.points).sum():
                best = trial
    return best


def _lifted(a: Float64, b: Float64, focal: float, rotation: Float64, shift: Float64, fits: BoolArray) -> RelativePose:
    turns = np.stack((np.eye(3), rotation))
    shifts = np.stack((np.zeros(3), shift))
    n = len(a)
    views = Views(turns, shifts, np.zeros((n, 3)), focal)
    seen = Observations(
        np.tile([0, 1], n), np.repeat(np.arange(n), 2), np.stack((a, b), 1).reshape(-1, 2), np.ones(2 * n)
    )
    centre, ray = rays(views, seen)
    points = meet(centre[::2], ray[::2], centre[1::2], ray[1::2])
    with np.errstate(invalid="ignore"):
        ahead = (points[:, 2] > 0) & ((points @ rotation.T + shift)[:, 2] > 0) & fits
    points[~ahead] = np.nan
    return RelativePose(rotation, shift, fits & ahead, points, angles(views, seen, n))


def flat(a: Float64, b: Float64, pixels: float) -> float:
    """The share of points that one homography explains: 1 where all lie in a plane, or the camera only rotates."""
    import cv2

    if len(a) < FEWEST:
        return 1.0
    matrix, _ = cv2.findHomography(a, b, cv2.USAC_MAGSAC, pixels, maxIters=1000, confidence=0.999)
    if matrix is None:
        return 0.0
    carried = np.concatenate((a, np.ones((len(a), 1))), 1) @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.linalg.norm(carried[:, :2] / carried[:, 2:] - b, axis=1)
    return float((off <= pixels).mean())
