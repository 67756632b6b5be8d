"""Progressive inference: track again inside windows along the last estimate, coarse to fine (InstaTAP eq. 8-10)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trackime.arrays import FloatArray, IntArray
from trackime.ime._context import RunContext
from trackime.ime._drive import View, drive
from trackime.ime.config import ImeConfig
from trackime.ime.motion import instance_steps, integrate, prefer_query
from trackime.ime.neighbours import Instance, draw_neighbours
from trackime.ime.pruning import share_windows
from trackime.types import Queries


@dataclass(frozen=True, eq=False)
class TrackedWindow:
    """A moving window and the queries it serves.

    Attributes:
        members: int [M], rows of the queries, of any query frames.
        offsets: int [T, 2] first pixel (x0, y0) in each frame.
        side: pixels.
    """

    members: IntArray
    offsets: IntArray
    side: int


def plan_windows(
    queries: Queries, guide: FloatArray, side: int, frame: tuple[int, int], config: ImeConfig
) -> list[TrackedWindow]:
    """Windows of one side along the queries' trajectories (InstaTAP eq. 8).

    With `config.windows == "query"` one each, as published. Else whatever keeps together shares a window: the
    queries of an instance do, and so do instances that stay side by side (the parts of a background, say).
    Queries are visited by position, so that their order changes nothing.

    Args:
        queries: the N queries.
        guide: [N, T, 2] trajectories to follow, pixels.
        side: pixels.
        frame: (H, W).
        config: windows, margin.
    """
    order = np.lexsort((queries.xy[:, 0], queries.xy[:, 1], queries.t))
    groups = [order[k : k + 1] for k in range(len(order))] if config.windows == "query" else [order]
    return [
        TrackedWindow(rows[held], offsets, side)
        for rows in groups
        for held, offsets in share_windows(guide[rows], queries.t[rows], side, frame, config.margin)
    ]


def track_in_windows(
    context: RunContext, queries: Queries, instances: list[Instance], windows: list[TrackedWindow]
) -> tuple[FloatArray, FloatArray]:
    """Each query's track inside its window (InstaTAP eq. 9; eq. 10 calls it for each scale).

    With `config.resample` (TrackIME) neighbours are drawn again from the part of the instance's mask that the
    window shows, followed in it, and the query is guided by their motion once more.

    Returns:
        xy float32 [N, T, 2] in pixels of the video, visibility float32 [N, T].
    """
    config, length = context.config, len(context.video)
    guides = [_guides(window, queries, instances, config) if config.resample else [] for window in windows]
    views = []
    for window, found in zip(windows, guides, strict=True):
        # Fresh neighbours belong to the frame of the queries they are drawn for.
        drawn = [np.c_[points, np.full(len(points), queries.t[window.members[own[0]]])] for own, points in found]
        points = np.concatenate([queries.xyt[window.members], *drawn]).astype(np.float32)
        views.append(View(points, window.offsets, (window.side,) * 2))
    context.operations.windows += len(windows)
    side = windows[0].side if windows else 0
    outputs = drive(
        context.tracker,
        context.video,
        views,
        config.chunk,
        context.operations,
        context.progress,
        f"windows of {side} px",
    )
    xy = np.zeros((len(queries), length, 2), np.float32)
    visibility = np.zeros((len(queries), length), np.float32)
    for window, found, (window_xy, window_vis) in zip(windows, guides, outputs, strict=True):
        first = len(window.members)
        xy[window.members], visibility[window.members] = window_xy[:first], window_vis[:first]
        for own, fresh in found:
            who = np.r_[own, first : first + len(fresh)]
            first += len(fresh)
            members = queries.xyt[window.members[own]]
            steps = instance_steps(window_xy[who], window_vis[who], config.weights)
            guided = integrate(members[:, :2], members[:, 2].astype(np.int64), steps)
            xy[window.members[own]] = prefer_query(window_xy[own], window_vis[own], guided, members)
    return xy, visibility


def _guides(
    window: TrackedWindow, queries: Queries, instances: list[Instance], config: ImeConfig
) -> list[tuple[IntArray, FloatArray]]:
    """For each instance in a window: its members' places in `window.members`, and fresh neighbours [S, 2]."""
    found: list[tuple[IntArray, FloatArray]] = []
    for instance in instances:
        own = np.flatnonzero(np.isin(window.members, instance.members))
        if len(own) and instance.confidence is not None:
            x0, y0 = window.offsets[instance.t].tolist()
            part = np.s_[y0 : y0 + window.side, x0 : x0 + window.side]
            shown = np.zeros(instance.confidence.shape, np.float32)
            shown[part] = instance.confidence[part] / np.float32(255)
            found.append((own, draw_neighbours(shown, queries.xy[window.members[own[0]]], instance.t, config)))
    return found
