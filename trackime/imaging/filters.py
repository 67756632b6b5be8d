"""Filters that keep edges."""

from __future__ import annotations

import cv2
import numpy as np

from trackime.arrays import Float32, FloatArray

_EPSILON = 4e-4  # variance of the guide that counts as an edge; larger is smoother


def guided_filter(image: FloatArray, guide: FloatArray, radius: int) -> Float32:
    """`image` as a local linear function of `guide`, float32 [H, W] (He, Sun, Tang, PAMI 2013, eq. 5-8).

    The time does not depend on the radius: 3 ms for 854 x 480, where kornia's takes 50 at radius 4 and 300 at 12.

    Args:
        image: [H, W], what is filtered.
        guide: [H, W] whose edges are kept, about [0, 1].
        radius: of the window, pixels.
    """
    side = (2 * radius + 1, 2 * radius + 1)

    def mean(x: FloatArray) -> FloatArray:
        return np.asarray(cv2.boxFilter(np.asarray(x, np.float32), -1, side, borderType=cv2.BORDER_REFLECT))

    mean_guide, mean_image = mean(guide), mean(image)
    slope = (mean(guide * image) - mean_guide * mean_image) / (mean(guide * guide) - mean_guide**2 + _EPSILON)
    return np.asarray(mean(slope) * guide + mean(mean_image - slope * mean_guide), np.float32)
