"""Points that come back after they were hidden for long, and whether they are found again."""

from __future__ import annotations

import numpy as np

from trackime.arrays import BoolArray, FloatArray, IntArray
from trackime.errors import ShapeError

_LONG = 8
"""Hidden frames from which a point that comes back counts."""
_FOUND_PX, _FOUND_FRAMES = 8.0, 3
"""A point is found again where it is called visible within this many pixels, in one of as many frames."""


def found_again(
    query_t: IntArray,
    truth_visible: BoolArray,
    pred_visible: BoolArray,
    error: FloatArray,
    known: BoolArray | None = None,
) -> list[bool]:
    """Whether a point was found again, for every return after `_LONG` hidden frames or more.

    Each point is followed both ways from its query frame.

    Args:
        query_t: integer [N], query frames.
        truth_visible: bool [N, T].
        pred_visible: bool [N, T].
        error: [N, T] distances between prediction and truth, pixels at 256x256.
        known: bool [N, T]; a frame that is not known ends a gap, and finds nothing. None: all are.

    Raises:
        ShapeError: arrays that do not agree.
    """
    shape = np.shape(truth_visible)
    known = np.ones(shape, bool) if known is None else known
    for name, array in (("pred_visible", pred_visible), ("error", error), ("known", known)):
        if np.shape(array) != shape:
            raise ShapeError(name, str(list(shape)), np.shape(array))
    if len(shape) != 2 or np.shape(query_t) != shape[:1]:
        raise ShapeError("query_t", "[N] of truth_visible [N, T]", np.shape(query_t))
    found = pred_visible & (error < _FOUND_PX) & known
    out: list[bool] = []
    for at, seen, sure, right in zip(query_t, truth_visible, known, found, strict=True):
        for step in (1, -1):
            frames = np.arange(shape[1])[at::step]
            hidden = 0
            for k, t in enumerate(frames):
                if seen[t] and sure[t] and hidden >= _LONG:
                    out.append(bool(right[frames[k : k + _FOUND_FRAMES]].any()))
                hidden = hidden + 1 if sure[t] and not seen[t] else 0
    return out
