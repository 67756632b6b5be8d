"""World points of tracks: lifted by depth maps, then refined to the least reprojection error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from trackime.arrays import BoolArray, Float64, FloatArray, Int64, UInt8, pixels_at
from trackime.errors import ShapeError
from trackime.geometry import NEAR, Cameras
from trackime.types import RaggedTracks

from ._refine import refine_points
from ._reprojection import Observations, Views, errors, project

POINTS = 100_000
_SPREAD = 0.05  # expected relative error of depth, a prior for points with little parallax
_STEPS = 5
_BEND = 2.0  # pixels
_AT_ONCE = 100_000  # observations that are refined at once
_WORST = 4.0  # pixels beyond which an observation is not one of its point


@dataclass(frozen=True, eq=False)
class WorldPoints:
    """Points of the world and the observations they explain.

    Attributes:
        points: float64 [P, 3], world.
        tracks: P points and their observations, in the same order.
        error: float64 [P], mean reprojection error in pixels.
    """

    points: Float64
    tracks: RaggedTracks
    error: Float64

    def __post_init__(self) -> None:
        n = len(self.tracks)
        for name, shape in (("points", (n, 3)), ("error", (n,))):
            if getattr(self, name).shape != shape:
                raise ShapeError(name, str(list(shape)), getattr(self, name).shape)

    def __len__(self) -> int:
        return len(self.points)

    def most_seen(self, count: int) -> WorldPoints:
        """The `count` points seen in most frames, in their old order."""
        if count >= len(self):
            return self
        chosen = np.sort(np.argsort(-self.tracks.length, kind="stable")[:count])
        return WorldPoints(self.points[chosen], self.tracks.take(chosen), self.error[chosen])


def points_of(
    tracks: RaggedTracks, static: BoolArray, cameras: Cameras, depth: Callable[[int], FloatArray]
) -> WorldPoints:
    """Where the static points of `tracks` are: the median of where depth lifts their observations to, then a few steps
    of Gauss-Newton on their reprojection, held near that start as far as depth can be trusted.

    Args:
        tracks: N points.
        static: bool [N]; the others are left out.
        cameras: of all frames.
        depth: the map [H, W] of a frame, 0 where unknown; read once each, in order.

    Raises:
        ShapeError: static not [N], maps of another size than the cameras'.
    """
    if np.shape(static) != (len(tracks),):
        raise ShapeError("static", f"[{len(tracks)}]", np.shape(static))
    chosen = np.flatnonzero(np.asarray(static, bool) & (tracks.length >= 2))
    if len(chosen) > POINTS:
        chosen = np.sort(chosen[np.argsort(-tracks.length[chosen], kind="stable")[:POINTS]])
    tracks = tracks.take(chosen)
    lifted = _lift(tracks, cameras, depth)
    start, tracks = _medians(lifted, tracks)
    points, error = _refine(start, tracks, cameras)
    tracks, kept = _without(tracks, error <= _WORST)
    points, error = _refine(points[kept], tracks, cameras)
    tracks, kept = _without(tracks, error <= _WORST)
    points = points[kept]
    error = _errors(points, tracks, cameras)
    mean = np.add.reduceat(error, tracks.first[:-1]) / tracks.length if len(tracks) else np.zeros(0)
    return WorldPoints(points, tracks, mean)


def _lift(tracks: RaggedTracks, cameras: Cameras, depth: Callable[[int], FloatArray]) -> Float64:
    """World points [K, 3] of observations by the depth of the pixel they are in; NaN where that is unknown."""
    lifted = np.full((len(tracks.frame), 3), np.nan)
    size = (cameras.height, cameras.width)
    order = np.argsort(tracks.frame, kind="stable")
    bounds = np.searchsorted(tracks.frame[order], np.arange(tracks.frames + 1))
    for t in range(tracks.frames):
        rows = order[bounds[t] : bounds[t + 1]]
        if not len(rows):
            continue
        z = depth(t)
        if z.shape != size:
            raise ShapeError(f"depth of frame {t}", str(list(size)), z.shape)
        x, y = pixels_at(tracks.xy[rows], size).T
        at = z[y, x].astype(np.float64)
        good = np.isfinite(at) & (at > 0)
        lifted[rows[good]] = cameras.lift(tracks.xy[rows[good]], at[good], t)
    return lifted


def _medians(lifted: Float64, tracks: RaggedTracks) -> tuple[Float64, RaggedTracks]:
    """The median [P, 3] of each point's observations, and the points that have one."""
    known = np.isfinite(lifted).all(1)
    of = tracks.point[known]
    count = np.bincount(of, minlength=len(tracks))
    first = np.concatenate(([0], np.cumsum(count)))[:-1]
    some = np.flatnonzero(count)
    middle = np.zeros((len(some), 3))
    for k in range(3):
        values = lifted[known, k]
        values = values[np.lexsort((values, of))]
        low, high = first[some] + (count[some] - 1) // 2, first[some] + count[some] // 2
        middle[:, k] = (values[low] + values[high]) / 2
    return middle, tracks.take(some)


def _views(points: Float64, tracks: RaggedTracks, cameras: Cameras) -> tuple[Views, Observations]:
    """Cameras of focal length 1 and points, and observations on their image planes that weigh what a pixel does."""
    focal = cameras.focal[tracks.frame]
    xy = (tracks.xy - np.array([cameras.width / 2, cameras.height / 2])) / focal[:, None]
    return Views.of(cameras.poses, 1.0, points), Observations(tracks.frame, tracks.point, xy, focal)


def _errors(points: Float64, tracks: RaggedTracks, cameras: Cameras) -> Float64:
    """Reprojection errors [K] in pixels; infinite behind the camera."""
    views, seen = _views(points, tracks, cameras)
    return errors(views, seen) * seen.weight


def _refine(start: Float64, tracks: RaggedTracks, cameras: Cameras) -> tuple[Float64, Float64]:
    """Points [P, 3] refined, and the errors [K]; some points at a time, so that memory stays bounded."""
    bounds = [0]
    while bounds[-1] < len(tracks):
        enough = np.searchsorted(tracks.first, tracks.first[bounds[-1]] + _AT_ONCE)
        bounds.append(min(max(int(enough), bounds[-1] + 1), len(tracks)))
    points, off = [np.zeros((0, 3))], [np.zeros(0)]
    for low, high in pairwise(bounds):
        some = tracks.take(np.arange(low, high))
        points.append(_refine_some(start[low:high], some, cameras))
        off.append(_errors(points[-1], some, cameras))
    return np.concatenate(points), np.concatenate(off)


def _refine_some(start: Float64, tracks: RaggedTracks, cameras: Cameras) -> Float64:
    """Points [P, 3] of the least reprojection error / sigma, with a prior at `start`."""
    views, seen = _views(start, tracks, cameras)
    depth = np.abs(project(views, seen)[1])
    far = np.maximum(np.bincount(tracks.point, depth, len(tracks)) / tracks.length, NEAR)
    seen = replace(seen, weight=seen.weight / tracks.sigma)
    # Huber's loss at so many pixels: one wrong observation must not drag a point off.
    return refine_points(views, seen, _STEPS, _BEND / tracks.sigma.astype(np.float64), 1 / np.square(_SPREAD * far))


def _without(tracks: RaggedTracks, good: BoolArray) -> tuple[RaggedTracks, Int64]:
    """The good observations [K] of points that have two or more, and which points these are."""
    count = np.bincount(tracks.point[good], minlength=len(tracks))
    kept = np.flatnonzero(count >= 2)
    return tracks.seen(good & (count >= 2)[tracks.point]), kept


class PointColours:
    """Mean colours of points over their frames, accumulated a frame at a time."""

    def __init__(self, tracks: RaggedTracks) -> None:
        self._tracks = tracks
        self._sum, self._count = np.zeros((len(tracks), 3)), np.zeros(len(tracks))

    def add(self, t: int, image: UInt8) -> None:
        """Add frame t, uint8 [H, W, 3]."""
        points, rows = self._tracks.at(t)
        x, y = pixels_at(self._tracks.xy[rows], image.shape[:2]).T
        self._sum[points] += image[y, x]
        self._count[points] += 1

    def finish(self) -> UInt8:
        """uint8 [P, 3]; grey where no frame was added."""
        mean = self._sum / np.maximum(self._count, 1)[:, None]
        return np.where(self._count[:, None] > 0, np.round(mean), 128).astype(np.uint8)
