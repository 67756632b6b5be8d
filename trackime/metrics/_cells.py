"""What the measures of tracks share: checks, the cells to score, errors at the benchmark's size."""

from __future__ import annotations

from typing import Literal

import numpy as np

from trackime.arrays import BoolArray, Float64, FloatArray
from trackime.errors import InputError, ShapeError
from trackime.types import Tracks

Mode = Literal["first", "strided"]

BENCHMARK_SIZE = (256, 256)
"""(h, w) TAP-Vid, PointOdyssey and OmniMotion measure at."""


def scored_cells(query_t: Float64, shape: tuple[int, ...], mode: Mode) -> BoolArray:
    """bool [..., N, T]: the frames a query is scored on."""
    if mode not in ("first", "strided"):
        raise InputError(f"mode: expected one of first, strided, got {mode!r}")
    if query_t.shape != shape[:-1]:
        raise ShapeError("query_t", str(list(shape[:-1])), query_t.shape)
    t = np.round(query_t)[..., None]
    if not ((t >= 0) & (t < shape[-1])).all():
        got = f"{query_t.min():g} .. {query_t.max():g}"
        raise InputError(f"query_t: expected frames in 0 .. {shape[-1] - 1}, got {got}")
    frames = np.arange(shape[-1])
    return frames > t if mode == "first" else frames != t


def check_queries(pred: Tracks, truth: Tracks) -> None:
    a, b = pred.video, truth.video
    if (a.width, a.height, a.frames) != (b.width, b.height, b.frames):
        raise InputError(
            f"predictions: expected the truth's video, {b.width}x{b.height} with {b.frames} frames, "
            f"got {a.width}x{a.height} with {a.frames}"
        )
    if len(pred) != len(truth) or (pred.queries.t != truth.queries.t).any():
        raise InputError(f"predictions: expected the truth's {len(truth)} queries, in order, got {len(pred)} others")


def known_cells(truth: Tracks, known: BoolArray | None) -> BoolArray:
    if known is None:
        return np.ones(truth.visibility.shape, bool)
    cells = np.asarray(known, bool)
    if cells.shape != truth.visibility.shape:
        raise ShapeError("known", str(list(truth.visibility.shape)), cells.shape)
    return cells


def benchmark_xy(tracks: Tracks) -> Float64:
    """Positions [N, T, 2] at 256x256."""
    h, w = BENCHMARK_SIZE
    return tracks.xy.astype(np.float64) * (w / tracks.video.width, h / tracks.video.height)


def errors_from_query(pred: Tracks, truth: Tracks, known: BoolArray | None) -> tuple[Float64, BoolArray]:
    """Errors [N, T] at 256x256, and the known cells from the query frame on."""
    check_queries(pred, truth)
    error = np.linalg.norm(benchmark_xy(pred) - benchmark_xy(truth), axis=-1)
    return error, known_cells(truth, known) & (np.arange(truth.video.frames) >= truth.queries.t[:, None])


def mean(values: FloatArray | BoolArray) -> float:
    return float(values.mean()) if values.size else float("nan")
