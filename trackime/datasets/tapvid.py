"""TAP-Vid (Doersch et al. 2022) and RoboTAP (Vecerik et al. 2023) as published: pickles of videos and points.

Each example is a dict of ``video`` (uint8 [T, H, W, 3], or T encoded images), ``points`` [N, T, 2] in [0, 1], and
``occluded`` [N, T]; a file holds a dict of them by name (DAVIS, RoboTAP) or a list (Kinetics, RGB-Stacking). Nothing
in a file is run (see `_unpickle`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trackime.arrays import UInt8
from trackime.datasets._unpickle import load_pickle
from trackime.datasets.sample import Sample
from trackime.errors import FormatError, InputError
from trackime.metrics import Mode, sample_queries_first, sample_queries_strided
from trackime.types import Queries, Tracks, VideoInfo


def read(path: str | os.PathLike[str], mode: Mode = "first", stride: int = 5, fps: float = 25.0) -> Iterator[Sample]:
    """The videos of TAP-Vid, queried as the benchmark does: one true track per query.

    Images are decoded as the sample is reached, so one video is in memory at a time beside the file's own bytes.
    Hidden points have no known position, but a known visibility: score with `metrics.evaluate` in the same mode.

    Args:
        path: a pickle, or a folder of them (Kinetics comes in ten).
        mode: "first" queries each track where it is first visible; "strided" in every `stride`-th frame.
        stride: frames, for "strided".
        fps: frames per second, which the files do not say.

    Raises:
        FormatError: no pickle; a malicious, broken or other one when reached.
        InputError: an unknown mode.
    """
    if mode not in ("first", "strided"):
        raise InputError(f"mode: expected one of first, strided, got {mode!r}")
    source = Path(path)
    files = sorted(source.glob("*.pkl")) if source.is_dir() else [source]
    if not files or not files[0].is_file():
        raise FormatError(f"{source}: expected a TAP-Vid pickle or a folder of *.pkl, found none")
    several = len(files) > 1
    return (
        _sample(name, example, mode, stride, fps, file) for file in files for name, example in _examples(file, several)
    )


def _examples(file: Path, several: bool) -> Iterator[tuple[str, Any]]:
    data = load_pickle(file)
    if isinstance(data, Mapping):
        yield from ((str(name), example) for name, example in data.items())
    elif isinstance(data, list):
        prefix = f"{file.stem}-" if several else ""
        yield from ((f"{prefix}{k:05d}", example) for k, example in enumerate(data))
    else:
        raise FormatError(f"{file}: expected a dict or list of examples, got {type(data).__name__}")


def _sample(name: str, example: Any, mode: Mode, stride: int, fps: float, file: Path) -> Sample:
    where = f"{file}: {name}"
    if not isinstance(example, Mapping) or not {"video", "points", "occluded"} <= example.keys():
        raise FormatError(f"{where}: expected a dict of video, points and occluded")
    video = _video(example["video"], where)
    frames, height, width = video.shape[:3]
    try:
        points, hidden = np.asarray(example["points"], np.float64), np.asarray(example["occluded"]).astype(bool)
    except (TypeError, ValueError) as error:
        raise FormatError(f"{where}: expected points and occluded as numbers, got: {error}") from None
    if points.ndim != 3 or points.shape[1:] != (frames, 2) or hidden.shape != points.shape[:2]:
        raise FormatError(
            f"{where}: expected points [N, {frames}, 2] and occluded [N, {frames}], "
            f"got {list(points.shape)} and {list(hidden.shape)}"
        )
    if not np.isfinite(points[~hidden]).all():
        raise FormatError(f"{where}: expected finite points where they are visible")
    xy = np.nan_to_num(points, nan=0, posinf=0, neginf=0) * (width, height)
    first = mode == "first"
    xyt, rows = sample_queries_first(xy, ~hidden) if first else sample_queries_strided(xy, ~hidden, stride)
    # Clicks may lie a hair outside: a query has to be in the frame.
    xyt[:, :2] = np.clip(xyt[:, :2], 0, (width, height))
    info = VideoInfo.regular(width, height, frames, fps, where)
    tracks = Tracks(xy[rows], ~hidden[rows], Queries(xyt), info)
    return Sample(name, video, tracks, labels={"mode": mode, "track": rows})


def _video(value: Any, where: str) -> UInt8:
    """uint8 [T, H, W, 3] of an array, or of T encoded images."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "S":
        raise FormatError(f"{where}: expected encoded images as objects: fixed-width bytes lose trailing zeros")
    if isinstance(value, list | tuple):
        frames = [_decode(item, where) for item in value]
        if not frames or any(f.shape != frames[0].shape for f in frames):
            raise FormatError(f"{where}: expected one frame or more, all of one size")
        value = np.stack(frames)
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim != 4 or value.shape[3] != 3:
        got = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
        raise FormatError(f"{where}: expected video uint8 [T, H, W, 3] or encoded images, got {got}")
    if not value.size:
        raise FormatError(f"{where}: expected a video with frames, got {list(value.shape)}")
    return value


def _decode(data: Any, where: str) -> UInt8:
    if isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 3:
        return data
    if isinstance(data, bytes | bytearray) and len(data):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is not None:
            return np.ascontiguousarray(image[..., ::-1], np.uint8)
    raise FormatError(f"{where}: expected frames as JPEG or PNG bytes, got {type(data).__name__} no decoder knows")
