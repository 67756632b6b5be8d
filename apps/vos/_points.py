"""Tracked points frame by frame, and new ones where a confident mask has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from trackime.arrays import BoolArray, FloatArray, Int64, UInt8, ids_at, inside, pixels_at
from trackime.types import Queries, Tracks

from ._sampling import BACKGROUND, eroded, queries_at, ring_of, sample_mask
from .config import VosConfig

Follow = Callable[[Queries, int], Tracks]
"""Tracks queries of one frame to another frame, before or after it; the tracks span the frames between, both
included, in the order of the video."""

_LIFETIME = 3
"""Times `config.reseed` frames that new points are tracked for."""


@dataclass(frozen=True)
class ObjectPoints:
    """The points of one object in one frame, pixels of the cut frame.

    Attributes:
        xy: [N, 2].
        visibility: [N].
        off: [M, 2] visible points known to be off the object.
        number: int [N], ascending: which point each is, the same in all frames.
    """

    xy: FloatArray
    visibility: FloatArray
    off: FloatArray
    number: Int64

    @property
    def visible(self) -> BoolArray:
        """bool [N]."""
        return self.visibility > 0.5


@dataclass(frozen=True)
class FramePoints:
    """All points that are tracked in one frame.

    Attributes:
        xy: [N, 2] pixels of the video.
        visibility: [N].
        instance: [N] the object, 0 the background, -1 unknown.
        number: int [N], ascending: which point each is, the same in all frames.
    """

    xy: FloatArray
    visibility: FloatArray
    instance: Int64
    number: Int64

    def of(self, k: int, scale: FloatArray) -> ObjectPoints:
        """Object k's points, and all visible points that are on something else, times `scale` (x, y)."""
        own, xy = self.instance == k, self.xy * scale
        other = (self.instance >= BACKGROUND) & ~own & (self.visibility > 0.5)
        return ObjectPoints(xy[own], self.visibility[own], xy[other], self.number[own])


@dataclass(frozen=True)
class _Part:
    """Tracks of the frames from `start` on, their points numbered from `number` on."""

    start: int
    number: int
    tracks: Tracks

    @property
    def stop(self) -> int:
        return self.start + self.tracks.video.frames


class PointTracks:
    """All points of one direction of time: the tracks given, and those of points added along the way.

    Args:
        config: the switches.
        tracks: of the whole video.
        follow: how new points are tracked; None: none are added.
        backward: the direction of time.
    """

    def __init__(self, config: VosConfig, tracks: Tracks, follow: Follow | None, backward: bool) -> None:
        self.config, self.follow, self.backward = config, follow, backward
        self._frames, self._next = tracks.video.frames, len(tracks)
        self._parts = [_Part(0, 0, tracks)]

    def at(self, t: int) -> FramePoints:
        """All points that are tracked in frame t."""
        live = [(part.tracks, t - part.start, part.number) for part in self._parts if part.start <= t < part.stop]
        return FramePoints(
            np.concatenate([tracks.xy[:, s] for tracks, s, _ in live]).astype(np.float64),
            np.concatenate([tracks.visibility[:, s] for tracks, s, _ in live]),
            np.concatenate([tracks.instance for tracks, _, _ in live]).astype(np.int64),
            np.concatenate([number + np.arange(len(tracks)) for tracks, _, number in live]),
        )

    def due(self, t: int) -> bool:
        """Whether points are added in frame t."""
        return self.follow is not None and self.config.reseed > 0 and t % self.config.reseed == 0

    def add(self, t: int, ids: UInt8, objects: list[int]) -> bool:
        """Add points on `objects`, where ids [H, W] of frame t have too few, and around them.

        Returns:
            Whether any were added.
        """
        last = t + _LIFETIME * self.config.reseed * (-1 if self.backward else 1)
        last = int(np.clip(last, 0, self._frames - 1))
        if self.follow is None or last == t:
            return False
        queries = self._missing(t, ids, objects)
        if not len(queries):
            return False
        # Drop points whose tracks have ended; those of the whole video stay.
        whole, *added = self._parts
        self._parts = [whole, *(p for p in added if (p.start < t if self.backward else p.stop - 1 > t))]
        tracks = self.follow(queries, last)
        self._parts.append(_Part(min(t, last), self._next, tracks))
        self._next += len(tracks)
        return True

    def _missing(self, t: int, ids: UInt8, objects: list[int]) -> Queries:
        """Queries where objects have no visible point, and where too few lie around them."""
        points, found = self.at(t), []
        for k in objects:
            on = (points.instance == k) & (points.visibility > 0.5)
            off = (points.instance != k) & (points.visibility > 0.5)
            found.append(queries_at(_uncovered(ids == k, points.xy[on], self.config), t, k))
            around = ring_of(ids == k, self.config.ring) & (ids == 0)
            lacking = self.config.negatives - int(ids_at(around, points.xy[off]).sum())
            if lacking > 0 and around.any():
                found.append(queries_at(sample_mask(around, lacking, "k-medoids", seed=t), t, BACKGROUND))
        return Queries.concat(found)


def _uncovered(mask: BoolArray, xy: FloatArray, config: VosConfig) -> FloatArray:
    """New points [n, 2] in a mask, at most half of `config.points`, where none of xy [N, 2] is near.

    Near is one and a half times the distance that `config.points` evenly spread points would have.
    """
    count = min(config.points, int(mask.sum()) // 16)
    if count < 1:
        return np.zeros((0, 2))
    spacing = float(np.sqrt(mask.sum() / count))
    free = np.ones(mask.shape, np.uint8)
    x, y = pixels_at(xy[inside(xy, mask.shape)], mask.shape).T
    free[y, x] = 0
    bare = eroded(mask, count) & (cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_5) > 1.5 * spacing)
    wanted = min(round(float(bare.sum()) / spacing**2), config.points // 2)
    return sample_mask(bare, wanted, "k-medoids") if wanted else np.zeros((0, 2))
