"""New points on the way: where a mask that is surely right has none, some are put and followed from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from trackime.arrays import BoolArray, FloatArray, Int64, UInt8
from trackime.types import Queries, Tracks

from .config import VosConfig
from .queries import BACKGROUND, eroded, ring_of, sample_mask

Follow = Callable[[Queries, int], Tracks]
"""Follows queries of one frame to another frame, before or after it; its tracks span the frames between, both
included, in the order of the video."""

REACH = 3
"""Times `config.reseed` frames that new points are followed for."""


@dataclass(frozen=True)
class Seen:
    """Points in one frame.

    Attributes:
        xy: [N, 2] pixels of the video.
        visibility: [N].
        instance: [N] the object, 0 the background, -1 unknown.
        who: int [N], a name for each point that it keeps from frame to frame, ascending.
    """

    xy: FloatArray
    visibility: FloatArray
    instance: Int64
    who: Int64


class Points:
    """All points of a direction: the tracks given, and those put on objects on the way.

    Args:
        config: the switches.
        tracks: of the whole video.
        follow: how new points are followed; None: there are none.
        backward: the direction of time.
    """

    def __init__(self, config: VosConfig, tracks: Tracks, follow: Follow | None, backward: bool) -> None:
        self.config, self.tracks, self.follow, self.backward = config, tracks, follow, backward
        self._parts: list[tuple[int, int, Tracks]] = []  # first frame, first name, tracks from there
        self._next = len(tracks)

    def at(self, t: int) -> Seen:
        """All points that are followed in frame t."""
        parts = [(0, 0, self.tracks), *self._parts]
        live = [(t - t0, name, tracks) for t0, name, tracks in parts if 0 <= t - t0 < tracks.xy.shape[1]]
        return Seen(
            np.concatenate([tracks.xy[:, k] for k, _, tracks in live]).astype(np.float64),
            np.concatenate([tracks.visibility[:, k] for k, _, tracks in live]),
            np.concatenate([tracks.instance for _, _, tracks in live]).astype(np.int64),
            np.concatenate([name + np.arange(len(tracks)) for _, name, tracks in live]),
        )

    def due(self, t: int) -> bool:
        """Whether frame t is one of those in which points are put."""
        return self.follow is not None and self.config.reseed > 0 and t % self.config.reseed == 0

    def add(self, t: int, ids: UInt8, sure: list[int]) -> bool:
        """Put points on the objects of `sure`, where ids [H, W] of frame t have too few, and around them.

        Returns:
            Whether any were put.
        """
        last = t + REACH * self.config.reseed * (-1 if self.backward else 1)
        last = int(np.clip(last, 0, self.tracks.video.frames - 1))
        if self.follow is None or last == t:
            return False
        seen = self.at(t)
        found = []
        for k in sure:
            use = (seen.instance == k) & (seen.visibility > 0.5)
            xy = _uncovered(ids == k, seen.xy[use], self.config)
            found.append(_queries(xy, t, k))
            around = ring_of(ids == k, self.config.ring) & (ids == 0)
            use = (seen.instance != k) & (seen.visibility > 0.5)
            place = np.floor(seen.xy[use]).astype(int).clip(0, [ids.shape[1] - 1, ids.shape[0] - 1])
            lacking = self.config.negatives - int(around[place[:, 1], place[:, 0]].sum())
            if lacking > 0 and around.any():
                found.append(_queries(sample_mask(around, lacking, "k-medoids", seed=t), t, BACKGROUND))
        queries = Queries.concat(found)
        if not len(queries):
            return False
        here = last < t
        # What was followed to its end is of no use any more.
        self._parts = [p for p in self._parts if (p[0] < t if here else p[0] + p[2].xy.shape[1] - 1 > t)]
        tracks = self.follow(queries, last)
        self._parts.append((min(t, last), self._next, tracks))
        self._next += len(tracks)
        return True


def _queries(xy: FloatArray, t: int, instance: int) -> Queries:
    return Queries(np.concatenate([xy, np.full((len(xy), 1), t)], 1), np.full(len(xy), instance))


def _uncovered(mask: BoolArray, xy: FloatArray, config: VosConfig) -> FloatArray:
    """New points [n, 2] in a mask, at most half of `config.points`, where none of xy [N, 2] is near.

    Near is one and a half times the distance that `config.points` evenly spread points would have.
    """
    count = min(config.points, int(mask.sum()) // 16)
    if count < 1:
        return np.zeros((0, 2))
    spacing = float(np.sqrt(mask.sum() / count))
    free = np.ones(mask.shape, np.uint8)
    for x, y in np.floor(xy).astype(int).tolist():
        if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]:
            free[y, x] = 0
    bare = eroded(mask, count) & (cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_5) > 1.5 * spacing)
    wanted = min(round(float(bare.sum()) / spacing**2), config.points // 2)
    return sample_mask(bare, wanted, "k-medoids") if wanted else np.zeros((0, 2))
