"""Observations of tracked points: float64 pixels from the centre of the picture, and weights."""

from __future__ import annotations

import numpy as np

from trackime.arrays import Float64, Int64
from trackime.types import RaggedTracks

from ._reprojection import Observations

LIGHT, HEAVY = 0.25, 2.0
"""Weights of an observation against the median one: whatever its expected error."""


class TrackObservations:
    """The observations of tracks in their own order (by point, then by frame).

    Args:
        tracks: points and where they are seen.
        width, height: of a frame, pixels.
        scale: what positions are multiplied by.

    Attributes:
        frames: F.
        point: int64 [K].
        frame: int64 [K].
        xy: float64 [K, 2], pixels from the principal point at (width / 2, height / 2).
        weight: float64 [K], what a pixel's error counts: 1 for the median expected error.
        first: int64 [N + 1]; the observations of point n are first[n] .. first[n + 1] - 1.
    """

    def __init__(self, tracks: RaggedTracks, width: int, height: int, scale: float = 1.0) -> None:
        self.frames = tracks.frames
        self.first = tracks.first
        self.point, self.frame = tracks.point, tracks.frame
        self.xy = (tracks.xy.astype(np.float64) - (width / 2, height / 2)) * scale
        middle = float(np.median(tracks.sigma)) if len(tracks.sigma) else 1.0
        self.weight: Float64 = np.clip(middle / tracks.sigma.astype(np.float64), LIGHT, HEAVY)
        self._tracks = tracks

    def __len__(self) -> int:
        return len(self.first) - 1

    def at(self, t: int) -> Int64:
        """The observations int64 [M] in frame t, rising by point."""
        return self._tracks.rows(t)

    def in_cameras(self, camera_of: Int64) -> tuple[Observations, Int64]:
        """The observations in frames that are cameras, and their rows; `camera_of` [F] is a frame's camera or -1."""
        rows = np.flatnonzero(camera_of[self.frame] >= 0)
        return Observations(camera_of[self.frame[rows]], self.point[rows], self.xy[rows], self.weight[rows]), rows

    def between(self, i: int, j: int) -> tuple[Int64, Int64]:
        """The observations int64 [M] in frame i and in frame j of the points seen in both."""
        _, a, b = self._tracks.between(i, j)
        return a, b
