"""Frames far enough apart for parallax and near enough to share points."""

from __future__ import annotations

import numpy as np

from trackime.arrays import Float64, Int64

from ._observations import TrackObservations
from ._rotation import parallax

PARALLAX = 20.0
"""Median parallax in pixels between keyframes, in a picture WIDE pixels wide; less in a smaller one."""
WIDE = 640.0
FEWEST = 8
"""Fewest keyframes, where parallax allows it: below, the required parallax is halved, down to `LEAST` pixels."""
LEAST = 3.0
KEPT = 0.4
"""Share of a keyframe's points that the next one must still see."""
MOST = 300
"""Points a parallax is taken over."""
SEEN = 12
"""Points that a frame must see to be a keyframe."""


def keyframes(observed: TrackObservations, begin: int, end: int, size: int, focal: Float64) -> Int64:
    """The keyframes int64 [k], increasing, of frames begin .. end - 1, from the first one with points to the last.

    Args:
        observed: where points are seen.
        begin, end: the frames.
        size: the longer side of the picture, pixels.
        focal: [S] focal lengths; the parallax is what is left at the best of them.
    """
    seeing = [t for t in range(begin, end) if len(observed.at(t)) >= SEEN]
    if len(seeing) <= FEWEST:
        return np.array(seeing, np.int64)
    begin, end = seeing[0], seeing[-1] + 1
    wanted = PARALLAX * min(1.0, size / WIDE)
    while True:
        found = _walk(observed, begin, end, wanted, focal)
        if len(found) >= min(FEWEST, end - begin) or wanted <= LEAST:
            return found
        wanted = max(wanted / 2, LEAST)


def _walk(observed: TrackObservations, begin: int, end: int, wanted: float, focal: Float64) -> Int64:
    out = [begin]
    for t in range(begin + 1, end):
        if between(observed, out[-1], t, focal) >= wanted:
            out.append(t)
        elif t - out[-1] > 1 and len(observed.between(out[-1], t)[0]) < KEPT * len(observed.at(out[-1])):
            out.append(t - 1)
    if out[-1] != end - 1:
        # The last frame: a keyframe of its own, or in place of one that is nearly the same.
        if len(out) > 2 and between(observed, out[-1], end - 1, focal) < wanted / 4:
            out.pop()
        out.append(end - 1)
    return np.array(out, np.int64)


def between(observed: TrackObservations, i: int, j: int, focal: Float64) -> float:
    """The parallax in pixels between two frames, over an even sample of the points in both."""
    a, b = observed.between(i, j)
    if len(a) > MOST:
        chosen = np.linspace(0, len(a) - 1, MOST).astype(np.int64)
        a, b = a[chosen], b[chosen]
    return parallax(observed.xy[a], observed.xy[b], focal)
