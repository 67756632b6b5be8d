"""Frames that only repeat the one before, as in films converted to a higher rate or animated on twos.

Two frames are equal if no block of them differs by more than compression artefacts do. That alone does not make a
duplicate: in a static scene it holds for all frames. A duplicate lies between steps of motion, just before and just
after it, within few frames.
"""

from __future__ import annotations

from collections.abc import Collection

import cv2
import numpy as np

from trackime.arrays import Float32, FloatArray, UInt8
from trackime.progress import Report, silent
from trackime.video import Video

_SHRINK = 4
"""Side in pixels of the squares averaged into one pixel: removes noise and compression artefacts, keeps motion."""
_BLOCK = 8
"""Side of the blocks compared, in averaged pixels: small enough to detect that only a mouth moves."""
_CHUNK = 8


_SAME = 4.0
"""The largest difference of a duplicate, in grey levels of 255 averaged over a block."""
_SHARE = 0.2
"""The same, relative to the smaller step of motion beside the run."""
_MOVES = 2.0
"""The smallest step that counts as motion, in the same levels."""
_LONGEST = 5
"""Frames in a row that may be duplicates; a longer run is a still image."""


def find_duplicates(
    video: Video,
    cuts: Collection[int] = (),
    progress: Report = silent,
) -> list[int]:
    """Frames that repeat the one before while the scene moves. One pass; memory does not grow with its length.

    Args:
        video: the frames.
        cuts: frames that begin a shot; differences across a cut are no motion.
        progress: called as ``progress("duplicates", frames done, frames)``.
    """
    steps = np.zeros(len(video))  # steps[t]: how much frame t differs from t - 1
    last: Float32 | None = None
    for t0, frames in video.chunks(_CHUNK):
        for t, frame in enumerate(frames, t0):
            small = _reduce(frame)
            if last is not None:
                steps[t] = _step(last, small)
            last = small
        progress("duplicates", t0 + len(frames), len(video))
    return duplicates_of(steps, cuts)


def duplicates_of(steps: FloatArray, cuts: Collection[int] = ()) -> list[int]:
    """The frames that are duplicates, from how much each differs from the one before.

    Args:
        steps: [T], steps[t] between frames t - 1 and t; steps[0] is ignored.
        cuts: frames that begin a shot.
    """
    begins = set(cuts)
    found: list[int] = []
    t = 1
    while t < len(steps):
        if steps[t] > _SAME or t in begins:
            t += 1
            continue
        start = t
        while t < len(steps) and steps[t] <= _SAME and t not in begins:
            t += 1
        # The run is start .. t - 1; the steps before and after it show whether the scene moves.
        if t == len(steps) or t in begins or t - start > _LONGEST:
            continue
        first = start == 1 or start - 1 in begins  # the step before a shot's first frame is unknown
        beside = steps[t] if first else min(steps[t], steps[start - 1])
        if beside >= _MOVES and steps[start:t].max() <= _SHARE * beside:
            found.extend(range(start, t))
    return found


def _reduce(frame: UInt8) -> Float32:
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    size = max(1, width // _SHRINK), max(1, height // _SHRINK)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.float32)


def _step(a: Float32, b: Float32) -> float:
    """The mean absolute difference of the block with the largest one."""
    off = np.abs(a - b)
    means = cv2.blur(off, (min(_BLOCK, off.shape[1]), min(_BLOCK, off.shape[0])), borderType=cv2.BORDER_REFLECT)
    return float(means.max())
