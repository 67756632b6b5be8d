"""Robust triangulation of many points at once from known cameras.

Each point is tried from several pairs of its observations (RANSAC: Fischler, Bolles 1981), the one that most
observations agree with is refined over those, and those that still do not fit are outliers: tracks drift, and some are
on movers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from trackime.arrays import BoolArray, Float64, Int64, blocks

from ._refine import refine_points
from ._reprojection import Observations, Views, errors

TOLERANCE = 2.0
"""Pixels an observation may be off."""
PAIRS = 8
"""Pairs of observations tried."""
ENOUGH = 16
"""Observations a point is found from at most, evenly spread; inliers are found among all."""
STEPS = 4
"""Gauss-Newton steps of the refinement."""
CHUNK = 10_000
"""Points found at a time: memory follows it, not the video."""
FAR = 1e4
"""Distance of points at infinity, in extents of the cameras."""
PARALLEL = 1e-9
"""Squared sine below which two rays meet nowhere."""


@dataclass(frozen=True, eq=False)
class Triangulation:
    """P points [P, 3] (NaN where none), which of the K observations fit bool [K], the widest angle between the rays
    of those that fit [P] in degrees, how many fit [P]."""

    points: Float64
    inliers: BoolArray
    angle: Float64
    count: Int64


def rays(views: Views, seen: Observations) -> tuple[Float64, Float64]:
    """Camera centres [K, 3] and unit directions [K, 3] of observations, in the world."""
    turn = views.rotation[seen.camera]
    centre = views.centres[seen.camera]
    local = np.concatenate((seen.xy / views.focal, np.ones((len(seen.xy), 1))), 1)
    local /= np.linalg.norm(local, axis=1, keepdims=True)
    return centre, np.einsum("kji,kj->ki", turn, local)


def meet(centre_a: Float64, ray_a: Float64, centre_b: Float64, ray_b: Float64) -> Float64:
    """The midpoints [N, 3] of the shortest segments between rays; NaN where they are parallel."""
    base = centre_b - centre_a
    cosine = (ray_a * ray_b).sum(1)
    along_a, along_b = (base * ray_a).sum(1), (base * ray_b).sum(1)
    square = 1 - cosine**2
    with np.errstate(divide="ignore", invalid="ignore"):
        s = (along_a - cosine * along_b) / square
        t = (cosine * along_a - along_b) / square
        middle = 0.5 * (centre_a + s[:, None] * ray_a + centre_b + t[:, None] * ray_b)
    middle[~(square > PARALLEL)] = np.nan
    return middle


def thinned(group: Int64, size: int, most: int) -> Int64:
    """Rows of at most about `most` of each group, evenly from its first to its last; group int64 [K] in order."""
    lengths = np.bincount(group, minlength=size)
    first = np.concatenate(([0], np.cumsum(lengths)))[:-1]
    rank = np.arange(len(group)) - first[group]
    last = np.maximum(lengths[group] - 1, 1)
    slot = rank * (most - 1) // last
    fresh = np.ones(len(group), bool)
    fresh[1:] = (slot[1:] != slot[:-1]) | (group[1:] != group[:-1])
    return np.flatnonzero(fresh | (lengths[group] <= most))


def triangulate(
    views: Views, seen: Observations, count: int, tolerance: float = TOLERANCE, seed: int = 0
) -> Triangulation:
    """`count` points from their observations; `views.points` is not used.

    Args:
        views: the cameras.
        seen: observations in order of point; points without any are not found.
        count: how many points there are.
        tolerance: pixels an observation may be off.
        seed: of the pairs that are tried.
    """
    parts = [Triangulation(np.zeros((0, 3)), np.zeros(0, bool), np.zeros(0), np.zeros(0, np.int64))]
    for number, block in enumerate(blocks(count, CHUNK)):
        low, high = np.searchsorted(seen.point, (block.start, block.stop))
        some = seen.take(slice(low, high))
        some = replace(some, point=some.point - block.start)
        parts.append(_triangulated(views, some, block.stop - block.start, tolerance, seed + number))
    names = ("points", "inliers", "angle", "count")
    return Triangulation(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _triangulated(views: Views, seen: Observations, count: int, tolerance: float, seed: int) -> Triangulation:
    every, seen = seen, seen.take(thinned(seen.point, count, ENOUGH))
    lengths = np.bincount(seen.point, minlength=count)
    first = np.concatenate(([0], np.cumsum(lengths)))
    centre, ray = rays(views, seen)
    best = np.full((count, 3), np.nan)
    most = np.zeros(count, np.int64)
    rng = np.random.default_rng(seed)
    far = FAR * max(float(np.ptp(centre, 0).max()), 1e-9) if len(centre) else 0.0
    for number in range(PAIRS + 1):
        # The ends of a track are usually the widest apart; a pair beyond them is needed where few agree.
        # At infinity first: what fits there may fit nearer as well.
        left = np.flatnonzero((lengths >= 2) & ((most < 0.8 * lengths) | (number < 2)))
        left = left if number < 3 else left[lengths[left] > 2]
        if not len(left):
            break
        if number < 2:
            a, b = first[left], first[left + 1] - 1
        elif number == 2:
            a, b = first[left], first[left] + lengths[left] // 2
        else:
            pick = rng.random((len(left), 2))
            i = (pick[:, 0] * lengths[left]).astype(np.int64)
            j = (i + 1 + (pick[:, 1] * (lengths[left] - 1)).astype(np.int64)) % lengths[left]
            a, b = first[left] + i, first[left] + j
        trial = np.full((count, 3), np.nan)
        trial[left] = meet(centre[a], ray[a], centre[b], ray[b]) if number else centre[a] + far * ray[a]
        rows = np.isin(seen.point, left) if len(left) < count else slice(None)
        some = seen.take(rows) if len(left) < count else seen
        agree = np.bincount(some.point[errors(replace(views, points=trial), some) <= tolerance], minlength=count)
        better = (agree >= most) & (agree > 0) if number == 1 else agree > most
        best[better], most[better] = trial[better], agree[better]
    return _refined(views, seen, every, best, tolerance)


def _refined(views: Views, seen: Observations, every: Observations, points: Float64, tolerance: float) -> Triangulation:
    seen = replace(seen, weight=np.ones(len(seen.weight)))
    for _ in range(2):
        fits = errors(replace(views, points=points), seen) <= tolerance
        points = refine_points(replace(views, points=points), seen.take(fits), STEPS)
    fits = errors(replace(views, points=points), every) <= tolerance
    count = np.bincount(every.point[fits], minlength=len(points))
    return Triangulation(points, fits, angles(views, every.take(fits), len(points)), count)


def angles(views: Views, seen: Observations, count: int) -> Float64:
    """The widest angle [count] in degrees between rays of each point's observations, 0 with fewer than two.

    Triangulation by going to the ray farthest from the first, then to the one farthest from that: rays of a smooth
    camera path lie along a curve, whose ends this finds.
    """
    _, ray = rays(views, seen)
    lengths = np.bincount(seen.point, minlength=count)
    start = np.concatenate(([0], np.cumsum(lengths)))[:-1]
    some = np.flatnonzero(lengths)
    out = np.zeros(count)
    if not len(some):
        return out
    anchor = np.zeros((count, 3))
    anchor[some] = ray[start[some]]
    for _ in range(2):
        # The chord is exact for small angles, where the cosine is not.
        chord = np.linalg.norm(ray - anchor[seen.point], axis=1)
        widest = np.maximum.reduceat(chord, start[some])
        out[some] = np.degrees(2 * np.arcsin(np.clip(widest / 2, 0, 1)))
        far = np.flatnonzero(chord == np.repeat(widest, lengths[some]))
        anchor[seen.point[far]] = ray[far]
    return out
