"""Signed Euclidean distance to the border of a mask."""

from __future__ import annotations

import cv2
import numpy as np

from trackime.arrays import BoolArray, Float32


def signed_distance(mask: BoolArray) -> Float32:
    """Pixels to the mask's border, float32 [H, W]: positive inside, the border halfway between pixels.

    OpenCV's 5 x 5 distance (Borgefors, CVGIP 1986) errs by up to 2 %; scipy's exact one takes 35 ms instead of 3 for
    a frame of 854 x 480.

    Args:
        mask: bool [H, W]. One that is empty or full has no border: the frame's diagonal, with its sign.
    """
    far = float(np.hypot(*mask.shape))
    if mask.all() or not mask.any():
        return np.full(mask.shape, far if mask.any() else -far, np.float32)
    inside = mask.astype(np.uint8)
    into = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5)
    out = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.asarray(np.where(mask, into - 0.5, 0.5 - out), np.float32)
