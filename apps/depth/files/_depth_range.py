"""The range of depths of a video, found in one pass, so that scales and colours are the same in all frames."""

from __future__ import annotations

import numpy as np

from trackime.arrays import FloatArray

from ..initial_depth import is_known

_LOW, _HIGH, _BINS = -9.0, 9.0, 8192  # powers of ten; a bin is half a percent wide


class DepthRange:
    """A histogram of the logarithm of depth: memory does not grow with the video.

    Attributes:
        nearest, farthest: the extremes of what is known; 0 where nothing is.
        count: known pixels.
    """

    def __init__(self) -> None:
        self.nearest = self.farthest = 0.0
        self._bins = np.zeros(_BINS, np.int64)

    @property
    def count(self) -> int:
        return int(self._bins.sum())

    def add(self, depth: FloatArray) -> None:
        """Add a map [H, W]; 0, NaN and infinity are unknown."""
        known = np.asarray(depth[is_known(depth)], np.float64)
        if not known.size:
            return
        low, high = float(known.min()), float(known.max())
        self.nearest = low if not self.count else min(self.nearest, low)
        self.farthest = max(self.farthest, high)
        place = (np.log10(known) - _LOW) / (_HIGH - _LOW) * _BINS
        self._bins += np.bincount(np.clip(place, 0, _BINS - 1).astype(np.int64), minlength=_BINS)

    def percentile(self, share: float) -> float:
        """The depth below which `share` of 100 of the known pixels lie, to half a percent; 0 where nothing is known."""
        if not self.count:
            return 0.0
        passed = np.cumsum(self._bins)
        k = int(np.searchsorted(passed, share / 100 * passed[-1]))
        middle = 10 ** (_LOW + (min(k, _BINS - 1) + 0.5) / _BINS * (_HIGH - _LOW))
        return float(np.clip(middle, self.nearest, self.farthest))

    @property
    def reach(self) -> float:
        """The depth up to which depths are distinguished: the farthest, unless that is an outlier."""
        return min(self.farthest, 4 * self.percentile(99))
