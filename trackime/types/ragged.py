"""Tracks of different lengths, stored as one list of observations: what dense tracking of long videos produces.

Thousands of points that are visible for a short while each would be mostly padding as `Tracks` [N, T]; here memory is
proportional to the number of observations, whatever the length of the video.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from trackime.arrays import BoolArray, Float32, Int64, inside
from trackime.errors import FormatError, InputError, ShapeError
from trackime.files import atomic, read_npz, reading
from trackime.types.tracks import Queries, Tracks, VideoInfo

SCHEMA = "trackime-trails/1"
"""Schema of the npz that `RaggedTracks.save` writes."""

_SIGMA = 0.5
"""Expected error in pixels where the tracker states none. A value too large costs accuracy of the cameras."""


@dataclass(frozen=True, eq=False)
class RaggedTracks:
    """N points of a video of F frames and their K observations, sorted by point, then by frame.

    Attributes:
        frames: F.
        first: int64 [N + 1]; the observations of point n are rows first[n] .. first[n + 1] - 1, at least one.
        frame: int64 [K], increasing within a point; in the frames between it is hidden.
        xy: float32 [K, 2], source pixels, the centre of the top-left pixel at (0.5, 0.5).
        sigma: float32 [K], expected error in pixels.
        instance: int64 [N], the object a point belongs to, -1 where unknown.

    Raises:
        ShapeError: arrays that do not agree.
        InputError: frames out of order or of the video, positions or errors that are not finite or positive.
    """

    frames: int
    first: Int64
    frame: Int64
    xy: Float32
    sigma: Float32
    instance: Int64

    def __post_init__(self) -> None:
        types = {"first": np.int64, "frame": np.int64, "xy": np.float32, "sigma": np.float32, "instance": np.int64}
        for name, dtype in types.items():
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype))
        n, k = len(self.first) - 1, len(self.frame)
        shapes = {"first": (max(n, 0) + 1,), "frame": (k,), "xy": (k, 2), "sigma": (k,), "instance": (max(n, 0),)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ShapeError(name, str(list(shape)), getattr(self, name).shape)
        if self.first[0] != 0 or self.first[-1] != k or (np.diff(self.first) < 1).any():
            raise InputError(f"first: expected to increase from 0 to {k}, at least one observation per point")
        if k and not (0 <= self.frame.min() and self.frame.max() < self.frames):
            got = f"{self.frame.min()} .. {self.frame.max()}"
            raise InputError(f"frame: expected 0 .. {self.frames - 1}, got {got}")
        rising = np.diff(self.frame) > 0
        rising[self.first[1:-1] - 1] = True
        if not rising.all():
            raise InputError("frame: expected to increase within a point")
        if not np.isfinite(self.xy).all() or not (np.isfinite(self.sigma) & (self.sigma > 0)).all():
            raise InputError("tracks: expected finite positions and errors above 0")

    def __len__(self) -> int:
        return len(self.instance)

    @property
    def point(self) -> Int64:
        """int64 [K], the point of each observation."""
        return np.repeat(np.arange(len(self)), self.length)

    @property
    def length(self) -> Int64:
        """int64 [N], the number of observations of each point."""
        return np.diff(self.first)

    @cached_property
    def _by_frame(self) -> tuple[Int64, Int64]:
        """Rows int64 [K] sorted by frame, then by point, and where each frame begins in them, int64 [F + 1]."""
        order = np.argsort(self.frame, kind="stable")
        return order, np.searchsorted(self.frame[order], np.arange(self.frames + 1))

    def rows(self, t: int) -> Int64:
        """Rows int64 [M] of the observations in frame t, sorted by point; none where there is no such frame."""
        if not 0 <= t < self.frames:
            return np.zeros(0, np.int64)
        order, start = self._by_frame
        return order[start[t] : start[t + 1]]

    def at(self, t: int) -> tuple[Int64, Int64]:
        """Points int64 [M] observed in frame t, increasing, and the rows int64 [M] of these observations."""
        rows = self.rows(t)
        return np.searchsorted(self.first, rows, side="right") - 1, rows

    def between(self, i: int, j: int) -> tuple[Int64, Int64, Int64]:
        """Points int64 [M] observed in both frames, and the rows of these observations in frame i [M] and j [M]."""
        (points, here), (others, there) = self.at(i), self.at(j)
        if not len(there):
            points, here = points[:0], here[:0]
        place = np.searchsorted(others, points)
        place[place == len(others)] = 0
        same = others[place] == points
        return points[same], here[same], there[place[same]]

    def crossing(self) -> Int64:
        """int64 [F - 1]: the number of points observed both in frame t or before it, and after it."""
        change = np.zeros(self.frames, np.int64)
        if len(self):
            np.add.at(change, self.frame[self.first[:-1]], 1)
            np.add.at(change, self.frame[self.first[1:] - 1], -1)
        return np.cumsum(change)[:-1]

    def take(self, points: Int64 | BoolArray) -> RaggedTracks:
        """Some of the points: indices in any order, or a mask bool [N]."""
        chosen = np.arange(len(self))[points]
        count = self.length[chosen]
        first = np.concatenate(([0], np.cumsum(count)))
        rows = np.arange(first[-1]) + np.repeat(self.first[chosen] - first[:-1], count)
        return RaggedTracks(
            self.frames, first, self.frame[rows], self.xy[rows], self.sigma[rows], self.instance[chosen]
        )

    def seen(self, rows: BoolArray) -> RaggedTracks:
        """The observations of a mask bool [K]; points without any are dropped."""
        count = np.add.reduceat(rows.astype(np.int64), self.first[:-1]) if len(self) else np.zeros(0, np.int64)
        first = np.concatenate(([0], np.cumsum(count[count > 0])))
        instance = self.instance[count > 0]
        return RaggedTracks(self.frames, first, self.frame[rows], self.xy[rows], self.sigma[rows], instance)

    def window(self, start: int, stop: int) -> tuple[RaggedTracks, Int64]:
        """Observations in frames start .. stop - 1, frames counted from start, and their points int64 [M].

        Raises:
            InputError: not 0 <= start < stop <= F.
        """
        if not 0 <= start < stop <= self.frames:
            raise InputError(f"window: expected 0 <= start < stop <= {self.frames}, got [{start}, {stop})")
        rows = (self.frame >= start) & (self.frame < stop)
        part = self.seen(rows)
        left = RaggedTracks(stop - start, part.first, part.frame - start, part.xy, part.sigma, part.instance)
        return left, np.unique(self.point[rows])

    @classmethod
    def none(cls, frames: int) -> RaggedTracks:
        """No points in a video of `frames` frames."""
        empty = np.zeros(0, np.int64)
        return cls(frames, np.zeros(1, np.int64), empty, np.zeros((0, 2), np.float32), np.zeros(0, np.float32), empty)

    @classmethod
    def of(cls, tracks: Tracks, sigma: float = _SIGMA) -> RaggedTracks:
        """Observations of tracks: where they are visible and inside the frame. Tracks without any are dropped."""
        good = tracks.visible & inside(tracks.xy, (tracks.video.height, tracks.video.width))  # [N, T]
        count = good.sum(1)
        point, frame = np.nonzero(good)
        first = np.concatenate(([0], np.cumsum(count[count > 0])))
        error = np.full(len(frame), sigma)
        return cls(tracks.video.frames, first, frame, tracks.xy[point, frame], error, tracks.instance[count > 0])

    def to_dense(self, video: VideoInfo) -> Tracks:
        """These points as `Tracks` of `video`: a query is a point's first observation.

        Visibility is 1 where a point is observed, else 0. Positions in between are interpolated linearly; before the
        first observation and after the last one they are those of that observation.

        Raises:
            InputError: a video of another number of frames.
        """
        if video.frames != self.frames:
            raise InputError(f"video: expected {self.frames} frames as the tracks, got {video.frames}")
        xy, visibility = np.zeros((len(self), self.frames, 2)), np.zeros((len(self), self.frames))
        start, stop = self.first[:-1], self.first[1:] - 1
        if len(self):
            # One axis for all points, on which observations increase: a point's frames are held within its own.
            frames = np.clip(np.arange(self.frames), self.frame[start, None], self.frame[stop, None])
            axis, known = frames + self.frames * np.arange(len(self))[:, None], self.frame + self.frames * self.point
            xy = np.stack([np.interp(axis, known, self.xy[:, i]) for i in (0, 1)], -1)
            visibility[self.point, self.frame] = 1
        xyt = np.concatenate([self.xy[start], self.frame[start, None]], 1)
        return Tracks(xy, visibility, Queries(xyt, self.instance), video)

    @classmethod
    def join(cls, parts: Sequence[RaggedTracks]) -> RaggedTracks:
        """All points of `parts`, in order. InputError where there are none or they are of different videos."""
        if not parts or any(part.frames != parts[0].frames for part in parts):
            raise InputError(f"join: expected tracks of one video, got {[part.frames for part in parts]} frames")
        first = np.concatenate([[0], *(np.diff(part.first) for part in parts)]).cumsum()
        names = [item.name for item in fields(cls)][2:]
        return cls(parts[0].frames, first, *(np.concatenate([getattr(p, name) for p in parts]) for name in names))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an npz (numpy arrays, no pickle) with a schema version; atomic."""
        with atomic(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, schema=np.array(SCHEMA), **{item.name: getattr(self, item.name) for item in fields(self)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RaggedTracks:
        """Read what `save` wrote. FormatError where it is something else."""
        names = [item.name for item in fields(cls)]
        with reading(path, f"an npz of ragged tracks ({SCHEMA})"):
            file = read_npz(path, ("schema", *names))
            if str(file["schema"]) != SCHEMA:
                raise FormatError(f"expected schema {SCHEMA}, got {str(file['schema'])[:40]!r}")
            return cls(int(file["frames"]), *(file[name] for name in names[1:]))
