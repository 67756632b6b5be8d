"""Tracked points as points of the world: where depth maps put them, refined to where they are seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from trackime.arrays import BoolArray, Float64, FloatArray, Int64, UInt8
from trackime.errors import ShapeError
from trackime.geometry import NEAR, Cameras
from trackime.types import RaggedTracks

from ._refine import refine_points
from ._reprojection import Observations, Views, errors, project

POINTS = 100_000
_SPREAD = 0.05  # expected relative error of depth, which holds points that the cameras see from one side only
_STEPS = 5
_BEND = 2.0  # pixels
_AT_ONCE = 100_000  # sightings that are refined at once
_WORST = 4.0  # pixels beyond which a sighting is not one of its point


@dataclass(frozen=True, eq=False)
class WorldPoints:
    """Points of the world and the sightings they explain.

    Attributes:
        points: float64 [P, 3], world.
        trails: P points and their sightings, in the same order.
        error: float64 [P], mean reprojection error in pixels.
    """

    points: Float64
    trails: RaggedTracks
    error: Float64

    def __post_init__(self) -> None:
        n = len(self.trails)
        for name, shape in (("points", (n, 3)), ("error", (n,))):
            if getattr(self, name).shape != shape:
                raise ShapeError(name, str(list(shape)), getattr(self, name).shape)

    def __len__(self) -> int:
        return len(self.points)

    def most_seen(self, count: int) -> WorldPoints:
        """The `count` points seen in most frames, in their old order."""
        if count >= len(self):
            return self
        chosen = np.sort(np.argsort(-self.trails.length, kind="stable")[:count])
        return WorldPoints(self.points[chosen], self.trails.take(chosen), self.error[chosen])


def points_of(
    trails: RaggedTracks,
    static: BoolArray,
    cameras: Cameras,
    depth: Callable[[int], FloatArray],
    worst: float = _WORST,
    most: int = POINTS,
) -> WorldPoints:
    """Where the static points of `trails` are: the median of where depth lifts their sightings to, then a few steps of
    Gauss-Newton on their reprojection, held near that start as far as depth can be trusted.

    Args:
        trails: N points.
        static: bool [N]; the others are left out.
        cameras: of all frames.
        depth: the map [H, W] of a frame, 0 where unknown; each is asked for once, in order.
        worst: sightings that miss their point by more pixels are left out, and points with fewer than two left.
        most: points at most, those seen in most frames.

    Raises:
        ShapeError: static not [N], maps of another size than the cameras'.
    """
    if np.shape(static) != (len(trails),):
        raise ShapeError("static", f"[{len(trails)}]", np.shape(static))
    chosen = np.flatnonzero(np.asarray(static, bool) & (trails.length >= 2))
    if len(chosen) > most:
        chosen = np.sort(chosen[np.argsort(-trails.length[chosen], kind="stable")[:most]])
    trails = trails.take(chosen)
    lifted = _lift(trails, cameras, depth)
    start, trails = _medians(lifted, trails)
    points, error = _refine(start, trails, cameras)
    trails, kept = _without(trails, error <= worst)
    points, error = _refine(points[kept], trails, cameras)
    trails, kept = _without(trails, error <= worst)
    points = points[kept]
    error = _errors(points, trails, cameras)
    mean = np.add.reduceat(error, trails.first[:-1]) / trails.length if len(trails) else np.zeros(0)
    return WorldPoints(points, trails, mean)


def _lift(trails: RaggedTracks, cameras: Cameras, depth: Callable[[int], FloatArray]) -> Float64:
    """World points [K, 3] of sightings by the depth of the pixel they are in; NaN where that is unknown."""
    lifted = np.full((len(trails.frame), 3), np.nan)
    size = (cameras.height, cameras.width)
    order = np.argsort(trails.frame, kind="stable")
    bounds = np.searchsorted(trails.frame[order], np.arange(trails.frames + 1))
    for t in range(trails.frames):
        rows = order[bounds[t] : bounds[t + 1]]
        if not len(rows):
            continue
        z = depth(t)
        if z.shape != size:
            raise ShapeError(f"depth of frame {t}", str(list(size)), z.shape)
        x, y = np.clip(np.floor(trails.xy[rows].astype(np.float64)), 0, (size[1] - 1, size[0] - 1)).astype(int).T
        at = z[y, x].astype(np.float64)
        good = np.isfinite(at) & (at > 0)
        lifted[rows[good]] = cameras.lift(trails.xy[rows[good]], at[good], t)
    return lifted


def _medians(lifted: Float64, trails: RaggedTracks) -> tuple[Float64, RaggedTracks]:
    """The median [P, 3] of each point's sightings, and the points that have one."""
    known = np.isfinite(lifted).all(1)
    of = trails.point[known]
    count = np.bincount(of, minlength=len(trails))
    first = np.concatenate(([0], np.cumsum(count)))[:-1]
    some = np.flatnonzero(count)
    middle = np.zeros((len(some), 3))
    for k in range(3):
        values = lifted[known, k]
        values = values[np.lexsort((values, of))]
        low, high = first[some] + (count[some] - 1) // 2, first[some] + count[some] // 2
        middle[:, k] = (values[low] + values[high]) / 2
    return middle, trails.take(some)


def _views(points: Float64, trails: RaggedTracks, cameras: Cameras) -> tuple[Views, Observations]:
    """Cameras of focal length 1 and points, and observations on their image planes that weigh what a pixel does."""
    focal = cameras.focal[trails.frame]
    xy = (trails.xy - np.array([cameras.width / 2, cameras.height / 2])) / focal[:, None]
    return Views.of(cameras.poses, 1.0, points), Observations(trails.frame, trails.point, xy, focal)


def _errors(points: Float64, trails: RaggedTracks, cameras: Cameras) -> Float64:
    """Reprojection errors [K] in pixels; infinite behind the camera."""
    views, seen = _views(points, trails, cameras)
    return errors(views, seen) * seen.weight


def _refine(start: Float64, trails: RaggedTracks, cameras: Cameras) -> tuple[Float64, Float64]:
    """Points [P, 3] refined, and the errors [K]; some points at a time, so that memory stays bounded."""
    bounds = [0]
    while bounds[-1] < len(trails):
        enough = np.searchsorted(trails.first, trails.first[bounds[-1]] + _AT_ONCE)
        bounds.append(min(max(int(enough), bounds[-1] + 1), len(trails)))
    points, off = [np.zeros((0, 3))], [np.zeros(0)]
    for low, high in pairwise(bounds):
        some = trails.take(np.arange(low, high))
        points.append(_refine_some(start[low:high], some, cameras))
        off.append(_errors(points[-1], some, cameras))
    return np.concatenate(points), np.concatenate(off)


def _refine_some(start: Float64, trails: RaggedTracks, cameras: Cameras) -> Float64:
    """Points [P, 3] of the least reprojection error / sigma, with a prior at `start`."""
    views, seen = _views(start, trails, cameras)
    depth = np.abs(project(views, seen)[1])
    far = np.maximum(np.bincount(trails.point, depth, len(trails)) / trails.length, NEAR)
    seen = replace(seen, weight=seen.weight / trails.sigma)
    # Huber's loss at so many pixels: one wrong observation must not drag a point off.
    return refine_points(views, seen, _STEPS, _BEND / trails.sigma.astype(np.float64), 1 / np.square(_SPREAD * far))


def _without(trails: RaggedTracks, good: BoolArray) -> tuple[RaggedTracks, Int64]:
    """The good sightings [K] of points that have two or more, and which points these are."""
    count = np.bincount(trails.point[good], minlength=len(trails))
    kept = np.flatnonzero(count >= 2)
    return trails.seen(good & (count >= 2)[trails.point]), kept


class PointColours:
    """Mean colours of points where they are seen, gathered a frame at a time."""

    def __init__(self, trails: RaggedTracks) -> None:
        self._trails = trails
        self._sum, self._count = np.zeros((len(trails), 3)), np.zeros(len(trails))

    def add(self, t: int, image: UInt8) -> None:
        """Take frame t in, uint8 [H, W, 3]."""
        points, rows = self._trails.at(t)
        height, width = image.shape[:2]
        x, y = np.clip(np.floor(self._trails.xy[rows]), 0, (width - 1, height - 1)).astype(int).T
        self._sum[points] += image[y, x]
        self._count[points] += 1

    def finish(self) -> UInt8:
        """uint8 [P, 3]; grey where no frame came."""
        mean = self._sum / np.maximum(self._count, 1)[:, None]
        return np.where(self._count[:, None] > 0, np.round(mean), 128).astype(np.uint8)
