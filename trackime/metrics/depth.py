"""Quality of depth: shares within a ratio, relative and root-mean-square errors, after a named alignment.

The figures are those of Eigen, Puhrsch, Fergus, Depth map prediction from a single image using a multi-scale deep
network, NeurIPS 2014, section 4.2: delta_k, the share of pixels with max(d / z, z / d) < 1.25^k; AbsRel, the mean of
|d - z| / z; RMSE, the root of the mean of (d - z)^2. They are taken over all pixels of all frames together, each pixel
counting the same. Maps are read a frame at a time, twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from trackime.arrays import BoolArray, Float64, FloatArray
from trackime.errors import InputError, ShapeError, UnknownNameError

Maps = Callable[[int], FloatArray | BoolArray]
"""A depth map [H, W], or a mask, of a frame's index."""

ALIGNMENTS = ("none", "scale", "median", "scale-shift", "frame-scale", "frame-median", "frame-scale-shift")
"""Alignments of an estimate d of depth z with the truth before the comparison.

none: unchanged: the estimate is metric.
scale: one factor per video, s = sum d z / sum d^2, of least squares in depth over all pixels compared.
median: one factor per video, the median of z / d over all pixels compared, to a ten-thousandth (of an even number, the
    geometric mean of the two in the middle).
scale-shift: 1 / (s / d + b), one pair per video, of least squares in disparity, sum (s / d + b - 1 / z)^2 (Ranftl et
    al., Towards robust monocular depth estimation, TPAMI 2022, equation 4, over the video instead of one image); depth
    beyond the farthest true depth is set to it.
frame-scale, frame-median, frame-scale-shift: the same for every frame on its own. It hides scales that jump.
"""

_STEP = 1e-4
"""Width, in logarithms, of the bins that a median is read from."""
_REACH = 400_000
"""Bins to either side of a ratio of 1: up to exp(40)."""


@dataclass(frozen=True)
class DepthScores:
    """Figures of one video.

    Attributes:
        alignment: one of `ALIGNMENTS`.
        delta1, delta2, delta3: shares of pixels within 1.25, 1.25^2 and 1.25^3 times the truth.
        abs_rel: mean of |d - z| / z.
        rmse: in the unit of the truth.
        coverage: share of the pixels whose truth counts that were compared; the others had no estimate.
        pixels: that were compared.
        scale, shift: of the alignment; NaN where each frame has its own.
    """

    alignment: str
    delta1: float
    delta2: float
    delta3: float
    abs_rel: float
    rmse: float
    coverage: float
    pixels: int
    scale: float
    shift: float


def depth_scores(
    estimate: Maps, truth: Maps, frames: Iterable[int], *, alignment: str = "scale", measured: Maps | None = None,
    nearest: float = 0.0, farthest: float = math.inf,
) -> DepthScores:  # fmt: skip
    """Compare depth maps with the truth.

    Args:
        estimate: [H, W] of a frame; 0, NaN, infinite: unknown, not compared, less coverage.
        truth: [H, W] of a frame; 0, NaN, infinite: unknown, not counted.
        frames: which.
        alignment: one of `ALIGNMENTS`, over the pixels that are compared.
        measured: bool [H, W] of a frame: compare these alone. None: all.
        nearest, farthest: pixels count where the truth is above the one and not above the other.

    Raises:
        UnknownNameError: no such alignment.
        InputError: no frames, nothing to compare, an alignment that the estimate does not determine.
        ShapeError: maps that do not agree.
    """
    if alignment not in ALIGNMENTS:
        raise UnknownNameError("alignment", alignment, ALIGNMENTS)
    if not 0 <= nearest < farthest:
        raise InputError(f"nearest, farthest: expected 0 <= nearest < farthest, got {nearest:g}, {farthest:g}")
    chosen = [int(t) for t in frames]
    if not chosen:
        raise InputError("frames: expected one or more to compare, got none")
    pairs = _Pairs(estimate, truth, measured, nearest, farthest)
    kind, each = alignment.removeprefix("frame-"), alignment.startswith("frame-")
    whole = _Fit(kind)
    counted = 0
    for t in chosen:
        d, z, valid = pairs.at(t)
        counted += valid
        if not each:
            whole.add(d, z)
        whole.count += len(d)
        whole.far = max(whole.far, float(z.max(initial=0)))
    if not whole.count:
        raise InputError(f"depth: expected pixels of known depth and truth in {len(chosen)} frames, got none")
    sums = np.zeros(5)
    for t in chosen:
        d, z, _ = pairs.at(t)
        fit = whole
        if each and len(d):
            fit = _Fit(kind, f"frame {t}")
            fit.add(d, z)
            fit.far = float(z.max())
        sums += _errors(fit.aligned(d), z)
    mean = sums / whole.count
    scale, shift = (math.nan, math.nan) if each else whole.solution()
    return DepthScores(
        alignment, float(mean[0]), float(mean[1]), float(mean[2]), float(mean[3]), math.sqrt(mean[4]),
        whole.count / counted, whole.count, scale, shift,
    )  # fmt: skip


def _errors(d: Float64, z: Float64) -> Float64:
    """Sums of the three deltas, the relative and the squared error."""
    with np.errstate(divide="ignore"):
        ratio = np.maximum(d / z, z / d)
    off = np.abs(d - z)
    return np.array([*((ratio < 1.25**k).sum() for k in (1, 2, 3)), (off / z).sum(), (off**2).sum()], np.float64)


@dataclass(frozen=True)
class _Pairs:
    estimate: Maps
    truth: Maps
    measured: Maps | None
    nearest: float
    farthest: float

    def at(self, t: int) -> tuple[Float64, Float64, int]:
        """Estimate and truth [N] of the pixels compared in a frame, and how many have a truth that counts."""
        d, z = np.asarray(self.estimate(t), np.float64), np.asarray(self.truth(t), np.float64)
        if z.ndim != 2:
            raise ShapeError(f"truth of frame {t}", "[H, W]", z.shape)
        if d.shape != z.shape:
            raise ShapeError(f"depth of frame {t}", f"{list(z.shape)} as the truth", d.shape)
        valid = np.isfinite(z) & (z > self.nearest) & (z <= self.farthest)
        known = valid & np.isfinite(d) & (d > 0)
        if self.measured is not None:
            seen = np.asarray(self.measured(t), bool)
            if seen.shape != z.shape:
                raise ShapeError(f"measured of frame {t}", f"{list(z.shape)} as the truth", seen.shape)
            known &= seen
        return d[known], z[known], int(valid.sum())


class _Fit:
    """Sums that an alignment follows from."""

    def __init__(self, kind: str, where: str = "the video") -> None:
        self.kind, self.where = kind, where
        self.count, self.far = 0, 0.0
        self._sums = np.zeros(5)
        self._bins = np.zeros(2 * _REACH + 1 if kind == "median" else 0, np.int64)
        self._solved: tuple[float, float] | None = None

    def add(self, d: Float64, z: Float64) -> None:
        """Pixels [N] of one frame."""
        if self.kind == "median":
            place = np.rint((np.log(z) - np.log(d)) / _STEP).astype(np.int64)
            np.add.at(self._bins, np.clip(place + _REACH, 0, 2 * _REACH), 1)
        elif self.kind == "scale":
            self._sums[:2] += (d * z).sum(), (d * d).sum()
        elif self.kind == "scale-shift":
            x, y = 1 / d, 1 / z
            self._sums += len(d), x.sum(), (x * x).sum(), y.sum(), (x * y).sum()

    def solution(self) -> tuple[float, float]:
        """(scale, shift). InputError where the pixels do not determine them."""
        if self._solved is None:
            self._solved = self._solve()
        return self._solved

    def _solve(self) -> tuple[float, float]:
        if self.kind == "scale":
            return float(self._sums[0] / self._sums[1]), 0.0
        if self.kind == "median":
            passed, count = np.cumsum(self._bins), int(self._bins.sum())
            low, high = (int(np.searchsorted(passed, rank + 1)) for rank in ((count - 1) // 2, count // 2))
            return math.exp(_STEP * (0.5 * (low + high) - _REACH)), 0.0
        if self.kind == "scale-shift":
            n, x, xx, y, xy = self._sums.tolist()
            spread = xx - x * x / n
            if not spread > 1e-12 * xx:
                raise InputError(
                    f"alignment of {self.where}: expected depth that varies for a scale and a shift, got one"
                )
            scale = (xy - x * y / n) / spread
            return scale, (y - scale * x) / n
        return 1.0, 0.0

    def aligned(self, d: Float64) -> Float64:
        """Depth [N] after the alignment."""
        if not len(d):
            return d
        scale, shift = self.solution()
        if self.kind == "scale-shift":
            return np.asarray(1 / np.maximum(scale / d + shift, 1 / self.far))
        return scale * d
