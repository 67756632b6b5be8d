"""TAP-Vid's measures of tracks and its queries (Doersch et al. 2022), in float64 numpy.

Positions are (x, y) in pixels of the source video unless a function says otherwise. `truth` is the ground truth, `pred`
the prediction. `known` (bool [N, T], default all) marks the cells that have ground truth; the others are not scored. A
measure with nothing to score is NaN, as in the published code.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from trackime.arrays import BoolArray, Float64, Int64
from trackime.errors import InputError, ShapeError
from trackime.metrics._cells import Mode, benchmark_xy, check_queries, known_cells, scored_cells
from trackime.types import Queries, Tracks

log = logging.getLogger(__name__)

THRESHOLDS = (1, 2, 4, 8, 16)
"""Distances in pixels at 256x256 within which TAP-Vid calls a position right."""


def tap_vid(
    query_t: npt.ArrayLike,
    truth_xy: npt.ArrayLike,
    truth_visible: npt.ArrayLike,
    pred_xy: npt.ArrayLike,
    pred_visible: npt.ArrayLike,
    mode: Mode = "first",
    trackwise: bool = False,
    known: npt.ArrayLike | None = None,
) -> dict[str, Float64]:
    """TAP-Vid's measures (Doersch et al. 2022, section 3.3), positions as passed: scale to 256x256 first.

    Within n: strictly below n pixels. ``pts_within_n``: the share of visible truth within n. ``jaccard_n``:
    TP / (visible truth + FP), where a false positive is predicted visible and either hidden in truth or too far, so
    that a visible prediction too far from a visible truth counts twice in the denominator.

    Args:
        query_t: [..., N] query frames; rounded half to even.
        truth_xy: [..., N, T, 2].
        truth_visible: bool [..., N, T].
        pred_xy: [..., N, T, 2]; NaN is never within.
        pred_visible: bool [..., N, T].
        mode: "first" scores the frames after the query's, "strided" all but the query's.
        trackwise: a value per track instead of a value per video.
        known: bool [..., N, T], cells to score; None: all.

    Returns:
        occlusion_accuracy, pts_within_1 .. 16, jaccard_1 .. 16, average_jaccard, average_pts_within_thresh: each
        [...] (a video) or [..., N] (a track); NaN where nothing is scored, and NaN spreads to the averages.

    Raises:
        ShapeError: arrays that do not agree.
        InputError: an unknown mode, a query frame outside the video.
    """
    gt, visible = np.asarray(truth_xy, np.float64), np.asarray(truth_visible, bool)
    xy, seen = np.asarray(pred_xy, np.float64), np.asarray(pred_visible, bool)
    if gt.ndim < 3 or gt.shape[-1] != 2:
        raise ShapeError("truth_xy", "[..., N, T, 2]", gt.shape)
    for name, array, shape in (("pred_xy", xy, gt.shape), ("truth_visible", visible, gt.shape[:-1])):
        if array.shape != shape:
            raise ShapeError(name, str(list(shape)), array.shape)
    if seen.shape != visible.shape:
        raise ShapeError("pred_visible", str(list(visible.shape)), seen.shape)
    scored = scored_cells(np.asarray(query_t, np.float64), visible.shape, mode)
    if known is not None:
        scored = scored & np.broadcast_to(np.asarray(known, bool), visible.shape)

    axes = (-1,) if trackwise else (-2, -1)

    def count(cells: BoolArray) -> Float64:
        return (cells & scored).sum(axis=axes).astype(np.float64)

    positives = count(visible)
    out = {"occlusion_accuracy": _ratio(count(seen == visible), count(np.ones_like(visible)))}
    squared = np.square(xy - gt).sum(-1)
    for n in THRESHOLDS:
        within = squared < n * n
        right = within & visible
        out[f"pts_within_{n}"] = _ratio(count(right), positives)
        out[f"jaccard_{n}"] = _ratio(count(right & seen), positives + count(seen & ~right))
    out["average_jaccard"] = np.mean([out[f"jaccard_{n}"] for n in THRESHOLDS], axis=0)
    out["average_pts_within_thresh"] = np.mean([out[f"pts_within_{n}"] for n in THRESHOLDS], axis=0)
    return out


def _ratio(part: Float64, whole: Float64) -> Float64:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(part / whole, np.float64)


def evaluate(pred: Tracks, truth: Tracks, mode: Mode = "first", known: BoolArray | None = None) -> dict[str, float]:
    """TAP-Vid's measures of one video at 256x256 (see `tap_vid`), from tracks in source pixels.

    Raises:
        InputError: predictions of other queries, another length or another frame size than the truth.
    """
    check_queries(pred, truth)
    cells = known_cells(truth, known)
    xy, gt = benchmark_xy(pred), benchmark_xy(truth)
    scores = tap_vid(truth.queries.t, gt, truth.visible, xy, pred.visible, mode, known=cells)
    return {key: float(value) for key, value in scores.items()}


def mean_scores(scores: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The benchmark's number: the mean over videos of each measure.

    A video in which a measure is undefined (NaN) is left out of that measure's mean, and the log says so.

    Raises:
        InputError: no videos, or videos with other measures than the first.
    """
    rows = list(scores)
    if not rows:
        raise InputError("mean_scores: expected the scores of at least one video, got none")
    if any(row.keys() != rows[0].keys() for row in rows):
        raise InputError("mean_scores: expected the same measures for every video")
    out = {}
    for key in rows[0]:
        values = np.array([row[key] for row in rows], np.float64)
        defined = values[~np.isnan(values)]
        if len(defined) < len(values):
            log.warning("%s is undefined in %d of %d videos: left out", key, len(values) - len(defined), len(values))
        out[key] = float(defined.mean()) if len(defined) else float("nan")
    return out


def sample_queries_first(xy: npt.ArrayLike, visible: npt.ArrayLike) -> tuple[Float64, Int64]:
    """TAP-Vid's "first" queries: each track from the first frame it is visible in; tracks never visible are dropped.

    Args:
        xy: [N, T, 2].
        visible: bool [N, T].

    Returns:
        Queries (x, y, t) [M, 3], and which track [M] each belongs to.
    """
    points, seen = _points(xy, visible)
    rows = np.flatnonzero(seen.any(1))
    t = seen[rows].argmax(1) if len(rows) else np.zeros(0, np.int64)
    return np.concatenate([points[rows, t], t[:, None]], 1), rows


def sample_queries_strided(xy: npt.ArrayLike, visible: npt.ArrayLike, stride: int = 5) -> tuple[Float64, Int64]:
    """TAP-Vid's "strided" queries: every track visible in frames 0, stride, 2 stride ...; frame by frame.

    Arguments and results as `sample_queries_first`; a track appears once per query.

    Raises:
        InputError: a stride below 1.
    """
    points, seen = _points(xy, visible)
    if stride < 1:
        raise InputError(f"stride: expected 1 frame or more, got {stride}")
    k, rows = np.nonzero(seen[:, ::stride].T)
    t = k * stride
    return np.concatenate([points[rows, t], t[:, None]], 1), rows


def benchmark_queries(tracks: Tracks, mode: Mode = "first", stride: int = 5) -> Tracks:
    """The true tracks of one video as TAP-Vid queries them: one track per query (see `sample_queries_first`)."""
    if mode == "first":
        xyt, rows = sample_queries_first(tracks.xy, tracks.visible)
    elif mode == "strided":
        xyt, rows = sample_queries_strided(tracks.xy, tracks.visible, stride)
    else:
        raise InputError(f"mode: expected one of first, strided, got {mode!r}")
    return Tracks(tracks.xy[rows], tracks.visibility[rows], Queries(xyt, tracks.instance[rows]), tracks.video)


def _points(xy: npt.ArrayLike, visible: npt.ArrayLike) -> tuple[Float64, BoolArray]:
    points, seen = np.asarray(xy, np.float64), np.asarray(visible, bool)
    if points.ndim != 3 or points.shape[-1] != 2:
        raise ShapeError("xy", "[N, T, 2]", points.shape)
    if seen.shape != points.shape[:2]:
        raise ShapeError("visible", str(list(points.shape[:2])), seen.shape)
    return points, seen
