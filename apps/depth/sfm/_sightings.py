"""Where points are seen as the solve wants it: pixels from the centre of the picture, in float64, and weights."""

from __future__ import annotations

import numpy as np

from trackime.arrays import Float64, Int64
from trackime.types import RaggedTracks

LIGHT, HEAVY = 0.25, 2.0
"""Weights of a sighting against the median one: no expected error makes it count for less or more."""


class Sightings:
    """The sightings of trails in their own order (by point, then by frame).

    Args:
        trails: points and where they are seen.
        width, height: of a frame, pixels.
        scale: what positions are multiplied by.

    Attributes:
        frames: F.
        point: int64 [K].
        frame: int64 [K].
        xy: float64 [K, 2], pixels from the principal point at (width / 2, height / 2).
        weight: float64 [K], what a pixel's error counts: 1 for the median expected error.
        first: int64 [N + 1]; the sightings of point n are first[n] .. first[n + 1] - 1.
    """

    def __init__(self, trails: RaggedTracks, width: int, height: int, scale: float = 1.0) -> None:
        self.frames = trails.frames
        self.first = trails.first
        self.point, self.frame = trails.point, trails.frame
        self.xy = (trails.xy.astype(np.float64) - (width / 2, height / 2)) * scale
        middle = float(np.median(trails.sigma)) if len(trails.sigma) else 1.0
        self.weight: Float64 = np.clip(middle / trails.sigma.astype(np.float64), LIGHT, HEAVY)
        self._trails = trails

    def __len__(self) -> int:
        return len(self.first) - 1

    def at(self, t: int) -> Int64:
        """The sightings int64 [M] in frame t, rising by point."""
        return self._trails.rows(t)

    def between(self, i: int, j: int) -> tuple[Int64, Int64]:
        """The sightings int64 [M] in frame i and in frame j of the points seen in both."""
        _, a, b = self._trails.between(i, j)
        return a, b
