"""tapvid: the annotation of the TAP-Vid benchmark as an npz without pickle.

Arrays, with the names and conventions of TAP-Vid (Doersch et al., "TAP-Vid: A Benchmark for Tracking Any Point in a
Video", 2022, and the README of github.com/google-deepmind/tapnet):

- `points` float32 [N, T, 2], (x, y) divided by the frame's (W, H), so that 0 and 1 are the frame's edges;
- `occluded` bool [N, T];
- `query_points` float32 [N, 3], (t, y, x) in pixels of the video, the centre of the top-left pixel at (0.5, 0.5).

Beside them lie `size` (width, height), `pts` (seconds, [T]) and `instance` [N], which TAP-Vid lacks. Kept: positions,
visible or not, queries, times, instances. Lost: visibility between 0 and 1, frame names, the source.

An npz made elsewhere needs `points` and `occluded` only: the frame's size then comes from its `video` [T, H, W, 3] or
from the caller, times from the caller's `fps`, and a query is the first frame its point is visible in (the
benchmark's "query first").
"""

from __future__ import annotations

import os

import numpy as np

from trackime.arrays import AnyArray, BoolArray, Float64
from trackime.errors import FormatError, InputError
from trackime.files import atomic, read_npz, reading
from trackime.types import Queries, Tracks, VideoInfo


def save(tracks: Tracks, path: str | os.PathLike[str]) -> None:
    """Write tracks as TAP-Vid's arrays.

    Raises:
        OutputError: the file cannot be written.
    """
    size = np.array([tracks.video.width, tracks.video.height])
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            points=(tracks.xy / size).astype(np.float32),
            occluded=~tracks.visible,
            query_points=tracks.queries.xyt[:, ::-1],
            size=size,
            pts=tracks.video.pts,
            instance=tracks.instance,
        )


def load(
    path: str | os.PathLike[str], *, width: int | None = None, height: int | None = None, fps: float = 25.0
) -> Tracks:
    """Read TAP-Vid's arrays.

    Args:
        path: the npz.
        width: frame width in pixels, for a file without it.
        height: frame height in pixels, for a file without it.
        fps: frames per second, for a file without times.

    Raises:
        InputError: only one of width and height.
        FormatError: no such file, not such an npz, or no size in it and none given.
    """
    if (width is None) != (height is None):
        raise InputError("tapvid: expected width and height together, got one of them")
    with reading(path, "an npz of TAP-Vid points"):
        data = read_npz(path, ("points", "occluded"), ("query_points", "size", "pts", "instance"))
        points, occluded = data["points"].astype(np.float64), data["occluded"].astype(bool)
        if points.ndim != 3 or points.shape[2] != 2 or occluded.shape != points.shape[:2]:
            shapes = f"{list(points.shape)} and {list(occluded.shape)}"
            raise FormatError(f"expected points [N, T, 2] and occluded [N, T], got {shapes}")
        n, t = occluded.shape
        size = _size(path, data, width, height)
        video = VideoInfo(*size, data["pts"]) if "pts" in data else VideoInfo.regular(*size, t, fps)
        # Annotations may leave occluded points undefined.
        xy = np.where(np.isfinite(points) | ~occluded[..., None], points, 0) * size
        queries = Queries(_queries(data, xy, occluded), data.get("instance", np.full(n, -1)))
        return Tracks(xy, np.where(occluded, 0, 1), queries, video)


def _size(
    path: str | os.PathLike[str], data: dict[str, AnyArray], width: int | None, height: int | None
) -> tuple[int, int]:
    if width is not None and height is not None:
        return width, height
    if "size" in data:
        w, h = data["size"].tolist()
        return w, h
    try:
        shape = read_npz(path, ("video",))["video"].shape
    except FormatError:
        raise FormatError("the frame's size is not in it: give width= and height=") from None
    if len(shape) != 4:
        raise FormatError(f"expected video [T, H, W, 3], got {list(shape)}")
    return shape[2], shape[1]


def _queries(data: dict[str, AnyArray], xy: Float64, occluded: BoolArray) -> AnyArray:
    """[N, 3] (x, y, t)."""
    if "query_points" in data:
        return data["query_points"][:, ::-1]
    n, t = occluded.shape
    if not t:
        raise FormatError("expected at least one frame, got none")
    first = (~occluded).argmax(1)
    return np.concatenate([xy[np.arange(n), first], first[:, None]], 1)
