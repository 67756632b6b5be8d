"""Pruning the search: windows along a trajectory (InstaTAP eq. 8), one a query or shared by an instance's queries."""

from __future__ import annotations

import numpy as np

from trackime.arrays import BoolArray, FloatArray, IntArray
from trackime.geometry import window_offsets
from trackime.ime.config import ImeConfig

_NATIVE_SIDE = 256
"""Smallest window of trackers that work on frames as they are: below it, little context is left."""

_STRAY = 0.1
"""Share of frames in which a query may be too near the edge of a shared window: one bad frame is no new window."""

_CANDIDATES = 24
"""Queries whose windows are tried as shared ones, each time one is chosen."""

_FRAMES = 96
"""Frames looked at when windows are shared: longer videos are thinned to about as many."""

_GROWING_FRAMES = 24
"""Frames looked at when a window is grown; what it holds is then decided on all of `_FRAMES`."""


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
        least = max(input_size) if input_size else _NATIVE_SIDE
        sides = [min(short, max(least, round(share * short))) for share in config.window_scales]
    return list(dict.fromkeys(sides))


def share_windows(
    xy: FloatArray,
    t: IntArray,
    side: int,
    frame: tuple[int, int],
    margin: float,
) -> list[tuple[IntArray, IntArray]]:
    """Cover queries that move together with few windows.

    Greedy: of the windows grown from the queries left, the one that holds most is taken, until none is left. A
    window grows from a query to those that stay closest to it. A query is held where it keeps `margin` of the side
    to the window's edges (the frame's own edges do not count) in its query frame and in all but `_STRAY` of the
    others. A window centred on a query holds it always.

    Args:
        xy: [M, T, 2] trajectories to follow, pixels.
        t: [M] the queries' frames.
        side: of the windows, pixels.
        frame: (H, W).
        margin: share of the side.

    Returns:
        (rows [K] of `xy`, offsets [T, 2] of their window), rows ascending; every row in exactly one.
    """
    length = xy.shape[1]
    thin = np.unique(np.r_[t, np.linspace(0, length - 1, min(length, _FRAMES)).astype(int)])
    at_query = thin == t[:, None]  # [M, T'], which of the frames is a query's own
    left = np.arange(len(xy))
    shared: list[tuple[IntArray, IntArray]] = []
    while len(left):
        paths = xy[left][:, thin]
        tries = np.unique(np.linspace(0, len(left) - 1, min(len(left), _CANDIDATES)).astype(int))
        # Each query's own window is tried too: it holds at least that query, so that the loop ends.
        few = paths[:, :: -(-len(thin) // _GROWING_FRAMES)]
        grown = [left[_grow(few, int(k), side * (1 - 2 * margin))] for k in tries]
        options = [*(_middle(xy[rows]) for rows in grown), *xy[left[tries]]]
        held = [_held(paths, c[thin], at_query[left], side, frame, margin) for c in options]
        best = int(np.argmax([h.sum() for h in held]))
        rows, centre = left[held[best]], options[best]
        # Centred on those held it looks further around each of them, unless that would lose some.
        better = _middle(xy[rows])
        if _held(xy[rows][:, thin], better[thin], at_query[rows], side, frame, margin).all():
            centre = better
        shared.append((rows, window_offsets(centre, (side, side), frame)))
        left = left[~np.isin(left, rows)]
    return shared


def _grow(xy: FloatArray, seed: int, extent: float) -> IntArray:
    """Rows of [M, T', 2] closest to row `seed`, as many as span no more than `extent` in all but `_STRAY` frames."""
    # Closeness is a high quantile over time: a stray frame does not set two queries apart, nor one far meeting them.
    apart = np.quantile(np.abs(xy - xy[seed]).max(-1), 1 - _STRAY, axis=1)  # [M]
    order = np.argsort(apart, kind="stable")
    near = order[: np.searchsorted(apart[order], extent, side="right")]
    low = np.minimum.accumulate(xy[near], 0)
    span = (np.maximum.accumulate(xy[near], 0) - low).max(-1)  # [M', T']
    fits = (span <= extent).mean(1) >= 1 - _STRAY
    return near[: max(1, int(fits.sum()))]


def _middle(xy: FloatArray) -> FloatArray:
    """[T, 2], the middle of the extent of [M, T, 2]."""
    return (xy.min(0) + xy.max(0)) / 2


def _held(
    xy: FloatArray,  # [M, T', 2]
    centre: FloatArray,  # [T', 2]
    at_query: BoolArray,  # [M, T'] the query frame of each
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
    return np.asarray((good | ~at_query).all(1) & (good.mean(1) >= 1 - _STRAY))
