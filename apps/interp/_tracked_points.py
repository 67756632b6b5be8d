"""Points tracked through a video one stretch at a time: time grows with the length of the video, memory does not.

A stretch is a run of frames of one shot. Its points start on a grid in its middle, with more where flow is unreliable
there and where parts of its first and last frame have none. They are tracked beyond both ends of the stretch, so that
every pair of frames has positions before and after it.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import cv2
import numpy as np

from trackime import segmenters, trackers
from trackime.arrays import BoolArray, Float32, UInt8, inside, pixels_at
from trackime.imaging import DenseFlow, forward_backward_error
from trackime.ime import ImeConfig, track
from trackime.types import Queries, Tracks
from trackime.video import MotionFrames

from ._quadratic_motion import quadratic_confidence
from .interpolator import InterpInput

CONTEXT = 2
"""Frames before and after a pair whose positions are used."""
_MAX_INCONSISTENCY = 2.0
"""Largest forward-backward error of reliable flow, in pixels."""


@dataclass(frozen=True, eq=False)
class NearbyTracks:
    """Tracks of points in the frames around a pair.

    Attributes:
        xy: float32 [N, K, 2] pixels of the motion frames, centres at + 0.5.
        visibility: float32 [N, K].
        frames: K frame indices, increasing.
        confidence: of quadratic motion, see `quadratic_confidence`.
    """

    xy: Float32
    visibility: Float32
    frames: list[int]
    confidence: float = 1.0

    def at(self, t: int) -> tuple[Float32, Float32]:
        """Positions [N, 2] and visibility [N] in frame t."""
        k = self.frames.index(t)
        return self.xy[:, k], self.visibility[:, k]


class PointSource(Protocol):
    """Tracked points of a video."""

    spacing: float
    """Pixels of the motion frames, about the distance of a point from its neighbours."""

    def around(self, i: int, j: int) -> NearbyTracks:
        """The points in frames i and j and in up to `CONTEXT` frames of the shot before and after them."""


class GivenTracks:
    """Points of tracks of the whole video that exist already. A `PointSource`."""

    def __init__(self, frames: MotionFrames, tracks: Tracks) -> None:
        self._frames, self._tracks = frames, tracks
        self._confidence: dict[int, float] = {}  # by a shot's first frame
        self.spacing = _spacing(frames.size, max(1, len(tracks)))

    def around(self, i: int, j: int) -> NearbyTracks:
        """See `PointSource`."""
        before, after = self._frames.around(i, j, CONTEXT)
        frames = [*before[::-1], i, j, *after]
        h, w = self._frames.size
        info = self._frames.video.info
        scale = np.array([w / info.width, h / info.height], np.float32)
        shot = self._frames.shot(i)
        if shot[0] not in self._confidence:
            xy, visible = self._tracks.xy[:, shot], self._tracks.visible[:, shot]
            self._confidence = {shot[0]: quadratic_confidence(xy * scale, visible, info.pts[shot])}
        return NearbyTracks(
            self._tracks.xy[:, frames] * scale, self._tracks.visibility[:, frames], frames, self._confidence[shot[0]]
        )


class TrackedPoints:
    """Points that are tracked when a pair needs them. A `PointSource`.

    Args:
        frames: the frames.
        given: what tracks them, how many on a grid, and through how many frames.
    """

    def __init__(self, frames: MotionFrames, given: InterpInput) -> None:
        config = given.config
        self._frames, self._stretch, self._device, self._flow = frames, config.stretch, given.device, DenseFlow()
        self._tracker, self._segmenter = given.tracker, given.segmenter
        self._ime = ImeConfig(cuts=False) if config.ime else ImeConfig.plain(cuts=False)
        self.spacing = _spacing(frames.size, config.points)
        self._stretch_tracks: tuple[list[int], Tracks, float] | None = None

    def around(self, i: int, j: int) -> NearbyTracks:
        """See `PointSource`."""
        shot = self._frames.shot(i)
        k = bisect_left(shot, i)
        # Where a stretch begins depends on the shot alone: a resumed run makes the same.
        first = k - k % self._stretch
        frames = shot[max(0, first - CONTEXT) : first + self._stretch + 1 + CONTEXT]
        if self._stretch_tracks is None or self._stretch_tracks[0] != frames:
            found = self._track_stretch(frames)
            times = self._frames.video.info.pts[frames]
            self._stretch_tracks = (frames, found, quadratic_confidence(found.xy, found.visible, times))
        before, after = self._frames.around(i, j, CONTEXT)
        wanted = [*before[::-1], i, j, *after]
        columns = [frames.index(t) for t in wanted]
        _, tracks, confidence = self._stretch_tracks
        return NearbyTracks(tracks.xy[:, columns], tracks.visibility[:, columns], wanted, confidence)

    def _track_stretch(self, frames: list[int]) -> Tracks:
        clip = np.stack([self._frames.colour(t) for t in frames])
        middle = len(frames) // 2
        grid = self._corners(clip[middle], middle, np.ones(clip.shape[1:3], bool))
        extra = self._corners(clip[middle], middle, self._unreliable(frames[middle - 1], frames[middle], grid))
        found = self._track(clip, np.concatenate([grid, extra]))
        more = []
        for end in (min(CONTEXT, middle), max(middle, len(frames) - 1 - CONTEXT)):
            here = found.xy[found.visibility[:, end] > 0.5, end]
            more.append(self._corners(clip[end], end, self._empty_cells(here)))
        queries = np.concatenate(more)
        return Tracks.concat([found, self._track(clip, queries)]) if len(queries) else found

    def _track(self, clip: UInt8, xyt: Float32) -> Tracks:
        # Made once: networks take long to load, and a video has many stretches.
        if isinstance(self._tracker, str):
            self._tracker = trackers.create(self._tracker, self._device)
        if isinstance(self._segmenter, str):
            self._segmenter = segmenters.create(self._segmenter, self._device)
        return track(clip, Queries(xyt), tracker=self._tracker, segmenter=self._segmenter, config=self._ime)

    def _corners(self, frame: UInt8, t: int, allowed: BoolArray) -> Float32:
        """Queries [n, 3] at frame t: in each cell of the grid the best corner among the pixels `allowed` [h, w]."""
        strength = cv2.cornerMinEigenVal(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), 7)
        strength = np.where(allowed, strength, -1.0)
        queries = []
        for rows, columns in self._cells():
            cell = strength[rows, columns]
            y, x = np.unravel_index(int(np.argmax(cell)), cell.shape)
            if cell[y, x] >= 0:
                queries.append((columns.start + x + 0.5, rows.start + y + 0.5, t))
        return np.array(queries, np.float32).reshape(-1, 3)

    def _empty_cells(self, known: Float32) -> BoolArray:
        """The cells [h, w] without any of the points `known` [N, 2]."""
        taken = np.zeros(self._frames.size, bool)
        column, row = pixels_at(known[inside(known, taken.shape)], taken.shape).T
        taken[row, column] = True
        empty = np.ones(taken.shape, bool)
        for cell in self._cells():
            empty[cell] = not taken[cell].any()
        return empty

    def _unreliable(self, before: int, t: int, known: Float32) -> BoolArray:
        """bool [h, w]: flow to the frame before fails the forward-backward check, in cells where much of it does.

        The surroundings of the queries `known` [N, 3] are left out.
        """
        here, there = self._frames.grey(t), self._frames.grey(before)
        bad = forward_backward_error(self._flow(here, there), self._flow(there, here)) > _MAX_INCONSISTENCY
        near = np.zeros(bad.shape, np.uint8)
        for x, y in np.floor(known[:, :2]).astype(int).tolist():
            cv2.circle(near, (x, y), 5, 1, -1)
        unreliable = np.zeros(bad.shape, bool)
        for cell in self._cells():
            if bad[cell].mean() > 0.2:
                unreliable[cell] = (bad & (near == 0))[cell]
        return unreliable

    def _cells(self) -> list[tuple[slice, slice]]:
        h, w = self._frames.size
        rows, columns = (min(n, max(1, round(n / self.spacing))) for n in (h, w))
        y = [h * k // rows for k in range(rows + 1)]
        x = [w * k // columns for k in range(columns + 1)]
        return [(slice(*v), slice(*u)) for v in pairwise(y) for u in pairwise(x)]


def _spacing(size: tuple[int, int], count: int) -> float:
    return float(np.sqrt(size[0] * size[1] / count))
