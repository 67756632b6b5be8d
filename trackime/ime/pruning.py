"""Pruning the search: windows along a trajectory, one a query or shared by an instance's queries."""

from __future__ import annotations

import numpy as np

from trackime.geometry import window_offsets
from trackime.ime.config import ImeConfig
from trackime.types import BoolArray, FloatArray, IntArray

NATIVE_SIDE = 256
"""Smallest window of trackers that work on frames as they are: below it, little context is left."""

STRAY = 0.1
"""Share of frames in which a query may be too near the edge of a shared window: one bad frame is no new window."""

CANDIDATES = 24
"""Queries whose windows are tried as shared ones, each time one is chosen."""

FRAMES = 96
"""Frames looked at when windows are shared: longer videos are thinned to about as many."""


def window_sides(config: ImeConfig, frame: tuple[int, int], input_size: tuple[int, int] | None) -> list[int]:
    """Sides of the square windows, coarse to fine, pixels.

    side = max(tracker input, round(f min(H, W))), at most min(H, W); `config.windows_px` replaces the shares f.
    A side that comes out twice is used once: a second pass over the same pixels refines nothing.

    Args:
        config: window_scales, windows_px.
        frame: (H, W).
        input_size: the tracker's (h, w), None for native ones.
    """
    short = min(frame)
    if config.windows_px:
        sides = [min(short, side) for side in config.windows_px]
    else:
        least = max(input_size) if input_size else NATIVE_SIDE
        sides = [min(short, max(least, round(share * short))) for share in config.window_scales]
    return list(dict.fromkeys(sides))


def share_windows(
    xy: FloatArray,
    t: int,
    side: int,
    frame: tuple[int, int],
    margin: float,
) -> list[tuple[IntArray, IntArray]]:
    """Cover queries that move together with few windows.

    Greedy: the window that holds most of the queries left is centred on those it holds, until none is left. A
    query is held where it keeps `margin` of the side to the window's edges (the frame's own edges do not count)
    in its query frame and in all but `STRAY` of the others. A window centred on a query holds it always.

    Args:
        xy: [M, T, 2] trajectories to follow, pixels.
        t: the queries' frame.
        side: of the windows, pixels.
        frame: (H, W).
        margin: share of the side.

    Returns:
        (rows [K] of `xy`, offsets [T, 2] of their window), rows ascending; every row in exactly one.
    """
    thin = np.unique(np.r_[t, np.linspace(0, xy.shape[1] - 1, min(xy.shape[1], FRAMES)).astype(int)])
    left = np.arange(len(xy))
    shared: list[tuple[IntArray, IntArray]] = []
    while len(left):
        tries = left[np.unique(np.linspace(0, len(left) - 1, min(len(left), CANDIDATES)).astype(int))]
        middle = _middle(xy[left][:, thin])
        held = [_held(xy[left][:, thin], c, thin, t, side, frame, margin) for c in (middle, *xy[tries][:, thin])]
        best = int(np.argmax([h.sum() for h in held]))
        rows = left[held[best]]
        # Centre on those held; keep the member-centred window where recentring would lose some.
        centre = _middle(xy[rows])
        if not _held(xy[rows][:, thin], centre[thin], thin, t, side, frame, margin).all():
            centre = _middle(xy[left]) if best == 0 else xy[tries[best - 1]]
        shared.append((rows, window_offsets(centre, (side, side), frame)))
        left = left[~np.isin(left, rows)]
    return shared


def _middle(xy: FloatArray) -> FloatArray:
    """[T, 2], the middle of the extent of [M, T, 2]."""
    return (xy.min(0) + xy.max(0)) / 2


def _held(
    xy: FloatArray,  # [M, T', 2]
    centre: FloatArray,  # [T', 2]
    frames: IntArray,  # [T'] the frames these are
    t: int,
    side: int,
    frame: tuple[int, int],
    margin: float,
) -> BoolArray:
    """bool [M]: which queries a window along `centre` holds."""
    first = window_offsets(centre, (side, side), frame)
    limit = np.array([frame[1], frame[0]])
    edge = margin * side
    low = np.where(first > 0, first + edge, -np.inf)
    high = np.where(first + side < limit, first + side - edge, np.inf)
    good = np.all((xy >= low) & (xy <= high), axis=-1)  # [M, T']
    return np.asarray(good[:, frames == t].all(1) & (good.mean(1) >= 1 - STRAY))
