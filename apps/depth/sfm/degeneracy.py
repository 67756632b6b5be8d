"""Degenerate input, from which structure from motion has no solution, detected before or after the solve."""

from __future__ import annotations

import numpy as np

from trackime.arrays import BoolArray, Float64
from trackime.errors import SolveError

from ._observations import TrackObservations
from ._rotation import explained

_FRAMES = 3
"""Frames below which there are not three views."""
POINTS = 30
"""Fewest points seen in `_FRAMES` frames or more."""
_EXPLAINED, _PIXELS = 0.9, 1.5
"""Share of the points that a rotation explains within `_PIXELS` where the camera only rotates."""
_WIDE = 0.5
"""Share of a frame's points still visible in the other frame of a wide pair."""
ANGLE = 1.0
"""Least median triangulation angle in degrees."""
_INSTEAD = "start from a depth model instead: --depth-model"


def degenerate(where: str, why: str) -> SolveError:
    """The error for frames without a solution."""
    return SolveError(f"depth from parallax{where}: {why}; {_INSTEAD}")


def check_frames(frames: int, where: str = "") -> None:
    """Raises SolveError for too few frames."""
    if frames < _FRAMES:
        raise degenerate(where, f"expected at least {_FRAMES} frames, got {frames}")


def check_enough(observed: TrackObservations, where: str) -> None:
    """Raises SolveError for too few frames or points."""
    check_frames(observed.frames, where)
    long = int((np.diff(observed.first) >= _FRAMES).sum())
    if long < POINTS:
        raise degenerate(where, f"expected at least {POINTS} points seen in {_FRAMES} frames or more, got {long}")


def check_translates(observed: TrackObservations, focal: Float64, where: str) -> None:
    """Raises SolveError where a camera that only rotates explains every wide pair of frames."""
    shares = []
    for i in np.unique(np.linspace(0, observed.frames - 1, 9)[:-1].astype(int)):
        j = _widest(observed, int(i))
        if j > i:
            a, b = observed.between(int(i), j)
            shares.append(explained(observed.xy[a], observed.xy[b], focal, _PIXELS))
    if shares and min(shares) >= _EXPLAINED:
        raise degenerate(
            where, f"the camera is static or only rotates (a rotation explains {min(shares):.0%} of the points)"
        )


def check_better(observed: TrackObservations, fits: BoolArray, focal: float, where: str) -> None:
    """Raises SolveError where a camera that only rotates explains as many points of wide pairs of frames as the cameras
    found do: their inliers are then objects that move before a static camera.

    Args:
        observed: all of them.
        fits: bool [K], those that fit the cameras found.
        focal: pixels.
        where: names the frames in errors.
    """
    turning, moving = [], []
    for i in np.unique(np.linspace(0, observed.frames - 1, 9)[:-1].astype(int)):
        j = _widest(observed, int(i))
        if j > i:
            a, b = observed.between(int(i), j)
            turning.append(explained(observed.xy[a], observed.xy[b], np.array([focal]), _PIXELS))
            moving.append(float((fits[a] & fits[b]).mean()))
    if turning and np.mean(turning) >= np.mean(moving):
        raise degenerate(
            where,
            f"a camera that only rotates explains {np.mean(turning):.0%} of the points, one that moves "
            f"{np.mean(moving):.0%}",
        )


def _widest(observed: TrackObservations, i: int) -> int:
    """The last frame with at least _WIDE of frame i's points, and POINTS of them; i where there is none."""
    need = max(POINTS, _WIDE * len(observed.at(i)))
    for j in range(observed.frames - 1, i, -1):
        if len(observed.between(i, j)[0]) >= need:
            return j
    return i
