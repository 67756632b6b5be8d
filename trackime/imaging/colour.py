"""Colour spaces."""

from __future__ import annotations

import cv2
import numpy as np

from trackime.arrays import Float32, FloatArray, UInt8
from trackime.errors import ShapeError


def to_lab(frame: UInt8 | FloatArray) -> Float32:
    """CIE Lab float32 [H, W, 3] (L in [0, 100], white D65) of sRGB [H, W, 3], uint8 or float in [0, 1].

    By OpenCV: 2 ms for 854 x 480, within 0.3 of kornia's and scikit-image's values, which take 15 ms.

    Raises:
        ShapeError: not [H, W, 3].
    """
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise ShapeError("frame", "[H, W, 3]", frame.shape)
    scaled = frame.astype(np.float32) / 255 if frame.dtype == np.uint8 else frame.astype(np.float32)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(scaled), cv2.COLOR_RGB2Lab), np.float32)
