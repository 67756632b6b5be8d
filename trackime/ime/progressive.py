"""Progressive inference: track again inside windows along the last estimate, coarse to fine (InstaTAP eq. 8-10)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trackime.ime.config import ImeConfig
from trackime.ime.drive import FrameReader, View, drive
from trackime.ime.motion import instance_steps, integrate, prefer_query
from trackime.ime.neighbours import Instance, draw_neighbours
from trackime.ime.operations import Operations, Progress, silent
from trackime.ime.pruning import share_windows
from trackime.trackers.base import PointTracker
from trackime.types import FloatArray, IntArray, Queries


@dataclass(frozen=True, eq=False)
class Window:
    """A moving window and the queries it serves.

    Attributes:
        instance: index of the instance.
        members: int [M], rows of the queries.
        offsets: int [T, 2] first pixel (x0, y0) in each frame.
        side: pixels.
    """

    instance: int
    members: IntArray
    offsets: IntArray
    side: int


def plan_windows(
    instances: list[Instance], guide: FloatArray, side: int, frame: tuple[int, int], margin: float
) -> list[Window]:
    """Windows of one side along the queries' trajectories.

    Args:
        instances: who may share (one member each: a window a query, as published).
        guide: [N, T, 2] trajectories of all queries, pixels.
        side: pixels.
        frame: (H, W).
        margin: see `share_windows`.
    """
    return [
        Window(index, instance.members[rows], offsets, side)
        for index, instance in enumerate(instances)
        for rows, offsets in share_windows(guide[instance.members], instance.t, side, frame, margin)
    ]


def track_in_windows(
    tracker: PointTracker,
    video: FrameReader,
    queries: Queries,
    instances: list[Instance],
    windows: list[Window],
    config: ImeConfig,
    operations: Operations,
    progress: Progress = silent,
) -> tuple[FloatArray, FloatArray]:
    """Each query's track inside its window.

    With `config.resample` (TrackIME) neighbours are drawn again from the part of the instance's mask that the
    window shows, followed in it, and the query is guided by their motion once more.

    Returns:
        xy float32 [N, T, 2] in pixels of the video, visibility float32 [N, T].
    """
    views, extra = [], []
    for window in windows:
        instance = instances[window.instance]
        fresh = np.zeros((0, 2), np.float32)
        if config.resample and instance.confidence is not None:
            fresh = _draw_inside(instance, window, queries, config)
        points = np.concatenate([queries.xy[window.members], fresh])
        xyt = np.concatenate([points, np.full((len(points), 1), instance.t)], 1).astype(np.float32)
        views.append(View(xyt, window.offsets, (window.side, window.side)))
        extra.append(len(fresh))
    operations.windows += len(windows)
    side = windows[0].side if windows else 0
    outputs = drive(tracker, video, views, config.chunk, operations, progress, f"windows of {side} px")
    xy = np.zeros((len(queries), len(video), 2), np.float32)
    visibility = np.zeros((len(queries), len(video)), np.float32)
    for window, count, (window_xy, window_vis) in zip(windows, extra, outputs, strict=True):
        own = len(window.members)
        xy[window.members], visibility[window.members] = window_xy[:own], window_vis[:own]
        if count:
            asked = queries.xyt[window.members]
            steps = instance_steps(window_xy, window_vis, config.weights)
            guided = integrate(asked[:, :2], asked[:, 2].astype(np.int64), steps)
            xy[window.members] = prefer_query(window_xy[:own], window_vis[:own], guided, asked)
    return xy, visibility


def _draw_inside(instance: Instance, window: Window, queries: Queries, config: ImeConfig) -> FloatArray:
    """Neighbours [S, 2] of the part of the instance that the window shows in the query frame."""
    assert instance.confidence is not None
    x0, y0 = window.offsets[instance.t].tolist()
    shown = np.zeros(instance.confidence.shape, np.float32)
    part = np.s_[y0 : y0 + window.side, x0 : x0 + window.side]
    shown[part] = instance.confidence[part] / np.float32(255)
    return draw_neighbours(shown, queries.xy[window.members[0]], instance.t, config)
