"""Where new shots begin: hard cuts, found in one pass over small frames.

Two frames belong to one shot if blocks of one match near their position in the other (so pans, fast motion,
flashes and fades are no cuts) or if their colours agree. A cut is a place where neither holds, for any pair of
frames across it, and which stands out from its surroundings. Gradual transitions (dissolves, fades) are not cuts.
A missed cut is preferred to a false one, which breaks every track across it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import cv2
import numpy as np

from trackime.arrays import Float32, PixelArray, UInt8
from trackime.errors import InputError
from trackime.progress import Report
from trackime.video.reader import Video, open_video

_GRID = (96, 64)  # width, height frames are reduced to
_BLOCK = 16  # side of the blocks that are matched
_REACH = 14  # how far a block may have moved, in pixels of GRID: 15 % of the frame's width
_ACROSS = 4  # frames compared on either side of a cut: a flash this long or shorter is not one
_AROUND = 6  # frames on either side that a cut must stand out from
_FLAT = 1.0  # standard deviation in grey levels below which a block cannot be matched
_CHUNK = 16


@dataclass
class _Small:
    """Reduced copy of a frame."""

    grey: Float32  # [64, 96], smoothed slightly against noise
    colours: Float32  # [648], histogram of sum 1


def find_cuts(
    video: str | os.PathLike[str] | PixelArray | Video,
    threshold: float = 0.45,
    progress: Report | None = None,
) -> list[int]:
    """Indices of the frames that begin a new shot; frame 0 is not among them.

    Memory does not grow with the video's length.

    Args:
        video: anything `open_video` takes.
        threshold: dissimilarity in (0, 1) above which two frames may lie in different shots; higher finds fewer cuts.
        progress: called as ``progress("cuts", frames done, frames)``.

    Raises:
        InputError: threshold not in (0, 1).
        VideoError: the video cannot be read.
    """
    if not 0 < threshold < 1:
        raise InputError(f"threshold: expected above 0 and below 1, got {threshold}")
    opened = open_video(video)
    try:
        return _find(opened, threshold, progress)
    finally:
        if opened is not video:
            opened.close()


def _find(video: Video, threshold: float, progress: Report | None) -> list[int]:
    count = len(video)
    cuts: list[int] = []
    steps: dict[int, float] = {}  # dissimilarity of frames t - 1 and t
    small: dict[int, _Small] = {}
    ahead = max(_ACROSS, _AROUND)
    for t0, frames in video.chunks(_CHUNK):
        for t, frame in enumerate(frames, t0):
            small[t] = _reduce(frame)
            if t:
                steps[t] = _dissimilarity(small[t - 1], small[t])
            if t - ahead >= 1 and _is_cut(t - ahead, steps, small, threshold):
                cuts.append(t - ahead)
            small.pop(t - ahead - _ACROSS - 1, None)
            steps.pop(t - ahead - _AROUND - 1, None)
        if progress is not None:
            progress("cuts", t0 + len(frames), count)
    for t in range(max(1, count - ahead), count):
        if _is_cut(t, steps, small, threshold):
            cuts.append(t)
    return cuts


def _is_cut(t: int, steps: dict[int, float], small: dict[int, _Small], threshold: float) -> bool:
    step = steps[t]
    if step < threshold:
        return False
    # With a shaken or whipped camera several consecutive frames are dissimilar: undecidable.
    around = [steps[k] for k in range(t - _AROUND, t + _AROUND + 1) if k != t and k in steps]
    if around and step - float(np.median(around)) < 0.5 * threshold:
        return False
    if any(steps.get(k, 0.0) > step for k in (t - 1, t + 1)):
        return False
    # A flash, a hand in front of the lens, a broken frame: the frames before and after it match.
    for reach in range(2, _ACROSS + 1):
        for a in range(t - reach, t):
            b = a + reach
            if a in small and b in small and _dissimilarity(small[a], small[b]) < 0.8 * threshold:
                return False
    return True


def _reduce(frame: UInt8) -> _Small:
    little = cv2.resize(frame, _GRID, interpolation=cv2.INTER_AREA)
    grey = cv2.GaussianBlur(cv2.cvtColor(little, cv2.COLOR_RGB2GRAY), (3, 3), 0.8).astype(np.float32)
    lab = cv2.cvtColor(little, cv2.COLOR_RGB2LAB)
    # Grey (128) lies in the middle of a bin of a and b, not between two.
    colours = cv2.calcHist([lab], [0, 1, 2], None, [8, 9, 9], [0, 256, 56, 200, 56, 200])
    # Neighbouring bins share: a small shift of all colours must not empty one into the next.
    colours = _spread(colours.reshape(8, 9, 9).astype(np.float32))
    return _Small(grey, (colours / max(float(colours.sum()), 1e-6)).ravel())


def _spread(histogram: Float32) -> Float32:
    for axis in range(3):
        padded = np.pad(histogram, [(1, 1) if k == axis else (0, 0) for k in range(3)], mode="edge")
        n = histogram.shape[axis]
        histogram = (
            0.5 * histogram + 0.25 * padded.take(range(n), axis=axis) + 0.25 * padded.take(range(2, n + 2), axis=axis)
        )
    return histogram


def _dissimilarity(a: _Small, b: _Small) -> float:
    """0 (same shot) .. 1: how little structure matches, and how far the colours differ."""
    colour = 1.0 - float(np.minimum(a.colours, b.colours).sum())
    if colour == 0.0:
        return 0.0
    lost = 0.5 * (_lost(a.grey, b.grey) + _lost(b.grey, a.grey))
    # Geometric mean: a cut needs both. Lost structure in unchanged colours is motion, changed colours
    # over found structure is light.
    return float(np.sqrt(lost * min(1.0, 1.5 * colour)))


def _lost(a: Float32, b: Float32) -> float:
    """The share of the structure of `a`, 0 .. 1, that is not found near its place in `b`."""
    height, width = a.shape
    lost = weights = 0.0
    flat = 0
    for y in range(0, height - _BLOCK + 1, _BLOCK):
        for x in range(0, width - _BLOCK + 1, _BLOCK):
            block = a[y : y + _BLOCK, x : x + _BLOCK]
            contrast = float(block.std())
            if contrast < _FLAT:
                flat += 1
                continue
            y0, x0 = max(0, y - _REACH), max(0, x - _REACH)
            near = b[y0 : y + _BLOCK + _REACH, x0 : x + _BLOCK + _REACH]
            found = float(cv2.matchTemplate(near, block, cv2.TM_CCOEFF_NORMED).max())
            if not np.isfinite(found):
                found = 0.0
            # Chance alone finds 0.6 of a smooth block somewhere near: that is where "not at all" begins.
            lost += contrast * float(np.clip((0.95 - found) / 0.35, 0.0, 1.0))
            weights += contrast
    # Flat blocks (black, sky) have no structure to lose: only their colours count.
    blocks = (height // _BLOCK) * (width // _BLOCK)
    if not weights:
        return 1.0
    return (lost / weights) * (1 - flat / blocks) + flat / blocks
