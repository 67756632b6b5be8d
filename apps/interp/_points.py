"""Points followed through a video a stretch at a time, so that time grows with its length and memory does not.

A stretch is a run of frames of one shot. Its points begin on a grid in its middle, where flow cannot be trusted a
second one in between, and where either of its ends has parts without any. They are followed beyond both ends, so that
every pair of frames has positions before and after it.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from trackime import segmenters, trackers
from trackime.arrays import BoolArray, Float32, FloatArray, UInt8
from trackime.devices import resolve_device
from trackime.imaging import DenseFlow, forward_backward_error
from trackime.ime import ImeConfig, track
from trackime.segmenters import PointSegmenter
from trackime.trackers import PointTracker
from trackime.types import Queries, Tracks
from trackime.video import Pictures

from ._curve import faith

BEYOND = 2
"""Frames before and after a pair in which positions are of use."""
DOUBT = 2.0
"""Pixels by which flow there and back may disagree."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Points in the frames around a pair.

    Attributes:
        xy: float32 [N, K, 2] pixels of the pictures, centres at + 0.5.
        visibility: float32 [N, K].
        frames: K frame indices, increasing.
        faith: how far bent paths are to be believed, see `curve.faith`.
    """

    xy: Float32
    visibility: Float32
    frames: list[int]
    faith: float = 1.0

    def at(self, t: int) -> tuple[Float32, Float32]:
        """Positions [N, 2] and visibility [N] in frame t."""
        k = self.frames.index(t)
        return self.xy[:, k], self.visibility[:, k]


class GivenPoints:
    """Points of tracks that were made before."""

    def __init__(self, pictures: Pictures, tracks: Tracks) -> None:
        self._pictures, self._tracks = pictures, tracks
        self._faith: dict[int, float] = {}  # by a shot's first frame
        self.spacing = _spacing(pictures.size, max(1, len(tracks)))

    def around(self, i: int, j: int) -> Seen:
        """The points in frames i and j and those around them."""
        before, after = self._pictures.around(i, j, BEYOND)
        frames = [*before[::-1], i, j, *after]
        h, w = self._pictures.size
        info = self._pictures.video.info
        scale = np.array([w / info.width, h / info.height], np.float32)
        shot = self._pictures.shot(i)
        if shot[0] not in self._faith:
            xy, visible = self._tracks.xy[:, shot], self._tracks.visible[:, shot]
            self._faith = {shot[0]: faith(xy * scale, visible, info.pts[shot])}
        return Seen(
            self._tracks.xy[:, frames] * scale, self._tracks.visibility[:, frames], frames, self._faith[shot[0]]
        )


class FollowedPoints:
    """Points that are followed when a pair asks for them.

    Args:
        pictures: the frames.
        tracker, segmenter: what follows them.
        count: points on the grid of a stretch.
        stretch: frames.
        ime: how they are followed.
        device: where.
    """

    def __init__(
        self,
        pictures: Pictures,
        tracker: PointTracker | str,
        segmenter: PointSegmenter | str,
        count: int = 200,
        stretch: int = 16,
        ime: ImeConfig | None = None,
        device: str = "cpu",
    ) -> None:
        self._pictures, self._tracker, self._segmenter = pictures, tracker, segmenter
        self._stretch, self._device, self._flow = stretch, device, DenseFlow()
        self._ime = ime or ImeConfig(cuts=False)
        self.spacing = _spacing(pictures.size, count)
        self._known: tuple[list[int], Tracks, float] | None = None

    def around(self, i: int, j: int) -> Seen:
        """The points in frames i and j and those around them."""
        shot = self._pictures.shot(i)
        k = bisect_left(shot, i)
        # Where a stretch begins depends on the shot alone, so that a run begun anywhere makes the same.
        first = k - k % self._stretch
        frames = shot[max(0, first - BEYOND) : first + self._stretch + 1 + BEYOND]
        if self._known is None or self._known[0] != frames:
            found = self._follow(frames)
            times = self._pictures.video.info.pts[frames]
            self._known = (frames, found, faith(found.xy, found.visible, times))
        before, after = self._pictures.around(i, j, BEYOND)
        wanted = [*before[::-1], i, j, *after]
        columns = [frames.index(t) for t in wanted]
        _, tracks, believed = self._known
        return Seen(tracks.xy[:, columns], tracks.visibility[:, columns], wanted, believed)

    def _follow(self, frames: list[int]) -> Tracks:
        clip = np.stack([self._pictures.colour(t) for t in frames])
        middle = len(frames) // 2
        grid = self._corners(clip[middle], middle, np.ones(clip.shape[1:3], bool))
        doubtful = self._corners(clip[middle], middle, self._doubtful(frames[middle - 1], frames[middle], grid))
        found = self._track(clip, np.concatenate([grid, doubtful]))
        more = []
        for end in (min(BEYOND, middle), max(middle, len(frames) - 1 - BEYOND)):
            here = found.xy[found.visibility[:, end] > 0.5, end]
            more.append(self._corners(clip[end], end, self._bare(here)))
        queries = np.concatenate(more)
        return Tracks.concat([found, self._track(clip, queries)]) if len(queries) else found

    def _track(self, clip: UInt8, xyt: Float32) -> Tracks:
        # Made once: networks take long to load, and a video has many stretches.
        if isinstance(self._tracker, str):
            self._tracker = trackers.create(self._tracker, str(resolve_device(self._device)))
        if isinstance(self._segmenter, str):
            self._segmenter = segmenters.create(self._segmenter, str(resolve_device(self._device)))
        return track(clip, Queries(xyt), tracker=self._tracker, segmenter=self._segmenter, config=self._ime)

    def _corners(self, picture: UInt8, t: int, where: BoolArray) -> Float32:
        """Queries [n, 3] at frame t: the best corner `where` [h, w] allows in each cell of the grid."""
        strength = cv2.cornerMinEigenVal(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 7)
        strength = np.where(where, strength, -1.0)
        queries = []
        for rows, columns in self._cells():
            cell = strength[rows, columns]
            y, x = np.unravel_index(int(np.argmax(cell)), cell.shape)
            if cell[y, x] >= 0:
                queries.append((columns.start + x + 0.5, rows.start + y + 0.5, t))
        return np.array(queries, np.float32).reshape(-1, 3)

    def _bare(self, known: FloatArray) -> BoolArray:
        """The cells [h, w] without any of the points `known` [N, 2]."""
        h, w = self._pictures.size
        bare = np.ones((h, w), bool)
        x, y = np.floor(known).astype(int).T if len(known) else np.zeros((2, 0), int)
        inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
        taken = np.zeros((h, w), bool)
        taken[y[inside], x[inside]] = True
        for cell in self._cells():
            bare[cell] = not taken[cell].any()
        return bare

    def _doubtful(self, before: int, t: int, known: Float32) -> BoolArray:
        """Where [h, w] flow to the frame before does not agree with its way back, in cells where much does not."""
        here, there = self._pictures.grey(t), self._pictures.grey(before)
        off = forward_backward_error(self._flow(here, there), self._flow(there, here)) > DOUBT
        near = np.zeros(off.shape, np.uint8)
        for x, y in np.floor(known[:, :2]).astype(int).tolist():
            cv2.circle(near, (x, y), 5, 1, -1)
        doubtful = np.zeros(off.shape, bool)
        for cell in self._cells():
            if off[cell].mean() > 0.2:
                doubtful[cell] = (off & (near == 0))[cell]
        return doubtful

    def _cells(self) -> list[tuple[slice, slice]]:
        h, w = self._pictures.size
        rows, columns = (min(n, max(1, round(n / self.spacing))) for n in (h, w))
        y = [h * k // rows for k in range(rows + 1)]
        x = [w * k // columns for k in range(columns + 1)]
        return [(slice(*v), slice(*u)) for v in pairwise(y) for u in pairwise(x)]


def _spacing(size: tuple[int, int], count: int) -> float:
    return float(np.sqrt(size[0] * size[1] / count))
