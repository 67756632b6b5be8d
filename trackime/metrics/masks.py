"""Quality of masks: DAVIS's region J and boundary F, and their statistics (Perazzi et al. 2016; Pont-Tuset 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from trackime.arrays import BoolArray, Float64, IntArray
from trackime.errors import InputError, ShapeError

_TOLERANCE = 0.008
"""Largest distance between matching boundaries, as a share of the image diagonal."""

_VOID = 255
"""The id of unlabelled pixels."""

_BINS = 4


@dataclass(frozen=True)
class MaskStatistics:
    """DAVIS's statistics of a series of values, one per frame.

    Attributes:
        mean: over frames that have a value.
        recall: share of frames above one half; a frame without a value (NaN) is not.
        decay: mean of the first quarter minus mean of the last, so 0 is steady, and above 0 the object is being lost.
    """

    mean: float
    recall: float
    decay: float


@dataclass(frozen=True, eq=False)
class ObjectScores:
    """One object of one video.

    Attributes:
        id: the object's id.
        region: J of each scored frame.
        boundary: F of each scored frame.
        region_statistics: of `region`.
        boundary_statistics: of `boundary`.
    """

    id: int
    region: Float64
    boundary: Float64
    region_statistics: MaskStatistics
    boundary_statistics: MaskStatistics


def region_similarity(pred: npt.ArrayLike, truth: npt.ArrayLike, void: npt.ArrayLike | None = None) -> Float64:
    """J: intersection over union of two masks, 1 where both are empty.

    Args:
        pred, truth: bool [..., H, W].
        void: bool [..., H, W], pixels that do not count.

    Returns:
        [...].

    Raises:
        ShapeError: masks that do not agree.
    """
    a, b = _pair(pred, truth, void)
    union = (a | b).sum((-2, -1))
    return np.asarray(np.where(union == 0, 1.0, (a & b).sum((-2, -1)) / np.maximum(union, 1)), np.float64)


def contour_accuracy(
    pred: npt.ArrayLike, truth: npt.ArrayLike, void: npt.ArrayLike | None = None, tolerance: float = _TOLERANCE
) -> Float64:
    """F: harmonic mean of the shares of each mask's boundary that lie within a tolerance of the other's.

    Void pixels are background in both masks, so that a void region's border inside an object is boundary, as in the
    published measure.

    Args:
        pred, truth: bool [..., H, W].
        void: bool [..., H, W], pixels that do not count.
        tolerance: below 1 a share of the image diagonal, rounded up to pixels; from 1 on pixels.

    Returns:
        [...]; 1 where both are empty.

    Raises:
        ShapeError: masks that do not agree.
        InputError: a tolerance that is not above 0.
    """
    if not tolerance > 0:
        raise InputError(f"tolerance: expected above 0, got {tolerance:g}")
    a, b = _pair(pred, truth, void)
    h, w = a.shape[-2:]
    radius = float(tolerance) if tolerance >= 1 else math.ceil(tolerance * math.hypot(h, w))
    out = np.empty(a.shape[:-2])
    for index in np.ndindex(out.shape):
        out[index] = _boundary_score(a[index], b[index], radius)
    return out


def _pair(pred: npt.ArrayLike, truth: npt.ArrayLike, void: npt.ArrayLike | None) -> tuple[BoolArray, BoolArray]:
    a, b = np.asarray(pred, bool), np.asarray(truth, bool)
    if a.ndim < 2 or a.shape != b.shape:
        raise ShapeError("pred", f"[..., H, W] as the truth, {list(b.shape)}", a.shape)
    if void is None:
        return a, b
    counts = ~np.asarray(void, bool)
    if counts.shape != b.shape:
        raise ShapeError("void", str(list(b.shape)), counts.shape)
    return a & counts, b & counts


def _outline(mask: BoolArray) -> BoolArray:
    """The boundary map of a mask [H, W]: pixels unlike their right, lower or lower right neighbour.

    The last row and column have one such neighbour, the last corner none.
    """
    out = np.zeros(mask.shape, bool)
    out[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    out[:-1] |= mask[:-1] != mask[1:]
    out[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return out


def _boundary_score(pred: BoolArray, truth: BoolArray, radius: float) -> float:
    box = _bounding_box(pred | truth)
    if box is None:
        return 1.0
    # One pixel up and left (an outline lies there too), one right and down: what is cut off has no outline.
    y0, y1, x0, x1 = (max(box[0] - 1, 0), box[1] + 1, max(box[2] - 1, 0), box[3] + 1)
    a, b = _outline(pred[y0:y1, x0:x1]), _outline(truth[y0:y1, x0:x1])
    count_a, count_b = int(a.sum()), int(b.sum())
    if not count_a or not count_b:
        # An empty boundary has nothing wrong (1) but finds nothing (0); two empty ones agree.
        return 1.0 if count_a == count_b else 0.0
    precision = (a & _near(b, radius)).sum() / count_a
    recall = (b & _near(a, radius)).sum() / count_b
    return float(2 * precision * recall / (precision + recall)) if precision + recall > 0 else 0.0


def _bounding_box(mask: BoolArray) -> tuple[int, int, int, int] | None:
    """(y0, y1, x0, x1), ends exclusive; None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _near(edge: BoolArray, radius: float) -> BoolArray:
    """Pixels within `radius` of an edge pixel: a dilation by a disk, by way of the exact distance transform."""
    distance = cv2.distanceTransform((~edge).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Squared distances are whole numbers: half a unit of slack takes up float32 rounding.
    disk = math.floor(radius) ** 2
    return np.asarray(np.square(distance) < disk + 0.5)


def mask_statistics(values: npt.ArrayLike) -> MaskStatistics:
    """Mean, recall and decay of a series, one value per frame.

    The published code keeps its bin edges in uint8, so that its decay of more than 255 frames is not the one defined.

    Args:
        values: [T]; NaN has no value.

    Raises:
        ShapeError: not one-dimensional, or empty.
    """
    series = np.asarray(values, np.float64)
    if series.ndim != 1 or not len(series):
        raise ShapeError("values", "[T], T of 1 or more", series.shape)
    # Neighbouring bins share their edge; the small term decides exact halves upwards.
    edges = np.round(np.linspace(1, len(series), _BINS + 1) + 1e-10).astype(np.int64) - 1
    bins = [series[edges[k] : edges[k + 1] + 1] for k in (0, _BINS - 1)]
    recall = float((series > 0.5).mean())  # NaN compares False
    return MaskStatistics(_nanmean(series), recall, _nanmean(bins[0]) - _nanmean(bins[1]))


def _nanmean(values: Float64) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def evaluate_masks(
    pred: Sequence[IntArray],
    truth: Sequence[IntArray],
    ids: Sequence[int] | None = None,
    tolerance: float = _TOLERANCE,
    void: int | None = _VOID,
) -> list[ObjectScores]:
    """DAVIS's semi-supervised protocol: each object against its truth, first and last frame left out.

    Args:
        pred, truth: T masks [H, W] of object ids; each is read once, in order, so they may be lazy.
        ids: the objects to score; None: those of the truth's first frame.
        tolerance: of the boundary, see `contour_accuracy`.
        void: the truth's id of pixels that do not count; None: all count.

    Returns:
        One `ObjectScores` per object; `summary` averages them.

    Raises:
        InputError: no objects, fewer than 3 frames.
        ShapeError: other numbers or sizes of masks.
    """
    if len(pred) != len(truth):
        raise ShapeError("pred", f"{len(truth)} masks as the truth", (len(pred),))
    if len(truth) < 3:
        raise InputError(f"masks: expected 3 frames or more (first and last are not scored), got {len(truth)}")
    if ids is None:
        ids = [int(k) for k in np.unique(np.asarray(truth[0])) if k != 0 and k != void]
    if not ids:
        raise InputError("ids: expected at least one object in the truth's first frame, got none")
    values = np.empty((2, len(ids), len(truth) - 2))
    for t in range(1, len(truth) - 1):
        a, b = np.asarray(pred[t]), np.asarray(truth[t])
        if a.shape != b.shape:
            raise ShapeError(f"pred[{t}]", str(list(b.shape)), a.shape)
        ignore = None if void is None or not (b == void).any() else b == void
        for k, object_id in enumerate(ids):
            pair = a == object_id, b == object_id
            values[:, k, t - 1] = region_similarity(*pair, ignore), contour_accuracy(*pair, ignore, tolerance)
    return [
        ObjectScores(int(i), j, f, mask_statistics(j), mask_statistics(f)) for i, j, f in zip(ids, *values, strict=True)
    ]


def summary(scores: Iterable[ObjectScores]) -> dict[str, float]:
    """Means over objects (of one video or of many: DAVIS counts objects, not videos).

    Returns:
        J&F, J_mean, J_recall, J_decay, F_mean, F_recall, F_decay, in [0, 1].

    Raises:
        InputError: no objects.
    """
    rows = list(scores)
    if not rows:
        raise InputError("summary: expected the scores of at least one object, got none")
    out: dict[str, float] = {"J&F": 0.0}
    for letter, series in (
        ("J", [row.region_statistics for row in rows]),
        ("F", [row.boundary_statistics for row in rows]),
    ):
        for name in ("mean", "recall", "decay"):
            out[f"{letter}_{name}"] = float(np.mean([getattr(item, name) for item in series]))
    out["J&F"] = (out["J_mean"] + out["F_mean"]) / 2
    return out
