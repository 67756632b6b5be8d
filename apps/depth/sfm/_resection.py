"""Poses of cameras from points that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from trackime.arrays import Float64

from .bundle import BEHIND, Observed, Views, errors, gathering, huber, jacobians, summed

FEWEST = 10
"""Points that must fit a pose."""
SHARE = 0.25
"""Share of the points seen that must fit it."""
PIXELS = 4.0
"""Reprojection error of a point that fits, before refinement."""


def resect(points: Float64, xy: Float64, focal: float) -> tuple[Float64, Float64] | None:
    """World-to-camera rotation [3, 3] and shift [3] that most points [N, 3] at pixels [N, 2] from the centre agree
    with; None where too few do. The same input gives the same result."""
    import cv2

    if len(points) < FEWEST:
        return None
    # The points' own middle and size: numbers near 1 whatever the world's scale.
    middle = np.median(points, 0)
    size = float(np.median(np.linalg.norm(points - middle, axis=1))) or 1.0
    cv2.setRNGSeed(1)
    try:
        good, turn, shift, inliers = cv2.solvePnPRansac(
            (points - middle) / size, np.ascontiguousarray(xy), np.diag([focal, focal, 1.0]), None,
            iterationsCount=400, reprojectionError=PIXELS, confidence=0.9999, flags=cv2.SOLVEPNP_AP3P,
        )  # fmt: skip
    except cv2.error:
        return None
    if not good or inliers is None or len(inliers) < max(FEWEST, SHARE * len(points)):
        return None
    rotation = Rotation.from_rotvec(np.asarray(turn, np.float64).reshape(3)).as_matrix()
    return rotation, size * np.asarray(shift, np.float64).reshape(3) - rotation @ middle


def refine_poses(views: Views, seen: Observed, iterations: int = 15) -> Views:
    """The cameras of the least robust cost, each by itself, points and focal length fixed: Levenberg-Marquardt with the
    damping of each camera its own."""
    m = len(views.rotation)
    gather = gathering(seen.camera, m)
    value = _costs(views, seen)
    damping = np.full(m, 1e-4)
    for _ in range(iterations):
        by_camera, _, _, off = jacobians(views, seen)
        e = np.linalg.norm(off, axis=1) * seen.weight
        root = (seen.weight / np.sqrt(np.maximum(e, 1.0)))[:, None]
        by_camera, off = by_camera * root[..., None], off * root
        matrix = summed(gather, by_camera.transpose(0, 2, 1) @ by_camera)
        slope = summed(gather, np.einsum("kij,ki->kj", by_camera, off))
        matrix += damping[:, None, None] * matrix * np.eye(6) + 1e-9 * np.eye(6)
        move = -np.linalg.solve(matrix, slope[..., None])[..., 0]
        turn = Rotation.from_rotvec(move[:, :3]).as_matrix()
        trial = replace(
            views,
            rotation=turn @ views.rotation,
            shift=np.einsum("mij,mj->mi", turn, views.shift) + move[:, 3:],
        )
        after = _costs(trial, seen)
        better = after < value
        moving = better & (value - after > 1e-6 * value)
        views = replace(
            views,
            rotation=np.where(better[:, None, None], trial.rotation, views.rotation),
            shift=np.where(better[:, None], trial.shift, views.shift),
        )
        value = np.where(better, after, value)
        damping = np.where(better, damping / 4, damping * 10)
        if not moving.any() and (better | (damping > 1e3)).all():
            break
    return views


def _costs(views: Views, seen: Observed) -> Float64:
    loss = huber(np.minimum(errors(views, seen), BEHIND) * seen.weight)
    return np.asarray(np.bincount(seen.camera, loss, len(views.rotation)), np.float64)
