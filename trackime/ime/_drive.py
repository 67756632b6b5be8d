"""Running a tracker (InstaTAP eq. 1, 3) over a video of any length: one pass of decoding a direction, in chunks.

A `View` is what the tracker looks at: the whole frame, or a window that moves with an instance. All views of a
pass are fed from the same decoded chunk, so a video is decoded once a pass however many windows there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trackime.arrays import FloatArray, IntArray, UInt8
from trackime.errors import DeviceError
from trackime.geometry import cut_windows, to_torch
from trackime.ime._context import FrameReader
from trackime.ime.operations import Operations
from trackime.progress import Report, silent
from trackime.trackers import PointTracker, chunk_spans

_OPEN_VIEWS = 64
"""Views whose tracker states are kept at once: more take further passes over the video."""


@dataclass(frozen=True, eq=False)
class View:
    """Points, and the part of each frame they are tracked in.

    Attributes:
        queries: float32 [N, 3] (x, y, t), pixels of the video.
        offsets: int [T, 2] first pixel (x0, y0) of the window in each frame; None: the whole frame.
        size: (h, w) of the window, or of the frame.
    """

    queries: FloatArray
    offsets: IntArray | None
    size: tuple[int, int]

    def shift(self, t: IntArray) -> FloatArray:
        """float32 [..., 2]: what to add to a position in the view to have it in the frame, at frames t."""
        if self.offsets is None:
            return np.zeros((*t.shape, 2), np.float32)
        return self.offsets[t].astype(np.float32)


def drive(
    tracker: PointTracker,
    video: FrameReader,
    views: list[View],
    chunk: int,
    operations: Operations | None = None,
    progress: Report = silent,
    stage: str = "tracking",
) -> list[tuple[FloatArray, FloatArray]]:
    """Follow the points of every view through the whole video, both ways from their query frames.

    Memory follows the chunk and the number of points, not the length of the video. The chunk changes no result:
    trackers are state machines over time (`PointTracker`), and where memory runs out the chunk is halved. Those
    that look at a fixed number of frames together (`max_frames`) are fed these, not the chunk; the same windows as in
    `PointTracker.track`, or where the video is no longer than one, all of it for both directions together.

    Args:
        tracker: any point tracker.
        video: read as often as needed.
        views: what to look at; at least one query each.
        chunk: frames decoded and encoded at once.
        operations: counts the work where given.
        progress: called with (stage, frames done, frames of all passes).
        stage: its name.

    Returns:
        For each view xy float32 [N, T, 2] in pixels of the video and visibility float32 [N, T].

    Raises:
        DeviceError: out of memory on as few frames as the tracker can be fed.
    """
    operations = operations if operations is not None else Operations()
    length = len(video)
    results = [
        (np.repeat(v.queries[:, None, :2], length, 1), np.zeros((len(v.queries), length), np.float32)) for v in views
    ]
    size = tracker.max_frames or chunk + tracker.overlap
    spans = list(chunk_spans(length, size, tracker.overlap))
    whole = tracker.max_frames is not None and length <= tracker.max_frames
    passes = [
        (part, backward)
        for part in _parts(list(range(len(views))), _OPEN_VIEWS)
        for backward in (False, True)
        if not backward or (not whole and any((views[i].queries[:, 2] > 0).any() for i in part))
    ]
    done, total = 0, len(passes) * length
    for part, backward in passes:
        batches = [
            _Batch(tracker, [views[i] for i in rows], [results[i] for i in rows], spans, backward, whole, operations)
            for rows in _alike(views, part, length, backward, size=1 if tracker.device.type == "cpu" else 8)
        ]
        for span in spans:
            # `span` is in the order of travel; in a backward pass frame t is step length - 1 - t.
            t0, t1 = (length - span[1], length - span[0]) if backward else span
            active = [b for b in batches if b.first < span[1]]
            if active:
                lo = max(0, t0 - (0 if backward else tracker.overlap))
                hi = min(length, t1 + (tracker.overlap if backward else 0))
                frames = video.read(lo, hi)
                for batch in active:
                    batch.feed(frames, lo, span)
            done += t1 - t0
            progress(stage, done, total)
    return results


class _Batch:
    """Views alike in shape and start, tracked together in one direction, or in both if the video is one window.

    Attributes:
        first: the first step at which there is a query.
        start: the first step that is encoded: the same, but for a tracker that is fed windows the window's.
    """

    def __init__(
        self,
        tracker: PointTracker,
        views: list[View],
        results: list[tuple[FloatArray, FloatArray]],
        spans: list[tuple[int, int]],
        backward: bool,
        whole: bool,
        operations: Operations,
    ) -> None:
        self.tracker, self.views, self.results = tracker, views, results
        self.length, self.backward, self.whole, self.operations = spans[-1][1], backward, whole, operations
        self.first = self.start = _start(views[0], self.length, backward)
        if tracker.max_frames is not None:
            t0 = max(t0 for t0, _ in spans if t0 <= self.first)
            self.start = max(0, t0 - tracker.overlap)
        self.queries = torch.from_numpy(np.stack([self._local(view) for view in views])).to(tracker.device)
        self.state: Any = None if whole else tracker.open(self.queries, views[0].size)

    def _local(self, view: View) -> FloatArray:
        """Queries [N, 3] in the view's own pixels, t in steps of travel from the start."""
        t = view.queries[:, 2].astype(np.int64)
        steps = (self.length - 1 - t if self.backward else t) - self.start
        xy = view.queries[:, :2] - view.shift(t)
        return np.concatenate([xy, steps[:, None]], 1).astype(np.float32)

    def feed(self, frames: UInt8, lo: int, span: tuple[int, int]) -> None:
        """Advance through the steps `span`; `frames` [.., H, W, 3] begin at frame `lo` of the video."""
        self._feed(frames, lo, max(span[0], self.start), span[1])

    def _feed(self, frames: UInt8, lo: int, s0: int, s1: int) -> None:
        head = max(self.start, s0 - self.tracker.overlap)
        try:
            features = self.tracker.encode(self._cut(frames, lo, head, s1))
        except (torch.OutOfMemoryError, MemoryError) as error:
            if s1 - s0 == 1 or self.tracker.max_frames is not None:
                shown = "one frame" if s1 - s0 == 1 else f"{s1 - head} frames"
                where = f"{self.views[0].size} on {self.tracker.device}"
                raise DeviceError(f"out of memory on {shown} of {where}") from error
            features = None
        if features is None:  # outside the handler: the failed attempt's tensors must be gone by now
            middle = (s0 + s1) // 2
            self._feed(frames, lo, s0, middle)
            self._feed(frames, lo, middle, s1)
            return
        encoded = len(self.views) * (s1 - head)
        self.operations.frames_encoded += encoded
        self.operations.window_frames_encoded += encoded if self.views[0].offsets is not None else 0
        self.operations.tracker_calls += 1
        try:
            if self.whole:
                xy, visibility = self.tracker.track_features(features, self.queries)
            else:
                xy, visibility, self.state = self.tracker.advance(self.state, features)
        except (torch.OutOfMemoryError, MemoryError) as error:
            # The state may have been spent: no second try.
            count = sum(len(v.queries) for v in self.views)
            raise DeviceError(
                f"out of memory following {count} points on {self.tracker.device}: use fewer points or a smaller chunk"
            ) from error
        # The new frames s0 .. s1, and maybe some of the overlap before them, re-estimated.
        self._store(xy.float().cpu().numpy(), visibility.float().cpu().numpy(), s1 - xy.shape[2], s1)

    def _cut(self, frames: UInt8, lo: int, s0: int, s1: int) -> Tensor:
        """[B, s1 - s0, 3, h, w] in the order of travel."""
        t = self._frame(np.arange(s0, s1))
        picked = to_torch(frames[t - lo], self.tracker.device)
        return torch.stack(
            [picked if v.offsets is None else cut_windows(picked, v.offsets[t], v.size) for v in self.views]
        )

    def _frame(self, steps: IntArray) -> IntArray:
        return self.length - 1 - steps if self.backward else steps

    def _store(self, xy: FloatArray, visibility: FloatArray, s0: int, s1: int) -> None:
        t = self._frame(np.arange(s0, s1))
        for view, (out_xy, out_vis), view_xy, view_vis in zip(self.views, self.results, xy, visibility, strict=True):
            # Forward has the query frame and what follows it, backward what comes before it.
            query = view.queries[:, 2, None]
            mine = (t[None] < query) if self.backward else (t[None] >= query) | self.whole
            out_xy[:, t] = np.where(mine[..., None], view_xy + view.shift(t)[None], out_xy[:, t])
            out_vis[:, t] = np.where(mine, view_vis, out_vis[:, t])


def _start(view: View, length: int, backward: bool) -> int:
    """First step of travel at which the view has a query (steps count from the pass's first frame)."""
    t = view.queries[:, 2].astype(np.int64)
    return int(length - 1 - t.max() if backward else t.min())


def _alike(views: list[View], rows: list[int], length: int, backward: bool, size: int) -> Iterator[list[int]]:
    """Rows of views that can share a tracker call: as many queries, the same size and start; at most `size`."""
    if backward:
        rows = [i for i in rows if (views[i].queries[:, 2] > 0).any()]

    def kind(i: int) -> tuple[int, ...]:
        return (len(views[i].queries), *views[i].size, _start(views[i], length, backward), views[i].offsets is None)

    for _, group in groupby(sorted(rows, key=kind), key=kind):
        yield from _parts(list(group), size)


def _parts(items: list[int], size: int) -> Iterator[list[int]]:
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part
