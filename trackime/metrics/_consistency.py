"""How consistent depth is along tracks, with itself and its own cameras: no true depth is needed, only true tracks.

A point that does not move and is seen in frames s and t has depth z_s in the one and z_t in the other. Lifted by camera
s and brought into camera t it should lie at z_t; how far it is off, as |z_{s -> t} / z_t - 1| and as |log z_{s -> t} -
log z_t|, does not change with the scale of the world. (Geometric consistency in the sense of Luo et al., Consistent
video depth estimation, SIGGRAPH 2020, section 4, whose loss compares disparities; in depth's ratio the figure has no
unit.) Flicker needs no cameras: the second difference of log depth along a track, less that of the truth if given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trackime.arrays import Float64, FloatArray
from trackime.errors import InputError, ShapeError
from trackime.geometry import NEAR, Cameras
from trackime.metrics.depth import Maps
from trackime.types import RaggedTracks

GAPS = (1, 4, 16)
"""Frames between the two sightings that are compared."""


@dataclass(frozen=True)
class Consistency:
    """How far depths of one point disagree.

    Attributes:
        gap: frames between the two sightings.
        relative: mean of |z_{s -> t} / z_t - 1|, over both directions; a point behind camera t counts as 1.
        log: mean of |log(z_{s -> t} / z_t)|, over the pairs before the camera.
        median: median of the same.
        behind: share of pairs that come to lie behind the camera.
        count: pairs.
    """

    gap: int
    relative: float
    log: float
    median: float
    behind: float
    count: int


def along(depth: Maps, trails: RaggedTracks, width: int, height: int) -> Float64:
    """Depth of each sighting: float64 [K], bilinear; NaN where one of the four pixels around it is unknown.

    Args:
        depth: [h, w] of a frame, at any resolution over the whole frame.
        trails: the points, in pixels of frames of width x height.
        width, height: see there.

    Raises:
        ShapeError: a map not [h, w].
    """
    out = np.full(len(trails.frame), np.nan)
    order = np.argsort(trails.frame, kind="stable")
    ends = np.searchsorted(trails.frame[order], np.arange(trails.frames + 1))
    for t in range(trails.frames):
        rows = order[ends[t] : ends[t + 1]]
        if len(rows):
            out[rows] = bilinear(depth(t), trails.xy[rows], width, height)
    return out


def bilinear(values: FloatArray, xy: npt.ArrayLike, width: int, height: int) -> Float64:
    """A depth map [h, w] over a frame of width x height at pixels [N, 2] of it: [N], NaN beside unknown pixels."""
    z = np.asarray(values, np.float64)
    if z.ndim != 2:
        raise ShapeError("depth", "[h, w]", z.shape)
    h, w = z.shape
    place = np.asarray(xy, np.float64) * (w / width, h / height) - 0.5
    x, y = np.clip(place[:, 0], 0, w - 1), np.clip(place[:, 1], 0, h - 1)
    left, top = np.minimum(x.astype(np.int64), max(0, w - 2)), np.minimum(y.astype(np.int64), max(0, h - 2))
    right, low = np.minimum(left + 1, w - 1), np.minimum(top + 1, h - 1)
    a, b = x - left, y - top
    z = np.where(np.isfinite(z) & (z > 0), z, np.nan)
    upper = z[top, left] * (1 - a) + z[top, right] * a
    lower = z[low, left] * (1 - a) + z[low, right] * a
    return np.asarray(upper * (1 - b) + lower * b)


def consistency(z: Float64, trails: RaggedTracks, cameras: Cameras, gaps: Sequence[int] = GAPS) -> list[Consistency]:
    """Agreement of depths [K] of sightings (see `along`) with the cameras; a row for each gap that some points span.

    Args:
        z: float64 [K]; NaN: not compared.
        trails: true tracks of points that do not move.
        cameras: of the same estimate as the depth.
        gaps: frames between the two sightings.

    Raises:
        ShapeError: z not [K].
        InputError: cameras of another number of frames, a gap below 1, nothing to compare at any gap.
    """
    _check(z, trails)
    if len(cameras) != trails.frames:
        raise InputError(f"cameras: expected {trails.frames} as the tracks' frames, got {len(cameras)}")
    out = []
    for gap in gaps:
        if gap < 1:
            raise InputError(f"gap: expected 1 or more frames, got {gap}")
        moved, there = _moved(z, trails, cameras, gap)
        if not len(moved):
            continue
        ahead = moved > NEAR
        off = np.abs(np.where(ahead, moved, 0) / there - 1)
        log = np.abs(np.log(moved[ahead] / there[ahead]))
        mean, median = (float(log.mean()), float(np.median(log))) if len(log) else (np.inf, np.inf)
        out.append(Consistency(gap, float(off.mean()), mean, median, float(1 - ahead.mean()), len(moved)))
    if not out:
        raise InputError(f"consistency: expected points of known depth seen {list(gaps)} frames apart, got none")
    return out


def _moved(z: Float64, trails: RaggedTracks, cameras: Cameras, gap: int) -> tuple[Float64, Float64]:
    """z_{s -> t} and z_t of all pairs a gap apart, both ways."""
    moved, there = [np.zeros(0)], [np.zeros(0)]
    queue = [trails.at(t) for t in range(min(gap, trails.frames))]
    for t in range(gap, trails.frames):
        queue.append(trails.at(t))
        (p, a), (q, b) = queue.pop(0), queue[-1]
        _, i, j = np.intersect1d(p, q, assume_unique=True, return_indices=True)
        a, b = a[i], b[j]
        good = np.isfinite(z[a]) & np.isfinite(z[b])
        a, b = a[good], b[good]
        for (s, rows), (to, other) in (((t - gap, a), (t, b)), ((t, b), (t - gap, a))):
            world = cameras.lift(trails.xy[rows], z[rows], s)
            moved.append(cameras.project(world, to)[1])
            there.append(z[other])
    return np.concatenate(moved), np.concatenate(there)


def flicker(z: Float64, trails: RaggedTracks, truth: Float64 | None = None) -> float:
    """Mean of |log z_{t-1} - 2 log z_t + log z_{t+1}| over points seen in three frames running.

    Args:
        z: float64 [K], depths of sightings; NaN: not used.
        trails: the points; they may move.
        truth: float64 [K], true depths: their second difference is taken off.

    Raises:
        ShapeError: z or truth not [K].
        InputError: no point of known depth in three frames running.
    """
    _check(z, trails)
    log = np.log(z)
    if truth is not None:
        _check(truth, trails)
        log = log - np.log(truth)
    k = np.arange(1, max(1, len(z) - 1))
    point, frame = trails.point, trails.frame
    k = k[(point[k - 1] == point[k + 1]) & (frame[k + 1] - frame[k - 1] == 2)]
    bend = np.abs(log[k - 1] - 2 * log[k] + log[k + 1])
    bend = bend[np.isfinite(bend)]
    if not len(bend):
        raise InputError("flicker: expected points of known depth in three frames running, got none")
    return float(bend.mean())


def _check(z: Float64, trails: RaggedTracks) -> None:
    if np.shape(z) != (len(trails.frame),):
        raise ShapeError("z", f"[{len(trails.frame)}], a depth a sighting", np.shape(z))
