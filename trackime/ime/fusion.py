"""One trajectory out of several scales.

InstaTAP eq. 11 as printed divides by the occlusions' sum and does not normalise; implemented is the
weighted mean that its text describes. The text calls the occlusion's mean harmonic; the formula is a geometric mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trackime.arrays import FloatArray
from trackime.ime.motion import TINY


def fuse(
    parts: Sequence[tuple[FloatArray, FloatArray]], precision: Sequence[float] | None = None
) -> tuple[FloatArray, FloatArray]:
    """Positions averaged by visibility, occlusion by geometric mean over scales (InstaTAP eq. 11, eq. 12).

    Args:
        parts: (xy [N, T, 2], visibility [N, T]) of each scale, the finest last.
        precision: how much each scale's positions count beside their visibility; None: all the same, as published.

    Returns:
        xy [N, T, 2] and visibility [N, T]; where every scale is hidden, the finest scale's position.
    """
    xy = np.stack([p[0] for p in parts]).astype(np.float64)
    visibility = np.stack([p[1] for p in parts]).astype(np.float64)
    weights = visibility * np.reshape(precision or [1.0] * len(parts), (-1, 1, 1))
    total = weights.sum(0)
    mean = (weights[..., None] * xy).sum(0) / np.maximum(total, TINY * TINY)[..., None]
    fused = np.where((visibility.sum(0) > TINY)[..., None], mean, xy[-1])
    occlusion = np.prod(1 - visibility, 0) ** (1 / len(parts))
    return fused.astype(np.float32), np.clip(1 - occlusion, 0, 1).astype(np.float32)


def scale_precision(sides: Sequence[float], input_size: tuple[int, int] | None) -> list[float]:
    """Inverse variance of positions found in windows of some sides, the finest 1.

    A tracker that resizes what it sees to `input_size` errs by a share of its own pixels, and these grow with the
    window: the variance with the square of its side. A native tracker (None) is as precise in any window.
    """
    finest = min(sides)
    return [1.0 if input_size is None else (finest / side) ** 2 for side in sides]
