"""The result of structure from motion on tracks: one camera per frame and sparse points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trackime.arrays import BoolArray, Float64, Int64
from trackime.errors import InputError, ShapeError
from trackime.geometry import Cameras


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Cameras of all frames and the points that fit them, from tracks alone.

    Cuts split a video into parts, and each part has its own world: that of its first camera, scaled so that the median
    depth of its points over the frames that see them is 1. Positions in different parts are unrelated.

    Attributes:
        cameras: of all F frames.
        known: bool [F]; False where no pose fits and the camera is interpolated between its neighbours in time.
        points: float64 [P, 3], in the world of their part.
        point: int64 [P], increasing; the index of each point in the tracks.
        keyframes: int64 [k], increasing; the frames whose cameras and points were solved together.
        error: median distance in pixels between the points' projections and where they are seen.
        part: int64 [F], increasing from 0: frames of one number share a world. All 0 without cuts.

    Raises:
        ShapeError: arrays that do not agree with the cameras or with each other.
        InputError: points that are not finite, indices out of order or of the video.
    """

    cameras: Cameras
    known: BoolArray
    points: Float64
    point: Int64
    keyframes: Int64
    error: float
    part: Int64

    def __post_init__(self) -> None:
        kinds = {"known": np.bool_, "points": np.float64, "point": np.int64, "keyframes": np.int64, "part": np.int64}
        for name, kind in kinds.items():
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind))
        frames, number = len(self.cameras), len(self.point)
        shapes = {"known": (frames,), "part": (frames,), "points": (number, 3), "point": (number,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ShapeError(name, str(list(shape)), getattr(self, name).shape)
        if not np.isfinite(self.points).all():
            raise InputError("points: expected finite numbers, got NaN or infinity")
        for name in ("point", "keyframes"):
            values = getattr(self, name)
            if values.ndim != 1 or (np.diff(values) < 1).any() or (values < 0).any():
                raise InputError(f"{name}: expected increasing indices")
        if len(self.keyframes) and self.keyframes[-1] >= frames:
            raise InputError(f"keyframes: expected 0 .. {frames - 1}, got {self.keyframes[-1]}")
        if frames and (self.part[0] != 0 or not np.isin(np.diff(self.part), (0, 1)).all()):
            raise InputError("part: expected numbers that increase from 0 by 1")
