"""What moves on its own, told from what stands still: by point from pairs of frames, by pixel from the points.

Points of a scene that stands still keep to the epipolar geometry of each pair of frames (Hartley, Zisserman, Multiple
view geometry, 2004, chapter 9), or, where the camera only turns, to its homography. What each pair says is added up for
every point and spread among neighbours that move alike; a single pair is never asked alone.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from trackime.arrays import BoolArray, Float64, Int64
from trackime.errors import InputError, ShapeError
from trackime.progress import Report
from trackime.types import RaggedTracks

from .._reconstruction import Reconstruction
from ..sfm import Observations, Views, errors, triangulate
from ._epipolar import Geometry, geometry, within
from ._groups import alike, share
from ._region import region

if TYPE_CHECKING:
    from trackime.video import Video

_Float64 = Float64

_GAPS = (1, 2, 4, 8, 16, 32)
"""Distances of the pairs asked; one every half of its distance."""
_NOISE = 0.35
"""Pixels of error a residual has at least, besides what is expected of the points (at a diagonal of 400)."""
_CAP = 10.0
"""Residuals count up to so many expected errors."""
_ENOUGH = 30.0
"""Frames, summed over a point's pairs, from which more make its own say no greater."""
_LINE, _PLACE = 2.0, 3.0
"""Mean residual in expected errors from which a point moves: off its epipolar line; off its place."""
_PARALLAX = 1.3
"""Median error of the homography, as a share of `within`, from which the epipolar geometry of a pair is known."""
_SIGHTINGS = 3
"""Sightings of a point that cameras can contradict, at least."""
_SLACK = 0.1
"""Pixels of error that known cameras add to a sighting's own."""
_TOLERANCE = 1.3
"""Error up to which a sighting goes into its point's place, as a share of `within`."""
_MOVES = 2.0
"""Mean error, in expected ones, of the place of a point and of its neighbours from which they move."""
_USUAL = 0.35
"""That of most points, where cameras and expected errors are right; where it is more, so is the limit."""
_LONG = 8
"""Distance of the pairs that say whether the camera only turns."""


class Movers:
    """What moves.

    Args:
        trails: the points.
        static: bool [N].
        width, height: of the frames.
        video: the frames; None: masks follow the points alone, not the edges in the picture.

    Attributes:
        static: bool [N], whether each point stands still.
    """

    def __init__(
        self, trails: RaggedTracks, static: BoolArray, width: int, height: int, video: Video | None = None
    ) -> None:
        if static.shape != (len(trails),):
            raise ShapeError("static", f"[{len(trails)}]", static.shape)
        self.static = static
        self._trails, self._size = trails, (height, width)
        self._reader = None if video is None else video.again()

    def mask(self, t: int) -> BoolArray:
        """bool [H, W]: what moves in frame t. Reading is cheap in order of frames.

        Raises:
            InputError: no such frame.
        """
        if not 0 <= t < self._trails.frames:
            raise InputError(f"frame: expected 0 .. {self._trails.frames - 1}, got {t}")
        points, rows = self._trails.at(t)
        moving = ~self.static[points]
        if not moving.any():
            return np.zeros(self._size, bool)
        picture = None if self._reader is None else self._reader[t]
        return region(self._trails.xy[rows], moving, self._size, picture)

    def again(self, found: Reconstruction) -> Movers:
        """Told once more by cameras that are known: see `_again`."""
        return self.with_static(_again(self._trails, found))

    def with_static(self, static: BoolArray) -> Movers:
        """The same points and frames with another verdict."""
        other = Movers(self._trails, static, self._size[1], self._size[0])
        other._reader = self._reader
        return other


def find(
    trails: RaggedTracks,
    width: int,
    height: int,
    *,
    video: Video | None = None,
    progress: Report | None = None,
) -> Movers:
    """Tell points that move on their own from those of the scene.

    A shot's camera only turns, or rests, where most points of most pairs at `_LONG` frames or more fit the
    homography of a turn; residuals are then distances from it, otherwise from epipolar lines (pairs without parallax
    say nothing). A point of which nothing is known counts as standing still.

    Args:
        trails: the points.
        width, height: of the frames.
        video: the frames, for masks along the edges of the picture.
        progress: called as progress("movers", frames done, frames).
    """
    evidence = np.zeros((len(trails), 2))
    limit = np.full(len(trails), _LINE)
    shots = _shots(trails)
    for start, stop in pairwise(shots):
        _shot(trails, start, stop, width, height, evidence, limit)
        if progress is not None:
            progress("movers", stop, trails.frames)
    if not len(trails):
        return Movers(trails, np.ones(0, bool), width, height, video)
    return Movers(trails, ~_verdict(trails, evidence, limit, width, height), width, height, video)


def _shots(trails: RaggedTracks) -> list[int]:
    """First frames of runs of frames that points join, and the number of frames."""
    return [0, *(np.flatnonzero(trails.crossing() == 0) + 1).tolist(), trails.frames]


def _shot(
    trails: RaggedTracks, start: int, stop: int, width: int, height: int, evidence: _Float64, limit: _Float64
) -> None:
    """Add what the pairs of frames start .. stop - 1 say to `evidence` [N, 2]: sums of residual and of weight."""
    close = within(width, height)
    said: list[tuple[int, Int64, _Float64, Geometry]] = []
    for gap in _GAPS:
        for i in range(start, stop - gap, max(1, gap // 2)):
            points, a, b = trails.between(i, i + gap)
            error = np.sqrt(trails.sigma[a] ** 2 + trails.sigma[b] ** 2 + (_NOISE * close / 1.5) ** 2)
            # As narrow as the points allow: a wide one lets an object and half of the scene pass for one geometry.
            narrow = float(np.clip(np.median(error), 0.1, close)) if len(error) else close
            p, q = trails.xy[a].astype(np.float64), trails.xy[b].astype(np.float64)
            found = geometry(p, q, width, height, narrow)
            if found is not None:
                said.append((gap, points, error, found))
    longest = max((gap for gap, *_ in said), default=0)
    long = [found.turns(close) for gap, *_, found in said if gap >= min(_LONG, longest)]
    turns = bool(long) and float(np.mean(long)) > 0.6
    for gap, points, error, found in said:
        if not turns and np.median(found.homography) < _PARALLAX * close:
            continue
        residual = found.homography if turns else found.fundamental
        if not np.isfinite(residual).any():  # no geometry was found: the pair says nothing
            continue
        evidence[points, 0] += gap * np.minimum(residual / error, _CAP)
        evidence[points, 1] += gap
        if turns:
            limit[points] = _PLACE


def _verdict(trails: RaggedTracks, evidence: _Float64, limit: _Float64, width: int, height: int) -> BoolArray:
    """bool [N]: which points move."""
    own = evidence * np.minimum(1, _ENOUGH / np.maximum(evidence[:, 1:], 1e-9))
    a_frame = max(1.0, len(trails.frame) / trails.frames)
    shared = share(own, alike(trails, float(np.sqrt(width * height / a_frame))))
    moving = shared[:, 0] > limit * np.maximum(shared[:, 1], 1e-9)
    # A group knows better than one of its points; an object that is known, better than its groups.
    for instance in np.unique(trails.instance[trails.instance >= 0]):
        mine = (trails.instance == instance) & (shared[:, 1] > 0)
        if mine.any():
            moving[trails.instance == instance] = moving[mine].mean() > 0.5
    return np.asarray(moving)


def _again(trails: RaggedTracks, found: Reconstruction) -> BoolArray:
    """Tell what moves once cameras are known: far surer than from pairs of frames, as every point is held against all
    frames it is seen in at once.

    Each point is triangulated from its sightings by the cameras, which know nothing of it where it was taken for a
    mover and are robust against it where it was not; how far off its sightings it is seen again is shared among
    neighbours that move alike. What moves alongside the camera is still taken for something farther away: nothing in
    the tracks tells them apart.

    Args:
        trails: the points.
        found: cameras of all frames; sightings in frames whose camera is not known do not count, nor do those of a
            point after it has left the part of the video, and so the world, that it was first seen in.

    Returns:
        static bool [N]; True for points with fewer than `_SIGHTINGS` that count.

    Raises:
        ShapeError: cameras of another number of frames.
    """
    cameras = found.cameras
    if len(cameras) != trails.frames:
        raise ShapeError("cameras", f"{trails.frames} of them", (len(cameras),))
    if not len(trails):
        return np.ones(0, bool)
    part = found.part[trails.frame]
    counts = found.known[trails.frame] & (part == part[trails.first[:-1]][trails.point])
    turn = cameras.poses[:, :3, :3].transpose(0, 2, 1)
    shift = -np.einsum("fij,fj->fi", turn, cameras.poses[:, :3, 3])
    xy = trails.xy - np.array([cameras.width / 2, cameras.height / 2])
    off = np.zeros(len(trails.frame))
    for number in np.unique(part[counts]):
        rows = np.flatnonzero(counts & (part == number))
        focal = float(np.median(cameras.focal[found.part == number]))
        seen = Observations(trails.frame[rows], trails.point[rows], xy[rows], np.ones(len(rows)))
        views = Views(turn, shift, np.zeros((0, 3)), focal)
        points = triangulate(views, seen, len(trails), _TOLERANCE * within(cameras.width, cameras.height)).points
        off[rows] = errors(replace(views, points=points), seen)
    error = np.minimum(off / np.hypot(trails.sigma, _SLACK), _CAP)
    length = np.bincount(trails.point[counts], minlength=len(trails)).astype(np.float64)
    length[length < _SIGHTINGS] = 0
    total = np.where(length > 0, np.bincount(trails.point[counts], error[counts], len(trails)), 0)
    own = np.stack([total, length], 1)
    usual = np.median((total / np.maximum(length, 1))[length > 0]) if length.any() else 0.0
    limit = _MOVES * max(1.0, float(usual) / _USUAL)
    return ~_verdict(trails, own, np.full(len(trails), limit), cameras.width, cameras.height)
