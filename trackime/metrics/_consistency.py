"""Consistency of depth along tracks, with itself and its own cameras: needs true tracks, but no true depth.

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

from trackime.arrays import BoolArray, Float64, FloatArray, bilinear
from trackime.errors import InputError, ShapeError
from trackime.geometry import NEAR, Cameras
from trackime.metrics.depth import Maps
from trackime.types import RaggedTracks

GAPS = (1, 4, 16)
"""Frames between the two observations that are compared."""


@dataclass(frozen=True)
class Consistency:
    """Disagreement between depths of one point.

    Attributes:
        gap: frames between the two observations.
        relative: mean of |z_{s -> t} / z_t - 1|, over both directions; a point behind camera t counts as 1.
        log: mean of |log(z_{s -> t} / z_t)|, over the pairs in front of the camera.
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


def along(depth: Maps, tracks: RaggedTracks, width: int, height: int) -> Float64:
    """Depth of each observation: float64 [K], bilinear; NaN where a pixel it is read from is unknown.

    Args:
        depth: [h, w] of a frame, at any resolution over the whole frame.
        tracks: the points, in pixels of frames of width x height.
        width, height: see there.

    Raises:
        ShapeError: a map not [h, w].
    """
    out = np.full(len(tracks.frame), np.nan)
    for t in range(tracks.frames):
        rows = tracks.rows(t)
        if len(rows):
            out[rows] = _read(depth(t), tracks.xy[rows], width, height)
    return out


def _read(depth: FloatArray | BoolArray, xy: FloatArray, width: int, height: int) -> Float64:
    z = np.asarray(depth, np.float64)
    if z.ndim != 2:
        raise ShapeError("depth", "[h, w]", z.shape)
    h, w = z.shape
    known = np.where(np.isfinite(z) & (z > 0), z, np.nan)
    return bilinear(known, np.asarray(xy, np.float64) * (w / width, h / height))


def consistency(z: Float64, tracks: RaggedTracks, cameras: Cameras, gaps: Sequence[int] = GAPS) -> list[Consistency]:
    """Agreement of depths [K] of observations (see `along`) with the cameras; a row for each gap that some points span.

    Args:
        z: float64 [K]; NaN: not compared.
        tracks: true tracks of points that do not move.
        cameras: of the same estimate as the depth.
        gaps: frames between the two observations.

    Raises:
        ShapeError: z not [K].
        InputError: cameras of another number of frames, a gap below 1, nothing to compare at any gap.
    """
    _check(z, tracks)
    if len(cameras) != tracks.frames:
        raise InputError(f"cameras: expected {tracks.frames} as the tracks' frames, got {len(cameras)}")
    out = []
    for gap in gaps:
        if gap < 1:
            raise InputError(f"gap: expected 1 or more frames, got {gap}")
        moved, there = _moved(z, tracks, cameras, gap)
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


def _moved(z: Float64, tracks: RaggedTracks, cameras: Cameras, gap: int) -> tuple[Float64, Float64]:
    """z_{s -> t} and z_t of all pairs a gap apart, both ways."""
    moved, there = [np.zeros(0)], [np.zeros(0)]
    for t in range(gap, tracks.frames):
        _, a, b = tracks.between(t - gap, t)
        good = np.isfinite(z[a]) & np.isfinite(z[b])
        a, b = a[good], b[good]
        for (s, rows), (to, other) in (((t - gap, a), (t, b)), ((t, b), (t - gap, a))):
            world = cameras.lift(tracks.xy[rows], z[rows], s)
            moved.append(cameras.project(world, to)[1])
            there.append(z[other])
    return np.concatenate(moved), np.concatenate(there)


def flicker(z: Float64, tracks: RaggedTracks, truth: Float64 | None = None) -> float:
    """Mean of |log z_{t-1} - 2 log z_t + log z_{t+1}| over points observed in three consecutive frames.

    Args:
        z: float64 [K], depths of observations; NaN: not used.
        tracks: the points; they may move.
        truth: float64 [K], true depths: their second difference is subtracted.

    Raises:
        ShapeError: z or truth not [K].
        InputError: no point of known depth in three consecutive frames.
    """
    _check(z, tracks)
    log = np.log(z)
    if truth is not None:
        _check(truth, tracks)
        log = log - np.log(truth)
    k = np.arange(1, max(1, len(z) - 1))
    point, frame = tracks.point, tracks.frame
    k = k[(point[k - 1] == point[k + 1]) & (frame[k + 1] - frame[k - 1] == 2)]
    bend = np.abs(log[k - 1] - 2 * log[k] + log[k + 1])
    bend = bend[np.isfinite(bend)]
    if not len(bend):
        raise InputError("flicker: expected points of known depth in three consecutive frames, got none")
    return float(bend.mean())


def _check(z: Float64, tracks: RaggedTracks) -> None:
    if np.shape(z) != (len(tracks.frame),):
        raise ShapeError("z", f"[{len(tracks.frame)}], one depth per observation", np.shape(z))
