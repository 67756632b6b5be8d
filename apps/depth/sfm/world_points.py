"""Tracked points as points of the world: where depth maps put them, refined to where they are seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from trackime.arrays import BoolArray, Float64, FloatArray, Int64, UInt8
from trackime.errors import ShapeError
from trackime.geometry import NEAR, Cameras
from trackime.types import RaggedTracks

POINTS = 100_000
_SPREAD = 0.05  # expected relative error of depth, which holds points that the cameras see from one side only
_STEPS = 5
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


def _seen(points: Float64, trails: RaggedTracks, cameras: Cameras) -> tuple[Float64, Float64]:
    """Residuals [K, 2] in pixels, infinite behind the camera, and points in the sightings' cameras [K, 3]."""
    pose = cameras.poses[trails.frame]
    local = np.einsum("kji,kj->ki", pose[:, :3, :3], points[trails.point] - pose[:, :3, 3])
    ahead = local[:, 2] > NEAR
    depth = np.where(ahead, local[:, 2], 1)[:, None]
    centre = (cameras.width / 2, cameras.height / 2)
    at = local[:, :2] / depth * cameras.focal[trails.frame][:, None] + centre
    return np.where(ahead[:, None], at - trails.xy, np.inf), local


def _errors(points: Float64, trails: RaggedTracks, cameras: Cameras) -> Float64:
    residual = _seen(points, trails, cameras)[0]
    return np.asarray(np.hypot(residual[:, 0], residual[:, 1]))


def _refine(start: Float64, trails: RaggedTracks, cameras: Cameras) -> tuple[Float64, Float64]:
    """Points [P, 3] refined, and the sightings' errors [K]; some points at a time, so that memory stays bounded."""
    bounds = [0]
    while bounds[-1] < len(trails):
        enough = np.searchsorted(trails.first, trails.first[bounds[-1]] + _AT_ONCE)
        bounds.append(min(max(int(enough), bounds[-1] + 1), len(trails)))
    parts = [np.arange(a, b) for a, b in pairwise(bounds)]
    done = [_refine_some(start[part], trails.take(part), cameras) for part in parts]
    empty = (np.zeros((0, 3)), np.zeros(0))
    points, errors = zip(*done, strict=True) if done else ((empty[0],), (empty[1],))
    return np.concatenate(points), np.concatenate(errors)


def _refine_some(start: Float64, trails: RaggedTracks, cameras: Cameras) -> tuple[Float64, Float64]:
    """Points [P, 3] after Gauss-Newton on reprojection / sigma with a prior at `start`, and the sightings' errors [K].

    A step that makes a point's cost larger is not taken: no point ends worse than it began.
    """
    points = start.copy()
    rotation = cameras.poses[trails.frame][:, :3, :3]
    focal = cameras.focal[trails.frame]
    weight = 1 / np.square(trails.sigma.astype(np.float64))
    first = trails.first[:-1]
    far = np.maximum(np.add.reduceat(np.abs(_seen(start, trails, cameras)[1][:, 2]), first) / trails.length, NEAR)
    hold = 1 / np.square(_SPREAD * far)

    def cost(at: Float64) -> Float64:
        residual = _seen(at, trails, cameras)[0]
        # Huber's loss at two pixels: one wrong sighting must not drag a point off.
        size = np.hypot(residual[:, 0], residual[:, 1])
        loss = np.where(size <= 2, np.square(np.minimum(size, 2)), 4 * size - 4)
        return np.asarray(np.add.reduceat(weight * loss, first) + hold * np.square(at - start).sum(1))

    best = cost(points)
    for _ in range(_STEPS):
        residual, local = _seen(points, trails, cameras)
        ahead: BoolArray = np.asarray(np.isfinite(residual).all(1))
        residual = np.where(ahead[:, None], residual, 0)
        z = np.where(ahead, local[:, 2], 1)
        size = np.maximum(np.hypot(residual[:, 0], residual[:, 1]), 2)
        scale = weight * ahead * 2 / size
        # d(pixel)/d(world) = f / z [1 0 -x/z; 0 1 -y/z] R^T
        inner = np.zeros((len(z), 2, 3))
        inner[:, 0, 0] = inner[:, 1, 1] = focal / z
        inner[:, :, 2] = -(focal / z**2)[:, None] * local[:, :2]
        jacobian = inner @ rotation.transpose(0, 2, 1)
        normal = np.add.reduceat(np.einsum("k,kai,kaj->kij", scale, jacobian, jacobian), first)
        normal += hold[:, None, None] * np.eye(3)
        slope = np.add.reduceat(np.einsum("k,kai,ka->ki", scale, jacobian, residual), first)
        slope += hold[:, None] * (points - start)
        moved = points - np.linalg.solve(normal, slope[..., None])[..., 0]
        new = cost(moved)
        better = new < best
        points = np.where(better[:, None], moved, points)
        best = np.where(better, new, best)
    return points, _errors(points, trails, cameras)


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
