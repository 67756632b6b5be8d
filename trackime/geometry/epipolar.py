"""Distances of point matches from an epipolar geometry."""

from __future__ import annotations

import numpy as np

from trackime.arrays import Float64


def sampson_distance(matrix: Float64, a: Float64, b: Float64) -> Float64:
    """First-order distances [N] of matches to b' F a = 0 (Hartley, Zisserman, Multiple view geometry, 2004, eq. 11.9).

    In numpy: kornia's `sampson_epipolar_distance` gives the same numbers (to 1e-13), but takes 5 times as long for 60
    points and twice as long for 600, and needs torch.

    Args:
        matrix: [3, 3], fundamental, or essential for points on the plane z = 1.
        a, b: [N, 2], the same points in the first and in the second frame; the distance has their unit.
    """
    p, q = (np.concatenate((points, np.ones((len(points), 1))), 1) for points in (a, b))
    there, here = p @ matrix.T, q @ matrix
    square = (there[:, :2] ** 2).sum(1) + (here[:, :2] ** 2).sum(1)
    return np.asarray(np.abs((q * there).sum(1)) / np.maximum(np.sqrt(square), 1e-12))
