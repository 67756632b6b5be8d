"""Observations of points, collected frame by frame and made into ragged tracks at the end."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from trackime.arrays import FloatArray, Int64
from trackime.types import RaggedTracks


@dataclass
class Observations:
    """Where points were seen; memory grows with what was seen.

    Attributes:
        frames: of the video.
        count: points so far; the next is number `count`.
    """

    frames: int
    count: int = 0
    _parts: list[tuple[Int64, int, FloatArray, FloatArray]] = field(default_factory=list)

    def begin(self, n: int) -> Int64:
        """Numbers int64 [n] of new points."""
        self.count += n
        return np.arange(self.count - n, self.count)

    def add(self, t: int, points: Int64, xy: FloatArray, sigma: FloatArray) -> None:
        """Points [M] seen in frame t at xy [M, 2] with errors sigma [M]."""
        if len(points):
            self._parts.append((points, t, xy.astype(np.float32), sigma.astype(np.float32)))

    def tracks(self, least: int = 1) -> RaggedTracks:
        """Ragged tracks of the points with `least` observations or more, instance unknown."""
        if not self._parts:
            return RaggedTracks.none(self.frames)
        point = np.concatenate([p for p, *_ in self._parts])
        frame = np.concatenate([np.full(len(p), t) for p, t, *_ in self._parts])
        xy, sigma = (np.concatenate([part[k] for part in self._parts]) for k in (2, 3))
        order = np.lexsort((frame, point))
        length = np.bincount(point, minlength=self.count)
        order = order[length[point[order]] >= least]
        count = length[length >= max(least, 1)]
        first = np.concatenate(([0], np.cumsum(count)))
        unknown = np.full(len(count), -1)
        return RaggedTracks(self.frames, first, frame[order], xy[order], sigma[order], unknown)
