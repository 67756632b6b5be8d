"""Frames that only repeat the one before, as films leave them that were brought to a higher rate or drawn on twos.

Two frames are the same if no block of them differs by more than compression leaves. That is not enough to be a
duplicate: in a still scene it holds for all of them. A duplicate stands between steps of motion: much moves just before
and just after it, and within few frames.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np

from trackime.arrays import Float32, FloatArray, UInt8
from trackime.progress import Report
from trackime.video import Video

_SHRINK = 4
"""Pixels to a side averaged into one: noise and what compression does to single pixels is gone, motion is not."""
_BLOCK = 8
"""Side of the blocks compared, in averaged pixels: small enough that a mouth that moves alone is seen."""
_CHUNK = 8


@dataclass(frozen=True)
class Likeness:
    """What makes a duplicate.

    Attributes:
        same: the greatest difference, in grey levels of 255 and averaged over a block, of a frame from a duplicate.
        share: and no more than this part of the lesser step of motion beside the run.
        moves: the least step that counts as motion, in the same levels.
        longest: frames in a row that may be duplicates; a longer run is a still picture.
    """

    same: float = 4.0
    share: float = 0.2
    moves: float = 2.0
    longest: int = 5


def find_duplicates(
    video: Video,
    cuts: Collection[int] = (),
    likeness: Likeness | None = None,
    progress: Report | None = None,
) -> list[int]:
    """Frames that repeat the one before while the scene moves. One pass; memory does not grow with the length.

    Args:
        video: the frames.
        cuts: frames that begin a shot; what happens across one is no motion.
        likeness: thresholds.
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
        if progress is not None:
            progress("duplicates", t0 + len(frames), len(video))
    return duplicates_of(steps, cuts, likeness)


def duplicates_of(steps: FloatArray, cuts: Collection[int] = (), likeness: Likeness | None = None) -> list[int]:
    """Which frames are duplicates, from how much each differs from the one before.

    Args:
        steps: [T], steps[t] between frames t - 1 and t; steps[0] is not looked at.
        cuts: frames that begin a shot.
        likeness: thresholds.
    """
    like, begins = likeness or Likeness(), set(cuts)
    found: list[int] = []
    t = 1
    while t < len(steps):
        if steps[t] > like.same or t in begins:
            t += 1
            continue
        start = t
        while t < len(steps) and steps[t] <= like.same and t not in begins:
            t += 1
        # The run is start .. t - 1; the steps before and after it say whether the scene moves.
        if t == len(steps) or t in begins or t - start > like.longest:
            continue
        first = start == 1 or start - 1 in begins  # nothing is known of what was before a shot's first frame
        beside = steps[t] if first else min(steps[t], steps[start - 1])
        if beside >= like.moves and steps[start:t].max() <= like.share * beside:
            found.extend(range(start, t))
    return found


def _reduce(frame: UInt8) -> Float32:
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    size = max(1, width // _SHRINK), max(1, height // _SHRINK)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.float32)


def _step(a: Float32, b: Float32) -> float:
    """The mean absolute difference of the block that differs most."""
    off = np.abs(a - b)
    means = cv2.blur(off, (min(_BLOCK, off.shape[1]), min(_BLOCK, off.shape[0])), borderType=cv2.BORDER_REFLECT)
    return float(means.max())
