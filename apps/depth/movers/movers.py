"""What moves on its own, told from what stands still: by point from pairs of frames, by pixel from the points.

Points of a scene that stands still keep to the epipolar geometry of each pair of frames (Hartley, Zisserman, Multiple
view geometry, 2004, chapter 9), or, where the camera only turns, to its homography. What each pair says is added up for
every point and spread among neighbours that move alike; a single pair is never asked alone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trackime.errors import InputError, ShapeError
from trackime.types import BoolArray, FloatArray

from ..cameras import Cameras
from ..trails import Int64, Trails
from .epipolar import Geometry, geometry, within
from .groups import alike, share
from .region import region

if TYPE_CHECKING:
    from trackime.video import Video

Float64 = npt.NDArray[np.float64]

GAPS = (1, 2, 4, 8, 16, 32)
"""Distances of the pairs asked; one every half of its distance."""
NOISE = 0.35
"""Pixels of error a residual has at least, besides what is expected of the points (at a diagonal of 400)."""
CAP = 10.0
"""Residuals count up to so many expected errors."""
ENOUGH = 30.0
"""Frames, summed over a point's pairs, from which more make its own say no greater."""
LINE, PLACE = 2.0, 3.0
"""Mean residual in expected errors from which a point moves: off its epipolar line; off its place."""
PARALLAX = 1.3
"""Median error of the homography, as a share of `within`, from which the epipolar geometry of a pair is known."""
LONG = 8
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

    def __init__(self, trails: Trails, static: BoolArray, width: int, height: int, video: Video | None = None) -> None:
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

    def again(self, cameras: Cameras, depth: FloatArray) -> Movers:
        """Told once more by known cameras and depth: see `again`."""
        return self.with_static(again(self._trails, cameras, depth))

    def with_static(self, static: BoolArray) -> Movers:
        """The same points and frames with another verdict."""
        other = Movers(self._trails, static, self._size[1], self._size[0])
        other._reader = self._reader
        return other


def find(
    trails: Trails,
    width: int,
    height: int,
    *,
    video: Video | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Movers:
    """Tell points that move on their own from those of the scene.

    A shot's camera only turns, or rests, where most points of most pairs at a distance of `LONG` frames or more fit the
    homography of a turn; residuals are then distances from it, otherwise from epipolar lines (pairs without parallax
    say nothing). A point of which nothing is known counts as standing still.

    Args:
        trails: the points.
        width, height: of the frames.
        video: the frames, for masks along the edges of the picture.
        progress: called as progress("movers", frames done, frames).
    """
    evidence = np.zeros((len(trails), 2))
    limit = np.full(len(trails), LINE)
    shots = _shots(trails)
    for start, stop in pairwise(shots):
        _shot(trails, start, stop, width, height, evidence, limit)
        if progress is not None:
            progress("movers", stop, trails.frames)
    if not len(trails):
        return Movers(trails, np.ones(0, bool), width, height, video)
    return Movers(trails, ~_verdict(trails, evidence, limit, width, height), width, height, video)


def _shots(trails: Trails) -> list[int]:
    """First frames of runs of frames that points join, and the number of frames."""
    change = np.zeros(trails.frames + 1, np.int64)
    if len(trails):
        np.add.at(change, trails.frame[trails.first[:-1]] + 1, 1)
        np.add.at(change, trails.frame[trails.first[1:] - 1] + 1, -1)
    joined = np.cumsum(change)[:-1]  # points seen both before frame t and in t or later
    return [0, *(int(t) for t in np.flatnonzero(joined == 0) if t), trails.frames]


def _shot(trails: Trails, start: int, stop: int, width: int, height: int, evidence: Float64, limit: Float64) -> None:
    """Add what the pairs of frames start .. stop - 1 say to `evidence` [N, 2]: sums of residual and of weight."""
    close = within(width, height)
    said: list[tuple[int, Int64, Float64, Geometry]] = []
    for gap in GAPS:
        for i in range(start, stop - gap, max(1, gap // 2)):
            points, a, b = trails.between(i, i + gap)
            error = np.sqrt(trails.sigma[a] ** 2 + trails.sigma[b] ** 2 + (NOISE * close / 1.5) ** 2)
            # As narrow as the points allow: a wide one lets an object and half of the scene pass for one geometry.
            narrow = float(np.clip(np.median(error), 0.1, close)) if len(error) else close
            p, q = trails.xy[a].astype(np.float64), trails.xy[b].astype(np.float64)
            found = geometry(p, q, width, height, narrow)
            if found is not None:
                said.append((gap, points, error, found))
    longest = max((gap for gap, *_ in said), default=0)
    long = [found.turns(close) for gap, *_, found in said if gap >= min(LONG, longest)]
    turns = bool(long) and float(np.mean(long)) > 0.6
    for gap, points, error, found in said:
        if not turns and np.median(found.homography) < PARALLAX * close:
            continue
        residual = found.homography if turns else found.fundamental
        if not np.isfinite(residual).any():  # no geometry was found: the pair says nothing
            continue
        evidence[points, 0] += gap * np.minimum(residual / error, CAP)
        evidence[points, 1] += gap
        if turns:
            limit[points] = PLACE


def _verdict(trails: Trails, evidence: Float64, limit: Float64, width: int, height: int) -> BoolArray:
    """bool [N]: which points move."""
    own = evidence * np.minimum(1, ENOUGH / np.maximum(evidence[:, 1:], 1e-9))
    a_frame = max(1.0, len(trails.frame) / trails.frames)
    shared = share(own, alike(trails, float(np.sqrt(width * height / a_frame))))
    moving = shared[:, 0] > limit * np.maximum(shared[:, 1], 1e-9)
    # A group knows better than one of its points; an object that is known, better than its groups.
    for instance in np.unique(trails.instance[trails.instance >= 0]):
        mine = (trails.instance == instance) & (shared[:, 1] > 0)
        if mine.any():
            moving[trails.instance == instance] = moving[mine].mean() > 0.5
    return np.asarray(moving)


def again(trails: Trails, cameras: Cameras, depth: FloatArray, *, limit: float = 3.0) -> BoolArray:
    """Tell what moves once cameras and depth are known.

    Each sighting is lifted by its own depth; the point's place is the median of these, and the point moves where the
    median error of that place, seen in its frames again, is larger than `limit` expected errors. Unlike epipolar
    lines this sees motion along them, too.

    Args:
        trails: the points.
        cameras: of all frames.
        depth: [K], of each sighting, in the cameras' units; 0 where unknown.
        limit: expected errors: those of the sighting, and 1 pixel (at a diagonal of 400) of cameras and depth.

    Returns:
        static bool [N]; True for points with depth in fewer than two frames.

    Raises:
        ShapeError: depth not [K], or cameras of another number of frames.
    """
    depth = np.asarray(depth, np.float64)
    if depth.shape != trails.frame.shape:
        raise ShapeError("depth", f"[{len(trails.frame)}]", depth.shape)
    if len(cameras) != trails.frames:
        raise ShapeError("cameras", f"{trails.frames} of them", (len(cameras),))
    known = np.isfinite(depth) & (depth > 0)
    centre = np.array([cameras.width / 2, cameras.height / 2])
    pose, focal = cameras.poses[trails.frame], cameras.focal[trails.frame]
    ray = np.concatenate(((trails.xy - centre) / focal[:, None], np.ones((len(depth), 1))), 1)
    world = np.einsum("kij,kj->ki", pose[:, :3, :3], ray * np.where(known, depth, 1)[:, None]) + pose[:, :3, 3]
    point = trails.point
    place = np.stack([_median(world[known, c], point[known], len(trails)) for c in range(3)], 1)[point]
    local = np.einsum("kji,kj->ki", pose[:, :3, :3], place - pose[:, :3, 3])
    ahead = known & (local[:, 2] > 1e-9)
    seen = local[:, :2] / np.where(ahead, local[:, 2], 1)[:, None] * focal[:, None] + centre
    noise = within(cameras.width, cameras.height) / 1.5
    error = np.linalg.norm(seen - trails.xy, axis=1) / np.hypot(trails.sigma, noise)
    error = np.where(ahead, error, np.inf)
    off = _median(error[known], point[known], len(trails))
    enough = np.bincount(point[known], minlength=len(trails)) >= 2
    return np.asarray(~(enough & (off > limit)))


def _median(values: Float64, group: Int64, groups: int) -> Float64:
    """Lower median [groups] of the values [K] of each group int64 [K]; 0 where it has none."""
    order = np.lexsort((values, group))
    count = np.bincount(group, minlength=groups)
    first = np.cumsum(count) - count
    middle = np.minimum(first + np.maximum(count - 1, 0) // 2, max(len(values) - 1, 0))
    if not len(values):
        return np.zeros(groups)
    return np.where(count > 0, values[order][middle], 0.0)
