"""Robust two-view geometry of a pair of frames, and the distance of each point from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from trackime.arrays import Float64
from trackime.geometry import sampson_distance

LEAST = 16
"""Fewest points that a geometry is fitted to."""
INSTEAD = 0.7
"""Least share of an epipolar geometry's inliers that fit a homography where the camera only rotates."""
FOCALS = np.geomspace(0.4, 3.0, 16)
"""Focal lengths tried, as shares of the longer side, for a homography to be a rotation."""


@dataclass(frozen=True, eq=False)
class PairGeometry:
    """Residuals of a pair of frames.

    Attributes:
        fundamental: [N] Sampson distance in pixels to the fundamental matrix; infinite where there is none.
        homography: [N] the smaller of both transfer errors, in pixels, by the homography; infinite where there is none.
        rotation: pixels by which the homography, at the frame's corners, differs from that of a rotating camera.
    """

    fundamental: Float64
    homography: Float64
    rotation: float

    def turns(self, close: float) -> bool:
        """Whether the camera may only have rotated, or rested: most points fit the homography of a rotation, and nearly
        as many as fit an epipolar geometry: a wall behind the scene fits one, too, while static objects before it have
        parallax that the epipolar geometry explains."""
        fits, parallax = ((off < close).mean() for off in (self.homography, self.fundamental))
        alone = fits > max(0.6, INSTEAD * parallax)
        return bool(alone and np.median(self.homography) < 0.4 * close and self.rotation < 2 * close)


def within(width: int, height: int) -> float:
    """Pixels up to which a point fits a geometry: 1.5 in frames of 320 x 240, in proportion in others, 1 at least."""
    return float(max(1.0, 1.5 * np.hypot(width, height) / 400))


def transfer(matrix: Float64, a: Float64, b: Float64) -> Float64:
    """Distance [N] in pixels between b [N, 2] and a [N, 2] moved by a homography."""
    moved = np.concatenate((a, np.ones((len(a), 1))), 1) @ matrix.T
    w = np.where(np.abs(moved[:, 2:]) < 1e-9, 1e-9, moved[:, 2:])
    return np.asarray(np.linalg.norm(moved[:, :2] / w - b, axis=1))


def turning(matrix: Float64, width: int, height: int) -> float:
    """Pixels at the corners and the middles of the sides by which a homography differs from the nearest K R K^-1, K
    with any focal length and its centre in the middle of the frame."""
    best = np.inf
    w, h = width / 2, height / 2
    places = np.array([(x * w + w, y * h + h) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y])
    for share in FOCALS:
        f = share * max(width, height)
        k = np.array([[f, 0, w], [0, f, h], [0, 0, 1]])
        m = np.linalg.inv(k) @ matrix @ k
        u, _, v = np.linalg.svd(m)
        r = u @ v * np.sign(np.linalg.det(u @ v) * np.linalg.det(m)) if np.linalg.det(m) else np.eye(3)
        r = r * np.sign(np.linalg.det(r))
        turned = k @ r @ np.linalg.inv(k)
        there = np.concatenate((places, np.ones((len(places), 1))), 1) @ matrix.T
        best = min(best, float(np.median(transfer(turned, places, there[:, :2] / there[:, 2:]))))
    return best


def geometry(
    a: Float64, b: Float64, width: int, height: int, close: float | None = None, seed: int = 0
) -> PairGeometry | None:
    """The geometry most of the matches a, b [N, 2] of two frames fit; None below `LEAST` of them.

    Fitted with MAGSAC++ (Barath et al., CVPR 2020) as OpenCV has it, which looks for degenerate samples, too.
    """
    if len(a) < LEAST:
        return None
    middle = np.array([width / 2, height / 2])
    params = cv2.UsacParams()
    params.confidence, params.threshold, params.maxIterations = 0.999, close or within(width, height), 2000
    params.score, params.sampler, params.randomGeneratorState = cv2.SCORE_METHOD_MAGSAC, cv2.SAMPLING_UNIFORM, seed
    params.loMethod, params.loIterations, params.loSampleSize = cv2.LOCAL_OPTIM_SIGMA, 5, 30
    params.isParallel = False
    p, q = a - middle, b - middle
    infinite = np.full(len(a), np.inf)
    f, h = _fit(cv2.findFundamentalMat, p, q, params), _fit(cv2.findHomography, p, q, params)
    by_f = infinite if f is None else sampson_distance(f, p, q)
    by_h, rotation = infinite, float("inf")
    if h is not None and abs(np.linalg.det(h)) > 1e-12:
        by_h = np.minimum(transfer(h, p, q), transfer(np.asarray(np.linalg.inv(h), np.float64), q, p))
        shift = np.array([[1, 0, middle[0]], [0, 1, middle[1]], [0, 0, 1]])
        rotation = turning(shift @ h @ np.linalg.inv(shift), width, height)
    return PairGeometry(by_f, by_h, rotation)


def _fit(solve: Callable[..., Any], a: Float64, b: Float64, params: cv2.UsacParams) -> Float64 | None:
    """A matrix [3, 3], None where there is none."""
    try:
        matrix = solve(a, b, params)[0]
    except cv2.error:  # raised where every sample is degenerate
        return None
    return matrix if matrix is not None and matrix.shape == (3, 3) and np.isfinite(matrix).all() else None
