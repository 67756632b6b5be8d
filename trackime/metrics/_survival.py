"""Length and accuracy of tracks: the measures of PointOdyssey, PIPs and BADJA, and object purity.

Conventions as in `trackime.metrics.tapvid`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trackime.arrays import BoolArray, IntArray, ids_at
from trackime.errors import ShapeError
from trackime.metrics._cells import Mode, check_queries, errors_from_query, known_cells, mean, scored_cells
from trackime.types import Tracks

_SURVIVAL_PX = 50.0
"""PointOdyssey: a track has failed once its error exceeds this many pixels at 256x256."""

_PCK_ALPHA = 0.2
"""BADJA: a joint is right within this times the square root of the animal's area."""


def trajectory_error(pred: Tracks, truth: Tracks, known: BoolArray | None = None) -> float:
    """MTE, median trajectory error (PointOdyssey, Zheng et al. 2023), in pixels at 256x256.

    The median over a track's frames from its query on, averaged over tracks. Hidden frames count wherever the truth
    knows the position: pass `known` = visible for ground truth that does not.
    """
    error, cells = errors_from_query(pred, truth, known)
    medians = [np.median(e[c]) for e, c in zip(error, cells, strict=True) if c.any()]
    return float(np.mean(medians)) if medians else float("nan")


def survival(pred: Tracks, truth: Tracks, known: BoolArray | None = None, limit: float = _SURVIVAL_PX) -> float:
    """Survival (PointOdyssey, Zheng et al. 2023): how long a track lives, as a share of its frames from its query on.

    A track dies in the first known frame whose error exceeds `limit` pixels at 256x256; frames before that count as
    alive. Averaged over tracks.
    """
    error, cells = errors_from_query(pred, truth, known)
    forward = np.arange(truth.video.frames) >= truth.queries.t[:, None]
    alive = np.cumprod(~(cells & (error > limit)), axis=1) * forward
    return mean(alive.sum(1) / np.maximum(forward.sum(1), 1))


def error_by_visibility(
    pred: Tracks, truth: Tracks, known: BoolArray | None = None, mode: Mode = "first"
) -> dict[str, float]:
    """Mean error in source pixels, split by the truth's visibility (PIPs, Harley et al. 2022); `mode` as in `tap_vid`.

    Returns:
        "visible" and "occluded"; NaN where there are no such cells.
    """
    check_queries(pred, truth)
    error = np.linalg.norm(pred.xy.astype(np.float64) - truth.xy, axis=-1)
    cells = scored_cells(truth.queries.t.astype(np.float64), error.shape, mode) & known_cells(truth, known)
    return {"visible": mean(error[cells & truth.visible]), "occluded": mean(error[cells & ~truth.visible])}


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
    check_queries(pred, truth)
    area = np.asarray(areas, np.float64)
    if area.shape != (truth.video.frames,):
        raise ShapeError("areas", f"[{truth.video.frames}]", area.shape)
    error = np.linalg.norm(pred.xy.astype(np.float64) - truth.xy, axis=-1)
    cells = (
        scored_cells(truth.queries.t.astype(np.float64), error.shape, "first")
        & truth.visible
        & known_cells(truth, known)
    )
    return mean((error < alpha * np.sqrt(area))[cells & truth.visible])


def in_mask(pred: Tracks, masks: Sequence[IntArray], void: int = 255) -> float:
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
        mask = np.asarray(masks[t]).astype(np.int64)
        if mask.shape != (h, w):
            raise ShapeError(f"masks[{t}]", f"[{h}, {w}]", mask.shape)
        ids[:, t] = ids_at(mask, pred.xy[:, t], -1)
        now = pred.queries.t == t
        start[now] = ids_at(mask, pred.queries.xy[now], -1)
    cells = pred.visible & (np.arange(frames) != pred.queries.t[:, None]) & (ids != void)
    cells &= ((start > 0) & (start != void))[:, None]
    return mean((ids == start[:, None])[cells])
