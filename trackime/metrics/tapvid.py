"""How good tracks are: the measures of the point-tracking literature, in float64 numpy.

Positions are (x, y) in pixels of the source video unless a function says otherwise. `truth` is always the ground
truth, `pred` the prediction. `known` (bool [N, T], default everywhere) marks the cells the ground truth speaks of:
the others are not scored. A measure with nothing to score is NaN, as in the published code.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trackime.arrays import BoolArray, Float64, Int64
from trackime.errors import InputError, ShapeError
from trackime.types import Queries, Tracks

Mode = Literal["first", "strided"]

log = logging.getLogger(__name__)

THRESHOLDS = (1, 2, 4, 8, 16)
"""Distances in pixels at 256x256 within which TAP-Vid calls a position right."""

BENCHMARK_SIZE = (256, 256)
"""(h, w) TAP-Vid, PointOdyssey and OmniMotion measure at."""

_SURVIVAL_PX = 50.0
"""PointOdyssey: a track has failed once its error exceeds this many pixels at 256x256."""

_PCK_ALPHA = 0.2
"""BADJA: a joint is right within this times the square root of the animal's area."""


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
        trackwise: a value a track instead of a value a video.
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
    scored = _scored(np.asarray(query_t, np.float64), visible.shape, mode)
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


def _scored(query_t: Float64, shape: tuple[int, ...], mode: Mode) -> BoolArray:
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


def _ratio(part: Float64, whole: Float64) -> Float64:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(part / whole, np.float64)


def evaluate(pred: Tracks, truth: Tracks, mode: Mode = "first", known: BoolArray | None = None) -> dict[str, float]:
    """TAP-Vid's measures of one video at 256x256 (see `tap_vid`), from tracks in source pixels.

    Raises:
        InputError: predictions of other queries, another length or another frame size than the truth.
    """
    return {key: float(value) for key, value in _evaluate(pred, truth, mode, False, known).items()}


def evaluate_tracks(
    pred: Tracks, truth: Tracks, mode: Mode = "first", known: BoolArray | None = None
) -> dict[str, Float64]:
    """As `evaluate`, one value a track: each [N]."""
    return _evaluate(pred, truth, mode, True, known)


def _evaluate(pred: Tracks, truth: Tracks, mode: Mode, trackwise: bool, known: BoolArray | None) -> dict[str, Float64]:
    _same_queries(pred, truth)
    gt, xy = _benchmark(truth), _benchmark(pred)
    return tap_vid(truth.queries.t, gt, truth.visible, xy, pred.visible, mode, trackwise, _known(truth, known))


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

    Arguments and results as `sample_queries_first`; a track appears once a query.

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
    """The true tracks of one video as TAP-Vid queries them: one track a query (see `sample_queries_first`)."""
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


def trajectory_error(pred: Tracks, truth: Tracks, known: BoolArray | None = None) -> float:
    """MTE, median trajectory error (PointOdyssey, Zheng et al. 2023), in pixels at 256x256.

    The median over a track's frames from its query on, averaged over tracks. Hidden frames count wherever the truth
    knows the position: pass `known` = visible for ground truth that does not.
    """
    error, cells = _errors(pred, truth, known)
    medians = [np.median(e[c]) for e, c in zip(error, cells, strict=True) if c.any()]
    return float(np.mean(medians)) if medians else float("nan")


def survival(pred: Tracks, truth: Tracks, known: BoolArray | None = None, limit: float = _SURVIVAL_PX) -> float:
    """Survival (PointOdyssey, Zheng et al. 2023): how long a track lives, as a share of its frames from its query on.

    A track dies in the first known frame whose error exceeds `limit` pixels at 256x256; frames before that count as
    alive. Averaged over tracks.
    """
    error, cells = _errors(pred, truth, known)
    forward = np.arange(truth.video.frames) >= truth.queries.t[:, None]
    alive = np.cumprod(~(cells & (error > limit)), axis=1) * forward
    return _mean(alive.sum(1) / np.maximum(forward.sum(1), 1))


def error_by_visibility(
    pred: Tracks, truth: Tracks, known: BoolArray | None = None, mode: Mode = "first"
) -> dict[str, float]:
    """Mean error in source pixels, split by the truth's visibility (PIPs, Harley et al. 2022); `mode` as in `tap_vid`.

    Returns:
        "visible" and "occluded"; NaN where there are no such cells.
    """
    _same_queries(pred, truth)
    error = np.linalg.norm(pred.xy.astype(np.float64) - truth.xy, axis=-1)
    cells = _scored(truth.queries.t.astype(np.float64), error.shape, mode) & _known(truth, known)
    return {"visible": _mean(error[cells & truth.visible]), "occluded": _mean(error[cells & ~truth.visible])}


def temporal_coherence(pred: Tracks, truth: Tracks, known: BoolArray | None = None) -> float:
    """TC (OmniMotion, Wang et al. 2023; CaDeX++): how much the track shakes, in pixels at 256x256. Lower is better.

    The mean L2 difference between the accelerations x_{t+1} - 2 x_t + x_{t-1} of prediction and truth, where the
    truth is visible in all three frames.
    """
    _same_queries(pred, truth)
    cells = truth.visible & _known(truth, known)
    difference = np.diff(_benchmark(pred) - _benchmark(truth), n=2, axis=1)
    return _mean(np.linalg.norm(difference, axis=-1)[cells[:, :-2] & cells[:, 1:-1] & cells[:, 2:]])


def flow_disagreement(pred: Tracks, flow: Sequence[npt.NDArray[Any]]) -> float:
    """DAG (CaDeX++): disagreement between tracks and optical flow over adjacent frames, in source pixels.

    The literature prints values of this measure, not its formula. Ours: the mean endpoint distance between a track's
    step from t to t + 1 and the flow sampled bilinearly at its position in t, over the steps at both ends of which
    the prediction is visible and which start inside the frame. Values compare with each other, not with published
    ones.

    Args:
        flow: T - 1 fields [H, W, 2], (dx, dy) pixels from frame t to t + 1.

    Raises:
        ShapeError: another number of fields, or another size than the frames.
    """
    from scipy.ndimage import map_coordinates

    h, w, frames = pred.video.height, pred.video.width, pred.video.frames
    if len(flow) != max(frames - 1, 0):
        raise ShapeError("flow", f"[{max(frames - 1, 0)}, {h}, {w}, 2]", (len(flow),))
    distances = []
    for t, field in enumerate(flow):
        if np.shape(field) != (h, w, 2):
            raise ShapeError(f"flow[{t}]", f"[{h}, {w}, 2]", np.shape(field))
        start, step = pred.xy[:, t].astype(np.float64), np.diff(pred.xy[:, t : t + 2].astype(np.float64), axis=1)[:, 0]
        use = pred.visible[:, t] & pred.visible[:, t + 1] & _inside(start, w, h)
        yx = start[use, ::-1].T - 0.5  # array indices count from the centre of the first pixel
        at = np.stack([map_coordinates(np.asarray(field)[..., i], yx, np.float64, 1, "nearest") for i in (0, 1)], 1)
        distances.append(np.linalg.norm(step[use] - at, axis=1))
    return _mean(np.concatenate(distances)) if distances else float("nan")


def _inside(xy: Float64, w: int, h: int) -> BoolArray:
    return np.asarray(((xy >= 0) & (xy <= (w, h))).all(-1), bool)


def pck_t(
    pred: Tracks, truth: Tracks, areas: npt.ArrayLike, known: BoolArray | None = None, alpha: float = _PCK_ALPHA
) -> float:
    """PCK-T of BADJA (Biggs et al. 2018, as PIPs measures it): the share of joints found again.

    A joint is right where its error is below alpha * sqrt(area of the animal's mask in that frame). Scored are the
    cells that are visible and known in the truth, after the query's frame (the joint's first labelled one).

    Args:
        areas: [T] pixels of the animal's mask in each frame.

    Raises:
        ShapeError: areas not [T].
    """
    _same_queries(pred, truth)
    area = np.asarray(areas, np.float64)
    if area.shape != (truth.video.frames,):
        raise ShapeError("areas", f"[{truth.video.frames}]", area.shape)
    error = np.linalg.norm(pred.xy.astype(np.float64) - truth.xy, axis=-1)
    cells = _scored(truth.queries.t.astype(np.float64), error.shape, "first") & truth.visible & _known(truth, known)
    return _mean((error < alpha * np.sqrt(area))[cells])


def in_mask(pred: Tracks, masks: Sequence[npt.NDArray[Any]], void: int = 255) -> float:
    """The share of visible predictions that lie in the true mask of the object their query started on.

    Queries that start on background or void, the query's own frame, and predictions on void pixels are not scored; a
    visible prediction outside the frame is a miss.

    Args:
        masks: T masks [H, W] of object ids, 0 background; read once each, in order, so they may be lazy.
        void: the id of pixels nobody labelled.

    Raises:
        ShapeError: another number of masks, or another size than the frames.
    """
    h, w, frames = pred.video.height, pred.video.width, pred.video.frames
    if len(masks) != frames:
        raise ShapeError("masks", f"[{frames}, {h}, {w}]", (len(masks),))
    ids = np.full((len(pred), frames), -1, np.int64)
    start = np.zeros(len(pred), np.int64)
    for t in range(frames):
        mask = np.asarray(masks[t])
        if mask.shape != (h, w):
            raise ShapeError(f"masks[{t}]", f"[{h}, {w}]", mask.shape)
        ids[:, t] = _ids_at(mask, pred.xy[:, t].astype(np.float64))
        now = pred.queries.t == t
        start[now] = _ids_at(mask, pred.queries.xy[now].astype(np.float64))
    cells = pred.visible & (np.arange(frames) != pred.queries.t[:, None]) & (ids != void)
    cells &= ((start > 0) & (start != void))[:, None]
    return _mean((ids == start[:, None])[cells])


def _ids_at(mask: npt.NDArray[Any], xy: Float64) -> Int64:
    """The id under each point [N, 2]; -1 outside."""
    h, w = mask.shape
    # The frame's far edges belong to the last pixels.
    x, y = np.clip(np.floor(xy).astype(np.int64), 0, (w - 1, h - 1)).T
    return np.where(_inside(xy, w, h), mask[y, x].astype(np.int64), -1)


def _same_queries(pred: Tracks, truth: Tracks) -> None:
    a, b = pred.video, truth.video
    if (a.width, a.height, a.frames) != (b.width, b.height, b.frames):
        raise InputError(
            f"predictions: expected the truth's video, {b.width}x{b.height} with {b.frames} frames, "
            f"got {a.width}x{a.height} with {a.frames}"
        )
    if len(pred) != len(truth) or (pred.queries.t != truth.queries.t).any():
        raise InputError(f"predictions: expected the truth's {len(truth)} queries, in order, got {len(pred)} others")


def _known(truth: Tracks, known: BoolArray | None) -> BoolArray:
    if known is None:
        return np.ones(truth.visibility.shape, bool)
    cells = np.asarray(known, bool)
    if cells.shape != truth.visibility.shape:
        raise ShapeError("known", str(list(truth.visibility.shape)), cells.shape)
    return cells


def _benchmark(tracks: Tracks) -> Float64:
    """Positions [N, T, 2] at 256x256."""
    h, w = BENCHMARK_SIZE
    return tracks.xy.astype(np.float64) * (w / tracks.video.width, h / tracks.video.height)


def _errors(pred: Tracks, truth: Tracks, known: BoolArray | None) -> tuple[Float64, BoolArray]:
    """Errors [N, T] at 256x256, and the known cells from the query frame on."""
    _same_queries(pred, truth)
    error = np.linalg.norm(_benchmark(pred) - _benchmark(truth), axis=-1)
    return error, _known(truth, known) & (np.arange(truth.video.frames) >= truth.queries.t[:, None])


def _mean(values: npt.NDArray[Any]) -> float:
    return float(values.mean()) if values.size else float("nan")
