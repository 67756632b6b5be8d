"""Independently moving points, from pairs of frames or from known cameras, and masks of them.

Static points fit the epipolar geometry of each pair of frames (Hartley, Zisserman, Multiple
view geometry, 2004, chapter 9), or, where the camera only rotates, its homography. The evidence of all pairs is
summed for every point and shared among neighbours with the same motion; no single pair decides.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from trackime.arrays import BoolArray, Float64, Int64
from trackime.errors import InputError, ShapeError
from trackime.progress import Report, silent
from trackime.types import RaggedTracks

from .._reconstruction import Reconstruction
from ..sfm import Observations, Views, errors, triangulate
from ._epipolar import PairGeometry, geometry, within
from ._groups import alike, share
from ._region import region

if TYPE_CHECKING:
    from trackime.video import Video
_GAPS = (1, 2, 4, 8, 16, 32)
"""Distances of the pairs, in frames; one pair every half of its distance."""
_NOISE = 0.35
"""Least error of a residual in pixels, beside the points' expected errors (at a diagonal of 400)."""
_CAP = 10.0
"""Residuals are clipped to this many expected errors."""
_ENOUGH = 30.0
"""Frames, summed over a point's pairs, beyond which the weight of its own evidence stays the same."""
_LINE, _PLACE = 2.0, 3.0
"""Mean residual in expected errors from which a point moves: from its epipolar line; from its position."""
_PARALLAX = 1.3
"""Median error of the homography, as a share of `within`, from which the epipolar geometry of a pair is known."""
_SIGHTINGS = 3
"""Fewest observations of a point that cameras can contradict."""
_SLACK = 0.1
"""Pixels of error that known cameras add to an observation's own."""
_TOLERANCE = 1.3
"""Error up to which an observation is an inlier of its point, as a share of `within`."""
_MOVES = 2.0
"""Mean error, in expected ones, of the place of a point and of its neighbours from which they move."""
_USUAL = 0.35
"""The same of most points, where cameras and expected errors are right; a larger one raises the limit."""
_LONG = 8
"""Distance of the pairs that decide whether the camera only rotates."""


class Movers:
    """The moving points of a shot.

    Args:
        tracks: the points.
        static: bool [N].
        width, height: of the frames.
        video: the frames; None: masks follow the points alone, not the edges in the picture.

    Attributes:
        static: bool [N], whether each point is static.
    """

    def __init__(
        self, tracks: RaggedTracks, static: BoolArray, width: int, height: int, video: Video | None = None
    ) -> None:
        if static.shape != (len(tracks),):
            raise ShapeError("static", f"[{len(tracks)}]", static.shape)
        self.static = static
        self._tracks, self._size = tracks, (height, width)
        self._reader = None if video is None else video.again()

    def mask(self, t: int) -> BoolArray:
        """bool [H, W]: moving objects in frame t. Reading is cheap in order of frames.

        Raises:
            InputError: no such frame.
        """
        if not 0 <= t < self._tracks.frames:
            raise InputError(f"frame: expected 0 .. {self._tracks.frames - 1}, got {t}")
        points, rows = self._tracks.at(t)
        moving = ~self.static[points]
        if not moving.any():
            return np.zeros(self._size, bool)
        picture = None if self._reader is None else self._reader[t]
        return region(self._tracks.xy[rows], moving, self._size, picture)

    def with_cameras(self, found: Reconstruction) -> Movers:
        """Re-estimated from known cameras: see `_static_by_cameras`."""
        return self.with_static(_static_by_cameras(self._tracks, found))

    def with_static(self, static: BoolArray) -> Movers:
        """The same points and frames with other static points."""
        other = Movers(self._tracks, static, self._size[1], self._size[0])
        other._reader = self._reader
        return other


def find(
    tracks: RaggedTracks,
    width: int,
    height: int,
    *,
    video: Video | None = None,
    progress: Report = silent,
) -> Movers:
    """Find independently moving points.

    A shot's camera only rotates, or rests, where most points of most pairs at `_LONG` frames or more fit the
    homography of a turn; residuals are then distances from it, otherwise from epipolar lines (pairs without parallax
    are ignored). A point without evidence counts as static.

    Args:
        tracks: the points.
        width, height: of the frames.
        video: the frames, for masks along the edges of the picture.
        progress: called as progress("movers", frames done, frames).
    """
    evidence = np.zeros((len(tracks), 2))
    limit = np.full(len(tracks), _LINE)
    shots = _shots(tracks)
    for start, stop in pairwise(shots):
        _shot(tracks, start, stop, width, height, evidence, limit)
        progress("movers", stop, tracks.frames)
    if not len(tracks):
        return Movers(tracks, np.ones(0, bool), width, height, video)
    return Movers(tracks, ~_verdict(tracks, evidence, limit, width, height), width, height, video)


def _shots(tracks: RaggedTracks) -> list[int]:
    """First frames of runs of frames that points join, and the number of frames."""
    return [0, *(np.flatnonzero(tracks.crossing() == 0) + 1).tolist(), tracks.frames]


def _shot(
    tracks: RaggedTracks, start: int, stop: int, width: int, height: int, evidence: Float64, limit: Float64
) -> None:
    """Add the evidence of the pairs of frames start .. stop - 1 to `evidence` [N, 2]: sums of residual and of
    weight."""
    close = within(width, height)
    pairs: list[tuple[int, Int64, Float64, PairGeometry]] = []
    for gap in _GAPS:
        for i in range(start, stop - gap, max(1, gap // 2)):
            points, a, b = tracks.between(i, i + gap)
            error = np.sqrt(tracks.sigma[a] ** 2 + tracks.sigma[b] ** 2 + (_NOISE * close / 1.5) ** 2)
            # As narrow as the points allow: within a wide one, an object and half of the scene fit a single geometry.
            narrow = float(np.clip(np.median(error), 0.1, close)) if len(error) else close
            p, q = tracks.xy[a].astype(np.float64), tracks.xy[b].astype(np.float64)
            found = geometry(p, q, width, height, narrow)
            if found is not None:
                pairs.append((gap, points, error, found))
    longest = max((gap for gap, *_ in pairs), default=0)
    long = [found.turns(close) for gap, *_, found in pairs if gap >= min(_LONG, longest)]
    turns = bool(long) and float(np.mean(long)) > 0.6
    for gap, points, error, found in pairs:
        if not turns and np.median(found.homography) < _PARALLAX * close:
            continue
        residual = found.homography if turns else found.fundamental
        if not np.isfinite(residual).any():  # no geometry was found
            continue
        evidence[points, 0] += gap * np.minimum(residual / error, _CAP)
        evidence[points, 1] += gap
        if turns:
            limit[points] = _PLACE


def _verdict(tracks: RaggedTracks, evidence: Float64, limit: Float64, width: int, height: int) -> BoolArray:
    """bool [N]: which points move."""
    own = evidence * np.minimum(1, _ENOUGH / np.maximum(evidence[:, 1:], 1e-9))
    a_frame = max(1.0, len(tracks.frame) / tracks.frames)
    shared = share(own, alike(tracks, float(np.sqrt(width * height / a_frame))))
    moving = shared[:, 0] > limit * np.maximum(shared[:, 1], 1e-9)
    # Group evidence overrides a single point's; the majority of a known object overrides its groups'.
    for instance in np.unique(tracks.instance[tracks.instance >= 0]):
        mine = (tracks.instance == instance) & (shared[:, 1] > 0)
        if mine.any():
            moving[tracks.instance == instance] = moving[mine].mean() > 0.5
    return np.asarray(moving)


def _static_by_cameras(tracks: RaggedTracks, found: Reconstruction) -> BoolArray:
    """Static points by known cameras: more reliable than pairs of frames, as all observations of a point count at once.

    Each point is triangulated from its observations; its reprojection errors are shared among neighbours with the same
    motion. A point that moves parallel to the camera remains ambiguous: it is the same as a static one farther away.

    Args:
        tracks: the points.
        found: cameras of all frames; observations in frames whose camera is not known do not count, nor do those of a
            point after it has left the part of the video, and so the world, that it was first seen in.

    Returns:
        static bool [N]; True for points with fewer than `_SIGHTINGS` that count.

    Raises:
        ShapeError: cameras of another number of frames.
    """
    cameras = found.cameras
    if len(cameras) != tracks.frames:
        raise ShapeError("cameras", f"{tracks.frames} of them", (len(cameras),))
    if not len(tracks):
        return np.ones(0, bool)
    part = found.part[tracks.frame]
    counts = found.known[tracks.frame] & (part == part[tracks.first[:-1]][tracks.point])
    xy = tracks.xy - np.array([cameras.width / 2, cameras.height / 2])
    off = np.zeros(len(tracks.frame))
    for number in np.unique(part[counts]):
        rows = np.flatnonzero(counts & (part == number))
        focal = float(np.median(cameras.focal[found.part == number]))
        seen = Observations(tracks.frame[rows], tracks.point[rows], xy[rows], np.ones(len(rows)))
        views = Views.of(cameras.poses, focal, np.zeros((0, 3)))
        points = triangulate(views, seen, len(tracks), _TOLERANCE * within(cameras.width, cameras.height)).points
        off[rows] = errors(replace(views, points=points), seen)
    error = np.minimum(off / np.hypot(tracks.sigma, _SLACK), _CAP)
    length = np.bincount(tracks.point[counts], minlength=len(tracks)).astype(np.float64)
    length[length < _SIGHTINGS] = 0
    total = np.where(length > 0, np.bincount(tracks.point[counts], error[counts], len(tracks)), 0)
    own = np.stack([total, length], 1)
    usual = np.median((total / np.maximum(length, 1))[length > 0]) if length.any() else 0.0
    limit = _MOVES * max(1.0, float(usual) / _USUAL)
    return ~_verdict(tracks, own, np.full(len(tracks), limit), cameras.width, cameras.height)
