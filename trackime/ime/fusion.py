"""One trajectory out of several scales.

InstaTAP equation (11) as printed divides by the occlusions' sum and does not normalise; what is built is the
weighted mean its text describes. The text calls the occlusion's mean harmonic; the formula is a geometric mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trackime.ime.motion import TINY
from trackime.types import FloatArray


def fuse(parts: Sequence[tuple[FloatArray, FloatArray]]) -> tuple[FloatArray, FloatArray]:
    """Positions averaged by visibility, occlusion by geometric mean over scales (InstaTAP equations 11, 12).

    Args:
        parts: (xy [N, T, 2], visibility [N, T]) of each scale, the finest last.

    Returns:
        xy [N, T, 2] and visibility [N, T]; where every scale is hidden, the finest scale's position.
    """
    xy = np.stack([p[0] for p in parts]).astype(np.float64)
    visibility = np.stack([p[1] for p in parts]).astype(np.float64)
    total = visibility.sum(0)
    mean = (visibility[..., None] * xy).sum(0) / np.maximum(total, TINY)[..., None]
    fused = np.where((total > TINY)[..., None], mean, xy[-1])
    occlusion = np.prod(1 - visibility, 0) ** (1 / len(parts))
    return fused.astype(np.float32), np.clip(1 - occlusion, 0, 1).astype(np.float32)
