"""Camera poses from known points, before refinement (`_refine`)."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from trackime.arrays import Float64

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
    # Normalised by the points' median and size: independent of the world's scale.
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
