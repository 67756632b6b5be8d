"""Two successive frames, and Lucas-Kanade between them from more than one guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from trackime.arrays import BoolArray, Float64, FloatArray, Int64, UInt8
from trackime.patches.match import search
from trackime.patches.templates import central_similarity, length, sample, similarity

STRIDE_SIDE = 256
"""Shorter side of a frame for each pixel between the samples of patches: a patch is about 5 % of it."""
_MOTION_GRID = 24
"""Correspondences on the longer side of the frame that the frame's motion is known by."""
_ROBUST_PX = 2.0
"""Residual in pixels at which a correspondence has lost three quarters of its say in the dominant motion."""
_RETRY_PX = 1.0
"""Forward-backward distance in pixels above which other guesses are tried."""
_RETRY_SIMILARITY = 0.8
"""Similarity of a point's patches in both frames below which other guesses are tried."""
_SMALL_WINDOW = 11
"""Window in pixels of the guesses for points near an object's edge."""
_SEARCH_SHARE = 0.1
"""How far a point is searched for by its last appearance, as a share of the frame's shorter side."""
_NEAR_SHARE = 0.08
"""Distance (standard deviation) over which a hidden point goes with what is around it, a share of the shorter side."""
_ALIKE_PX, _ALIKE_SHARE = 2.0, 0.3
"""Difference (standard deviation) in motion that surroundings may have to a hidden point's own: pixels a frame, and
share of its speed."""
_STUBBORN = 0.3
"""Weight of a hidden point's own motion against that of one correspondence on top of it."""
_FADING = 0.8
"""What is left each frame of a point's own motion relative to the dominant one, where nothing around moves like it."""
_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 0.01)


@dataclass(frozen=True, eq=False)
class GreyFrame:
    """One frame and what is made of it when first needed.

    Attributes:
        grey: uint8 [H, W].
        stride: pixels between the samples of patches, larger for larger frames.
    """

    grey: UInt8
    stride: int

    @property
    def size(self) -> FloatArray:
        """float32 [2], (W, H)."""
        return np.array(self.grey.shape[::-1], np.float32)

    @property
    def hw(self) -> tuple[int, int]:
        """(H, W)."""
        return self.grey.shape[0], self.grey.shape[1]

    @property
    def side(self) -> int:
        """The shorter side in pixels."""
        return min(self.grey.shape)

    @cached_property
    def smooth(self) -> FloatArray:
        """float32 [H, W], low-passed so that patches may be sampled every `stride` pixels."""
        sigma = max(1.1, 0.55 * self.stride)
        blurred = cv2.GaussianBlur(self.grey, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        return blurred.astype(np.float32)

    @cached_property
    def coarse(self) -> FloatArray:
        """float32 [ceil(H / stride), ceil(W / stride)], every `stride`-th pixel of `smooth`."""
        return np.ascontiguousarray(self.smooth[:: self.stride, :: self.stride])


def patch_stride(size: Sequence[int]) -> int:
    """Pixels between the samples of patches in frames of `size` (h, w)."""
    return max(1, round(min(size) / STRIDE_SIDE))


@dataclass
class _Matches:
    """N points followed from one frame to the next.

    Attributes:
        xy: [N, 2] where they went.
        distance: [N] pixels between a point and what following back makes of it.
        patch: [N, G] what is seen there.
        similarity: [N] of `patch` with the patch before.
        cost: [N] what guesses are compared by.
    """

    xy: FloatArray
    distance: FloatArray
    patch: FloatArray
    similarity: FloatArray
    cost: FloatArray

    def take(self, rows: Int64, other: _Matches) -> None:
        """Take over from `other`, given for `rows`, what costs less."""
        better = other.cost < self.cost[rows]
        for name in ("xy", "distance", "patch", "similarity", "cost"):
            getattr(self, name)[rows[better]] = getattr(other, name)[better]


@dataclass(frozen=True, eq=False)
class FramePair:
    """Two successive frames in the order of travel.

    Attributes:
        before: the first.
        after: the second.
        window: side of Lucas-Kanade's window in pixels.
        levels: highest pyramid level (0: none but full size).
    """

    before: GreyFrame
    after: GreyFrame
    window: int
    levels: int

    @classmethod
    def between(
        cls, before: GreyFrame, after: GreyFrame, window: int | None = None, levels: int | None = None
    ) -> FramePair:
        """A pair with a window (unless given) for frames of this size: 15 pixels where the shorter side is below 384,
        19 below 640, ...; and as many levels (unless given) as leave the window inside the frame."""
        window = window or 11 + 4 * after.stride
        fitting = max(0, int(np.log2(max(1.0, after.side / window))))
        return cls(before, after, window, fitting if levels is None else levels)

    @cached_property
    def correspondences(self) -> tuple[FloatArray, FloatArray]:
        """Places [K, 2] of a regular grid in the first frame and in the second, where both ways agree.

        A matter of the frames alone, whatever points are followed.
        """
        step = max(8.0, max(self.after.grey.shape) / _MOTION_GRID)
        width, height = self.after.size
        x, y = np.meshgrid(np.arange(step / 2, width, step), np.arange(step / 2, height, step))
        p = np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)
        q, status = _lucas_kanade(self.before, self.after, p, p, self.window, self.levels)
        back, _ = _lucas_kanade(self.after, self.before, q, p, self.window, self.levels)
        good = status & (length(back - p) < _RETRY_PX)
        return p[good], q[good]

    @cached_property
    def motion(self) -> Float64:
        """The dominant motion, float64 [2, 3]."""
        p, q = self.correspondences
        return _robust_affine(p.astype(np.float64), q.astype(np.float64))

    def carry(self, xy: FloatArray) -> FloatArray:
        """Points [N, 2] moved by the dominant motion."""
        m, (x, y) = self.motion, xy.astype(np.float64).T
        # Written out: a matrix product may round differently for another number of points.
        moved = [m[i, 0] * x + m[i, 1] * y + m[i, 2] for i in (0, 1)]
        return np.stack(moved, 1).astype(np.float32)

    def coast(self, xy: FloatArray, velocity: FloatArray) -> FloatArray:
        """Points [N, 2] that cannot be seen, moved by what moves like them nearby, else on their own.

        Args:
            xy: [N, 2] in the first frame.
            velocity: [N, 2] pixels a frame, as far as known.
        """
        carried = self.carry(xy) - xy
        own = carried + np.float32(_FADING) * (velocity - carried)
        p, q = self.correspondences
        flow = q - p
        near = ((xy[:, None] - p) ** 2).sum(2) / np.float32(2 * (_NEAR_SHARE * self.after.side) ** 2)
        spread = np.float32(_ALIKE_PX) + np.float32(_ALIKE_SHARE) * length(velocity)
        unlike = ((velocity[:, None] - flow) ** 2).sum(2) / (2 * spread * spread)[:, None]
        weight = np.exp(-np.minimum(near + unlike, 80))  # [N, K]
        # Sums along the last axis, a component at a time: their order must not depend on the number of points.
        around = np.stack([(weight * flow[:, i]).sum(1) for i in (0, 1)], 1)
        moved: FloatArray = (around + np.float32(_STUBBORN) * own) / (weight.sum(1) + np.float32(_STUBBORN))[:, None]
        return xy + moved

    def follow(self, xy: FloatArray, velocity: FloatArray, redetect: bool) -> tuple[_Matches, FloatArray]:
        """Follow points to the second frame; those that do not match well are tried again from other guesses.

        The guesses: at rest over all levels; the point's own and the frame's dominant motion over few; a small
        window, for points near an edge; and (with `redetect`) where the last appearance correlates best.

        Args:
            xy: [N, 2] in the first frame.
            velocity: [N, 2] pixels a frame.
            redetect: whether to search.

        Returns:
            the matches, and the patches [N, G] in the first frame.
        """
        patch = sample(self.before.smooth, xy, None, self.before.stride)
        found = self._match(xy, patch, xy, self.window, self.levels)
        few = min(self.levels, 2)
        rows = self._doubtful(found)
        if len(rows):
            guesses = [
                (xy[rows] + velocity[rows], self.window, few),
                (self.carry(xy[rows]), self.window, few),
                (found.xy[rows], _SMALL_WINDOW, 1),
                (xy[rows], _SMALL_WINDOW, self.levels),
            ]
            for guess, window, levels in guesses:
                found.take(rows, self._match(xy[rows], patch[rows], guess, window, min(levels, self.levels)))
            rows = self._doubtful(found)
        if redetect and len(rows):
            reach = np.full(len(rows), _SEARCH_SHARE * self.after.side, np.float32)
            middle = xy[rows] + velocity[rows] / 2
            guess = search(self.after.coarse, self.after.stride, patch[rows], middle, reach)
            found.take(rows, self._match(xy[rows], patch[rows], guess, _SMALL_WINDOW, min(1, self.levels)))
        return found, patch

    @staticmethod
    def _doubtful(found: _Matches) -> Int64:
        return np.flatnonzero((found.distance > _RETRY_PX) | (found.similarity < _RETRY_SIMILARITY))

    def _match(self, xy: FloatArray, patch: FloatArray, guess: FloatArray, window: int, levels: int) -> _Matches:
        to, _ = _lucas_kanade(self.before, self.after, xy, guess, window, levels)
        back, _ = _lucas_kanade(self.after, self.before, to, to + (xy - guess), window, levels)
        distance = length(back - xy)
        seen = sample(self.after.smooth, to, None, self.after.stride)
        alike = similarity(patch, seen)
        cost = 1 - (alike + central_similarity(patch, seen)) / 2 + np.float32(0.1) * np.minimum(distance, 5)
        return _Matches(to, distance, seen, alike, cost)


def _lucas_kanade(
    a: GreyFrame, b: GreyFrame, xy: FloatArray, guess: FloatArray, window: int, levels: int
) -> tuple[FloatArray, BoolArray]:
    """Where points xy [N, 2] of `a` are in `b`, and which could be followed; the others are at their guess."""
    if not len(xy):
        return guess, np.zeros(0, bool)
    to, status, _ = cv2.calcOpticalFlowPyrLK(
        a.grey,
        b.grey,
        xy[:, None] - np.float32(0.5),  # OpenCV's pixel centres are at integers
        guess[:, None] - np.float32(0.5),
        winSize=(window, window),
        maxLevel=levels,
        criteria=_CRITERIA,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        minEigThreshold=1e-5,
    )
    to = to[:, 0] + np.float32(0.5)
    good = (status[:, 0] > 0) & np.isfinite(to).all(1)
    return np.where(good[:, None], to, guess), good


def _robust_affine(p: Float64, q: Float64) -> Float64:
    """The affine map [2, 3] most of the points p [K, 2] follow to q: ``q = M[:, :2] @ p + M[:, 2]``.

    Iteratively reweighted least squares with Geman-McClure weights of falling scale, from the median displacement.
    The identity for fewer than six points.
    """
    if len(p) < 6:
        return np.eye(2, 3)
    centre, scale = p.mean(0), max(1.0, float(p.std()))
    basis = np.concatenate([(p - centre) / scale, np.ones((len(p), 1))], 1)
    residual = q - p - np.median(q - p, axis=0)
    motion = np.zeros((3, 2))
    for factor in (8.0, 4.0, 2.0, 1.0, 1.0):
        weight = 1 / (1 + (residual**2).sum(1) / (factor * _ROBUST_PX) ** 2) ** 2
        # A pinch of "no deformation" keeps the fit tame where the good points lie on a line.
        normal = basis.T @ (weight[:, None] * basis) + np.diag([1e-2, 1e-2, 1e-9]) * weight.sum()
        motion = np.linalg.solve(normal, basis.T @ (weight[:, None] * (q - p)))
        residual = q - p - basis @ motion
    linear = motion[:2].T / scale
    return np.concatenate([np.eye(2) + linear, (motion[2] - linear @ centre)[:, None]], 1)
