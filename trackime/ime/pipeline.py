"""TrackIME from end to end: neighbours, instance motion, windows, fusion, for any tracker and segmenter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from trackime import segmenters, trackers
from trackime.arrays import FloatArray, IntArray, UInt8, inside
from trackime.devices import resolve_device
from trackime.errors import ShapeError
from trackime.ime._context import RunContext
from trackime.ime._drive import View, drive
from trackime.ime.config import DEFAULT_SEGMENTER, DEFAULT_TRACKER, ImeConfig
from trackime.ime.fusion import fuse, scale_precision
from trackime.ime.masks import membership
from trackime.ime.motion import instance_steps, integrate, prefer_query
from trackime.ime.neighbours import Instance, find_instances
from trackime.ime.operations import Operations
from trackime.ime.progressive import plan_windows, track_in_windows
from trackime.ime.pruning import window_sides
from trackime.progress import Report, silent
from trackime.segmenters import PointSegmenter
from trackime.trackers import PointTracker
from trackime.types import Queries, Tracks
from trackime.video import Video, find_cuts, open_video

_FIRST_FOUND = 256
"""Groups that are found are numbered from here on: ids below are what masks and callers call objects by."""

_TrackRow = tuple[FloatArray, FloatArray]
"""xy float32 [N, T, 2] and visibility float32 [N, T]."""


@dataclass(frozen=True, eq=False)
class TrackResult:
    """What a run found.

    Attributes:
        tracks: the result the config asks for; `tracks.instance` is the group each query was found to be in,
            or the one it came with. Groups that were found are numbered from `_FIRST_FOUND`, or above the ids given.
        rows: every stage of the ablation that the run passed through, by name: "none" the tracker alone, "im"
            guided by instance motion, "im_fusion" the mean of both, "im_clip" the finest window, "all" the
            windows fused.
        operations: what it cost.
    """

    tracks: Tracks
    rows: dict[str, _TrackRow]
    operations: Operations


def track(
    video: Any,
    queries: Queries,
    *,
    tracker: PointTracker | str = DEFAULT_TRACKER,
    segmenter: PointSegmenter | str = DEFAULT_SEGMENTER,
    config: ImeConfig | None = None,
    device: str = "auto",
    progress: Report = silent,
) -> Tracks:
    """Follow points through a video.

    Args:
        video: a path, a frame folder, uint8 [T, H, W, 3], or a `Video`.
        queries: the points, (x, y) in source pixels and their frames.
        tracker: a name of `trackime.trackers.names()`, or any PointTracker.
        segmenter: a name of `trackime.segmenters.names()`, or any PointSegmenter.
        config: switches of the method.
        device: auto, cpu, cuda, cuda:N or mps; used where names are given.
        progress: called with (stage, done, total).

    Returns:
        Tracks in the order of the queries.

    Raises:
        VideoError: a video that cannot be read.
        InputError: a query outside the video, an unknown name.
        DeviceError: no such device, or out of memory on a single frame.
    """
    place = str(resolve_device(device))
    if isinstance(tracker, str):
        tracker = trackers.create(tracker, device=place)
    if isinstance(segmenter, str):
        segmenter = segmenters.create(segmenter, device=place)
    opened = open_video(video)
    try:
        return run(opened, queries, tracker, segmenter, config, progress).tracks
    finally:
        if opened is not video:
            opened.close()


def run(
    video: Video,
    queries: Queries,
    tracker: PointTracker,
    segmenter: PointSegmenter,
    config: ImeConfig | None = None,
    progress: Report = silent,
    masks: Mapping[int, UInt8] | None = None,
) -> TrackResult:
    """As `track`, with every stage of the ablation and the operations counted.

    Args:
        masks: masks known beforehand, by frame: uint8 [H, W] of ids (0 background, 255 unknown). A query on an
            id takes its neighbours from there, not from the segmenter.

    Raises:
        ShapeError: masks of another size than the video's.
        InputError: a query outside the video.
    """
    config = config or ImeConfig()
    queries.check(video.info)
    size = (video.info.height, video.info.width)
    for t, mask in (masks or {}).items():
        if mask.shape != size:
            raise ShapeError(f"mask of frame {t}", f"[{size[0]}, {size[1]}], the video's", mask.shape)
    operations = Operations()
    length = len(video)
    whole: dict[str, _TrackRow] = {}
    instance = np.full(len(queries), -1)
    groups = 0
    cuts = find_cuts(video, progress=progress) if config.cuts and len(queries) else []
    edges = pairwise([0, *cuts, len(video)])
    shots = [(a, b) for a, b in edges if ((queries.t >= a) & (queries.t < b)).any()]
    frames, reports = sum(b - a for a, b in shots), progress
    done = 0
    for first, last in shots:
        rows = np.flatnonzero((queries.t >= first) & (queries.t < last))
        if len(shots) > 1:
            reports = _part_of(progress, done, last - first, frames)
        done += last - first
        part = Queries(queries.xyt[rows] - np.array([0, 0, first], np.float32), queries.instance[rows])
        known = {t - first: m for t, m in (masks or {}).items() if first <= t < last}
        with video.clip(first, last) as clip:
            shot = _Shot(RunContext(clip, tracker, segmenter, config, operations, reports), part, known)
            found_rows = shot.run()
        for name, (xy, visibility) in found_rows.items():
            if name not in whole:
                whole[name] = _empty(len(queries), length)
            # Beyond its shot a point keeps its last position, hidden.
            whole[name][0][rows] = np.pad(xy, ((0, 0), (first, length - last), (0, 0)), mode="edge")
            whole[name][1][rows, first:last] = visibility
        instance[rows] = shot.groups() + groups
        groups = int(instance.max()) + 1
    if not whole:
        whole["none"] = _empty(0, length)
    given = queries.instance
    # An id of the caller's must not come to mean a group that was merely found.
    base = max(_FIRST_FOUND, int(given.max(initial=-1)) + 1)
    found = Queries(queries.xyt, np.where(given >= 0, given, np.where(instance >= 0, base + instance, -1)))
    xy, visibility = whole[_final(config, whole)]
    return TrackResult(Tracks(xy, visibility, found, video.info), whole, operations)


def _part_of(progress: Report, start: int, frames: int, total: int) -> Report:
    """Reports of one shot of several, in frames of all: `frames` of `total`, from `start` on."""
    return Report(lambda stage, done, of: progress(stage, start + frames * done // of, total))


def _final(config: ImeConfig, rows: Mapping[str, _TrackRow]) -> str:
    """The row a config asks for."""
    wanted = ("all" if config.fusion else "im_clip") if config.clip else ("im_fusion" if config.fusion else "im")
    if not config.instance_motion and not config.clip:
        wanted = "none"
    return wanted if wanted in rows else "none"


def _empty(count: int, length: int) -> _TrackRow:
    return np.zeros((count, length, 2), np.float32), np.zeros((count, length), np.float32)


class _Shot:
    """One run over one shot: the steps of the method in their order."""

    def __init__(
        self,
        context: RunContext,
        queries: Queries,
        masks: Mapping[int, UInt8],
    ) -> None:
        self.context, self.config, self.queries, self.masks = context, context.config, queries, masks
        height, width = context.video.read(0, 1).shape[1:3]
        self.frame = (height, width)
        self.instances: list[Instance] = []

    def run(self) -> dict[str, _TrackRow]:
        """Every row of the ablation, by name."""
        with torch.inference_mode():
            config = self.config
            if config.instance_motion or config.resample:
                self.instances = find_instances(self.context, self.queries, self.masks)
            rows, guide = self._first_pass()
            if config.clip:
                self._windows(rows, guide)
        return {name: self._tidy(row) for name, row in rows.items()}

    def groups(self) -> IntArray:
        """int [N], the instance of each query."""
        found = np.full(len(self.queries), -1)
        for index, instance in enumerate(self.instances):
            found[instance.members] = index
        return found

    def _first_pass(self) -> tuple[dict[str, _TrackRow], FloatArray]:
        """Track queries and neighbours in the full frame (InstaTAP eq. 1, eq. 3 to eq. 7).

        Returns:
            rows so far, and the trajectories [N, T, 2] that windows follow.
        """
        queries, config = self.queries, self.config
        used = self.instances if config.instance_motion else []
        extra = [np.c_[i.points, np.full(len(i.points), i.t)] for i in used]
        points = np.concatenate([queries.xyt, *extra]).astype(np.float32)
        view = View(points, None, self.frame)
        run = self.context
        [(xy, visibility)] = drive(
            run.tracker, run.video, [view], config.chunk, run.operations, run.progress, "full frame"
        )
        count = len(queries)
        own_xy, own_vis = xy[:count], visibility[:count]
        rows: dict[str, _TrackRow] = {"none": (own_xy, own_vis)}
        if not config.instance_motion:
            return rows, own_xy
        trust = self._trust(xy, visibility)
        guided = np.empty_like(own_xy)
        first = count
        for instance in used:
            who = np.r_[instance.members, first : first + len(instance.points)]
            first += len(instance.points)
            steps = instance_steps(xy[who], visibility[who] * trust[who], config.weights)
            guided[instance.members] = integrate(queries.xy[instance.members], queries.t[instance.members], steps)
        guide = prefer_query(own_xy, own_vis, guided, queries.xyt)
        rows["im"] = (guide, own_vis)
        rows["im_fusion"] = fuse([(own_xy, own_vis), (guide, own_vis)])
        return rows, guide

    def _trust(self, xy: FloatArray, visibility: FloatArray) -> FloatArray:
        """[P, T] weights of queries and neighbours from joint masks; ones where they are off."""
        if not self.config.joint_masks:
            return np.ones_like(visibility)
        count = len(self.queries)
        belongs = np.concatenate([self.groups(), *(np.full(len(i.points), k) for k, i in enumerate(self.instances))])
        return membership(self.context, xy, visibility, belongs, np.arange(len(xy)) < count)

    def _windows(self, rows: dict[str, _TrackRow], guide: FloatArray) -> None:
        """Coarse to fine: each scale's windows follow the last scale's result (InstaTAP eq. 10); then eq. 11."""
        full = rows["none"]
        scales: list[_TrackRow] = []
        sides: list[float] = []
        for side in window_sides(self.config, self.frame, self.context.tracker.input_size):
            if (side, side) == self.frame:
                scales.append(full)  # the window is the whole frame: the same pixels, the same result
            else:
                windows = plan_windows(self.queries, guide, side, self.frame, self.config)
                scales.append(track_in_windows(self.context, self.queries, self.instances, windows))
            sides.append(side)
            guide = scales[-1][0]
        rows["im_clip"] = scales[-1]
        if self.config.fuse_full:
            scales, sides = [full, *scales], [float(np.sqrt(np.prod(self.frame))), *sides]
        by_precision = self.config.fusion_weights == "precision"
        rows["all"] = fuse(scales, scale_precision(sides, self.context.tracker.input_size) if by_precision else None)

    def _tidy(self, row: _TrackRow) -> _TrackRow:
        """A point that leaves the frame is not visible; at its query frame it is the query, and visible."""
        xy, visibility = row[0], np.where(inside(row[0], self.frame), row[1], np.float32(0))
        index = np.arange(len(self.queries))
        xy = xy.copy()
        xy[index, self.queries.t] = self.queries.xy
        visibility[index, self.queries.t] = 1.0
        return xy, np.clip(visibility, 0, 1)
