"""Data types of the whole package: `VideoInfo`, `Queries`, `Tracks`. Numpy only.

Points are (x, y) in pixels of the source video: x to the right, y down, the centre of the top-left pixel at
(0.5, 0.5), so that the frame spans [0, W] x [0, H].
"""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trackime.arrays import AnyArray, BoolArray, FloatArray, Int64, IntArray, inside
from trackime.errors import FormatError, InputError, ShapeError
from trackime.files import atomic, read_npz, reading

SCHEMA = "trackime-tracks/1"
"""Schema of the npz that `Tracks.save` writes."""

VISIBLE = 0.5
"""A point is visible where its visibility is above this."""


def _frozen(value: npt.ArrayLike, dtype: npt.DTypeLike, name: str) -> AnyArray:
    """A read-only copy of `value` as `dtype`; InputError where it is not numbers at all."""
    try:
        # What overflows becomes infinite, and is refused where it is not allowed rather than warned of here.
        with np.errstate(over="ignore", invalid="ignore"):
            given = np.asarray(value)
            if given.dtype.kind == "c":
                raise TypeError("complex numbers")
            array = np.array(given, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected numbers, got {type(value).__name__} ({error})") from None
    array.setflags(write=False)
    return array


def _whole(value: Any, name: str) -> int:
    """`value` as a Python int; InputError where it is not a whole number."""
    try:
        return operator.index(value)
    except TypeError:
        raise InputError(f"{name}: expected a whole number, got {value!r}") from None


def _ids(value: npt.ArrayLike) -> AnyArray:
    """A read-only int32 copy of `value`; InputError where a cast would change it."""
    given = np.asarray(value)
    if given.size and given.dtype.kind not in "iub":
        given = _frozen(value, np.float64, "instance")
        if not (given == np.round(given)).all():
            raise InputError("instance: expected whole numbers")
    limits = np.iinfo(np.int32)
    if given.size and not (given.min() >= limits.min and given.max() <= limits.max):
        raise InputError(f"instance: expected ids in {limits.min} .. {limits.max}")
    return _frozen(given, np.int32, "instance")


def _frame_name(value: Any) -> str:
    """A frame's name; InputError for one that, as a file's stem, would leave its folder."""
    name = str(value)
    if name in ("", ".", "..") or any(c in "/\\\0" for c in name):
        raise InputError(f"names: expected file stems without folders, got {name[:60]!r}")
    return name


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """Size, times and names of a video's frames.

    Attributes:
        width: frame width in pixels, rotation metadata applied.
        height: frame height in pixels, rotation metadata applied.
        pts: float64 [T], presentation time of each frame in seconds, strictly increasing.
        names: T frame names without suffix (file stems of a frame folder, else ``00000`` on).
        source: where the frames come from, for messages and results; may be empty.

    Raises:
        InputError: a size that is not a whole number of 1 or more, times that do not increase or are not finite,
            names of another number or with a folder in them (results are named after frames).
    """

    width: int
    height: int
    pts: FloatArray
    names: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        for side in ("width", "height"):
            object.__setattr__(self, side, _whole(getattr(self, side), f"video {side}"))
        if self.width < 1 or self.height < 1:
            raise InputError(f"video size: expected at least 1x1, got {self.width}x{self.height}")
        pts = _frozen(self.pts, np.float64, "pts")
        if pts.ndim != 1:
            raise ShapeError("pts", "[T]", pts.shape)
        if not np.isfinite(pts).all() or (np.diff(pts) <= 0).any():
            raise InputError("pts: expected finite, strictly increasing seconds")
        object.__setattr__(self, "pts", pts)
        names = tuple(map(_frame_name, self.names)) or tuple(f"{t:05d}" for t in range(len(pts)))
        if len(names) != len(pts):
            raise InputError(f"names: expected {len(pts)} (one per frame), got {len(names)}")
        object.__setattr__(self, "names", names)

    @property
    def frames(self) -> int:
        """Number of frames T."""
        return len(self.pts)

    @property
    def fps(self) -> float:
        """Frames per second: the mean rate where times are regular to a millisecond, else from the median interval.

        25 where there are fewer than two frames. Containers that round times to milliseconds (mkv, webm) make 24
        fps look like intervals of 41 and 42 ms, whose median is neither.
        """
        if len(self.pts) < 2:
            return 25.0
        steps = np.diff(self.pts)
        mean = (self.pts[-1] - self.pts[0]) / len(steps)
        regular = np.abs(steps - mean).max() <= 1.001e-3
        return float(1.0 / (mean if regular else np.median(steps)))

    def window(self, t0: int, t1: int) -> VideoInfo:
        """The same video's frames t0 .. t1 - 1, with their own times."""
        return replace(self, pts=self.pts[t0:t1], names=self.names[t0:t1])

    @classmethod
    def regular(cls, width: int, height: int, frames: int, fps: float = 25.0, source: str = "") -> VideoInfo:
        """Frames at k / fps seconds.

        Raises:
            InputError: fps not above 0.
        """
        if not 0 < fps < float("inf"):
            raise InputError(f"fps: expected frames per second above 0, got {fps:g}")
        return cls(width, height, np.arange(frames) / fps, source=source)


@dataclass(frozen=True, eq=False)
class Queries:
    """Points to follow.

    Attributes:
        xyt: float32 [N, 3], (x, y) in source pixels and frame index t.
        instance: int32 [N], the group a query belongs to (an object's id), -1 where unknown.

    Raises:
        ShapeError: xyt not [N, 3] or instance not [N].
        InputError: NaN or infinite coordinates, a frame index that is not a whole number of 0 or more, an instance
            that is not a whole number of 32 bits.
    """

    xyt: FloatArray
    instance: IntArray = field(default=None)  # type: ignore[arg-type, assignment]

    def __post_init__(self) -> None:
        xyt = _frozen(self.xyt, np.float32, "queries")
        if xyt.size == 0:
            xyt = _frozen(np.zeros((0, 3)), np.float32, "queries")
        if xyt.ndim != 2 or xyt.shape[1] != 3:
            raise ShapeError("queries", "[N, 3] (x, y, t)", xyt.shape)
        if not np.isfinite(xyt).all():
            bad = int(np.flatnonzero(~np.isfinite(xyt).all(1))[0])
            raise InputError(f"queries: expected finite (x, y, t), got {xyt[bad].tolist()} in row {bad}")
        t = xyt[:, 2]
        if ((t < 0) | (t != np.round(t))).any():
            bad = int(np.flatnonzero((t < 0) | (t != np.round(t)))[0])
            raise InputError(f"queries: expected a frame index t of 0 or more, got {t[bad]:g} in row {bad}")
        instance = np.full(len(xyt), -1) if self.instance is None else self.instance
        object.__setattr__(self, "xyt", xyt)
        object.__setattr__(self, "instance", _ids(instance))
        if self.instance.shape != (len(xyt),):
            raise ShapeError("instance", f"[{len(xyt)}]", self.instance.shape)

    def __len__(self) -> int:
        return len(self.xyt)

    def __getitem__(self, index: Any) -> Queries:
        rows = np.atleast_1d(np.arange(len(self))[index])
        return Queries(self.xyt[rows], self.instance[rows])

    @property
    def xy(self) -> FloatArray:
        """float32 [N, 2]."""
        return self.xyt[:, :2]

    @property
    def t(self) -> Int64:
        """int64 [N], the query frames."""
        return self.xyt[:, 2].astype(np.int64)

    def check(self, info: VideoInfo) -> None:
        """Raise InputError unless every query lies in the frame and in the length of `info`'s video."""
        x, y, t = self.xyt.T
        outside = ~inside(self.xy, (info.height, info.width)) | (t >= info.frames)
        for bad in np.flatnonzero(outside)[:1]:
            point = f"({x[bad]:g}, {y[bad]:g}) at frame {t[bad]:g}"
            allowed = f"x in [0, {info.width}], y in [0, {info.height}], t in [0, {info.frames - 1}]"
            raise InputError(f"query {bad} is outside the video: got {point}, allowed {allowed}")

    @classmethod
    def grid(cls, width: int, height: int, step: float = 16.0, t: int = 0) -> Queries:
        """A regular grid of frame t, `step` pixels apart and centred; at least one point on each axis."""
        if not step > 0:
            raise InputError(f"grid step: expected pixels above 0, got {step:g}")

        def axis(size: int) -> FloatArray:
            count = max(1, int(size // step))
            return (np.arange(count) + 0.5) * (size / count)

        y, x = np.meshgrid(axis(height), axis(width), indexing="ij")
        return cls(np.stack([x.ravel(), y.ravel(), np.full(x.size, t)], 1))

    @classmethod
    def concat(cls, parts: Sequence[Queries]) -> Queries:
        """All queries of `parts`, in order."""
        if not parts:
            return cls(np.zeros((0, 3)))
        return cls(np.concatenate([p.xyt for p in parts]), np.concatenate([p.instance for p in parts]))


@dataclass(frozen=True, eq=False)
class Tracks:
    """Position of each query in each frame of one video, and the probability that it is visible there.

    Attributes:
        xy: float32 [N, T, 2], source pixels. Finite; may lie outside the frame.
        visibility: float32 [N, T], probability in [0, 1] that the point is visible.
        queries: the N queries.
        video: the T frames.

    Raises:
        ShapeError: arrays that do not agree with `queries` and `video`.
        InputError: positions that are not finite, visibility outside [0, 1].
    """

    xy: FloatArray
    visibility: FloatArray
    queries: Queries
    video: VideoInfo

    def __post_init__(self) -> None:
        n, t = len(self.queries), self.video.frames
        xy = _frozen(self.xy, np.float32, "xy")
        visibility = _frozen(self.visibility, np.float32, "visibility")
        if xy.shape != (n, t, 2):
            raise ShapeError("xy", f"[{n}, {t}, 2]", xy.shape)
        if visibility.shape != (n, t):
            raise ShapeError("visibility", f"[{n}, {t}]", visibility.shape)
        if not np.isfinite(xy).all():
            raise InputError("xy: expected finite positions, got NaN or infinity")
        if not ((visibility >= 0) & (visibility <= 1)).all():
            raise InputError("visibility: expected probabilities in [0, 1]")
        object.__setattr__(self, "xy", xy)
        object.__setattr__(self, "visibility", visibility)

    def __len__(self) -> int:
        return len(self.queries)

    def __getitem__(self, index: Any) -> Tracks:
        """The tracks of some queries: an integer, slice, index or boolean array. Always Tracks."""
        rows = np.atleast_1d(np.arange(len(self))[index])
        return Tracks(self.xy[rows], self.visibility[rows], self.queries[rows], self.video)

    @property
    def instance(self) -> IntArray:
        """int32 [N], the group each query belongs to, -1 where unknown."""
        return self.queries.instance

    @property
    def visible(self) -> BoolArray:
        """bool [N, T]: visibility above one half."""
        return self.visibility > VISIBLE

    def check(self, info: VideoInfo, name: str = "tracks") -> None:
        """Raise InputError, beginning with `name`, unless these are of a video of `info`'s frame size and length."""
        expected, got = (f"{v.width}x{v.height}, {v.frames} frames" for v in (info, self.video))
        if got != expected:
            raise InputError(f"{name}: expected tracks of a video of {expected}, got {got}")

    def at(self, t: int) -> tuple[FloatArray, BoolArray]:
        """Positions [N, 2] and visible [N] of frame t (negative counts from the end).

        Raises:
            InputError: no such frame.
        """
        if not -self.video.frames <= t < self.video.frames:
            raise InputError(f"frame: expected 0 .. {self.video.frames - 1}, got {t}")
        return self.xy[:, t], self.visible[:, t]

    def window(self, t0: int, t1: int) -> Tracks:
        """Frames t0 .. t1 - 1 of the queries whose frame lies in them, query frames counted from t0.

        Raises:
            InputError: not 0 <= t0 < t1 <= T.
        """
        if not 0 <= t0 < t1 <= self.video.frames:
            raise InputError(f"window: expected 0 <= t0 < t1 <= {self.video.frames}, got [{t0}, {t1})")
        rows = np.flatnonzero((self.queries.t >= t0) & (self.queries.t < t1))
        queries = Queries(self.queries.xyt[rows] - np.array([0, 0, t0], np.float32), self.queries.instance[rows])
        return Tracks(self.xy[rows, t0:t1], self.visibility[rows, t0:t1], queries, self.video.window(t0, t1))

    @classmethod
    def concat(cls, parts: Sequence[Tracks]) -> Tracks:
        """All tracks of `parts`, which must be of one video.

        Raises:
            InputError: no parts, or parts of different length or frame size.
        """
        if not parts:
            raise InputError("concat: expected at least one Tracks, got none")
        first = parts[0].video
        for part in parts[1:]:
            size = (part.video.width, part.video.height, part.video.frames)
            if size != (first.width, first.height, first.frames):
                raise InputError(
                    f"concat: expected tracks of one video ({first.width}x{first.height}, {first.frames} frames), "
                    f"got {size[0]}x{size[1]}, {size[2]} frames"
                )
        return cls(
            np.concatenate([p.xy for p in parts]),
            np.concatenate([p.visibility for p in parts]),
            Queries.concat([p.queries for p in parts]),
            first,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an npz (numpy arrays, no pickle) with a schema version; atomic (see `files`)."""
        video = self.video
        with atomic(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(
                file,
                schema=np.array(SCHEMA),
                xy=self.xy,
                visibility=self.visibility,
                queries=self.queries.xyt,
                instance=self.queries.instance,
                size=np.array([video.width, video.height]),
                pts=video.pts,
                names=np.array(video.names, dtype=str),
                source=np.array(video.source, dtype=str),
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tracks:
        """Read what `save` wrote.

        Raises:
            FormatError: no such file, not an npz of tracks, pickled objects in it, or a newer schema.
        """
        keys = ("schema", "xy", "visibility", "queries", "instance", "size", "pts", "names", "source")
        with reading(path, f"an npz of tracks ({SCHEMA})"):
            file = read_npz(path, keys)
            if str(file["schema"]) != SCHEMA:
                raise FormatError(f"expected schema {SCHEMA}, got {str(file['schema'])[:40]!r}")
            width, height = file["size"].tolist()
            names = tuple(str(v) for v in file["names"])
            video = VideoInfo(width, height, file["pts"], names, str(file["source"]))
            return cls(file["xy"], file["visibility"], Queries(file["queries"], file["instance"]), video)
