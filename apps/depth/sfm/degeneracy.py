"""What parallax cannot do, found before anything is made up."""

from __future__ import annotations

import numpy as np

from trackime.arrays import BoolArray, Float64
from trackime.errors import SolveError

from ._rotation import explained
from ._sightings import Sightings

_FRAMES = 3
"""Frames below which there are not three views."""
POINTS = 30
"""Points seen in FRAMES frames or more, at least."""
_EXPLAINED, _PIXELS = 0.9, 1.5
"""Share of the points that a rotation explains within PIXELS where the camera only turns."""
_WIDE = 0.5
"""Share of a frame's points that the other one of a wide pair sees still."""
ANGLE = 1.0
"""Degrees of the median triangulation angle, at least."""
_INSTEAD = "start from a depth model instead: --depth-model"


def refuse(where: str, why: str) -> SolveError:
    """The error for a stretch of frames whose depth parallax cannot tell."""
    return SolveError(f"depth from parallax{where}: {why}; {_INSTEAD}")


def check_frames(frames: int, where: str = "") -> None:
    """Raises SolveError for too few frames."""
    if frames < _FRAMES:
        raise refuse(where, f"expected at least {_FRAMES} frames, got {frames}")


def check_enough(sightings: Sightings, where: str) -> None:
    """Raises SolveError for too few frames or points."""
    check_frames(sightings.frames, where)
    long = int((np.diff(sightings.first) >= _FRAMES).sum())
    if long < POINTS:
        raise refuse(where, f"expected at least {POINTS} points seen in {_FRAMES} frames or more, got {long}")


def check_translates(sightings: Sightings, focal: Float64, where: str) -> None:
    """Raises SolveError where a turning camera explains what every wide pair of frames shows."""
    shares = []
    for i in np.unique(np.linspace(0, sightings.frames - 1, 9)[:-1].astype(int)):
        j = _widest(sightings, int(i))
        if j > i:
            a, b = sightings.between(int(i), j)
            shares.append(explained(sightings.xy[a], sightings.xy[b], focal, _PIXELS))
    if shares and min(shares) >= _EXPLAINED:
        raise refuse(where, f"the camera does not move, it only turns (that explains {min(shares):.0%} of the points)")


def check_better(sightings: Sightings, fits: BoolArray, focal: float, where: str) -> None:
    """Raises SolveError where a turning camera explains as many points of wide pairs of frames as the cameras found do:
    what these fit is then what moves before a camera that stands.

    Args:
        sightings: all of them.
        fits: bool [K], those that fit the cameras found.
        focal: pixels.
        where: names the frames in errors.
    """
    turning, moving = [], []
    for i in np.unique(np.linspace(0, sightings.frames - 1, 9)[:-1].astype(int)):
        j = _widest(sightings, int(i))
        if j > i:
            a, b = sightings.between(int(i), j)
            turning.append(explained(sightings.xy[a], sightings.xy[b], np.array([focal]), _PIXELS))
            moving.append(float((fits[a] & fits[b]).mean()))
    if turning and np.mean(turning) >= np.mean(moving):
        raise refuse(
            where,
            f"a camera that only turns explains {np.mean(turning):.0%} of the points, one that moves "
            f"{np.mean(moving):.0%}",
        )


def _widest(sightings: Sightings, i: int) -> int:
    """The last frame that still sees WIDE of frame i's points, and POINTS of them; i where there is none."""
    need = max(POINTS, _WIDE * len(sightings.at(i)))
    for j in range(sightings.frames - 1, i, -1):
        if len(sightings.between(i, j)[0]) >= need:
            return j
    return i
