"""Smoothness of tracks, and their agreement with optical flow. Conventions as in `trackime.metrics.tapvid`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trackime.arrays import BoolArray, FloatArray, bilinear, inside
from trackime.errors import ShapeError
from trackime.metrics._cells import benchmark_xy, check_queries, known_cells, mean
from trackime.types import Tracks


def temporal_coherence(pred: Tracks, truth: Tracks, known: BoolArray | None = None) -> float:
    """TC (OmniMotion, Wang et al. 2023; CaDeX++): how much the track shakes, in pixels at 256x256. Lower is better.

    The mean L2 difference between the accelerations x_{t+1} - 2 x_t + x_{t-1} of prediction and truth, where the
    truth is visible in all three frames.
    """
    check_queries(pred, truth)
    cells = truth.visible & known_cells(truth, known)
    difference = np.diff(benchmark_xy(pred) - benchmark_xy(truth), n=2, axis=1)
    return mean(np.linalg.norm(difference, axis=-1)[cells[:, :-2] & cells[:, 1:-1] & cells[:, 2:]])


def flow_disagreement(pred: Tracks, flow: Sequence[FloatArray]) -> float:
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
    h, w, frames = pred.video.height, pred.video.width, pred.video.frames
    if len(flow) != max(frames - 1, 0):
        raise ShapeError("flow", f"[{max(frames - 1, 0)}, {h}, {w}, 2]", (len(flow),))
    distances = []
    for t, field in enumerate(flow):
        if np.shape(field) != (h, w, 2):
            raise ShapeError(f"flow[{t}]", f"[{h}, {w}, 2]", np.shape(field))
        start, step = pred.xy[:, t].astype(np.float64), np.diff(pred.xy[:, t : t + 2].astype(np.float64), axis=1)[:, 0]
        use = pred.visible[:, t] & pred.visible[:, t + 1] & inside(start, (h, w))
        distances.append(np.linalg.norm(step[use] - bilinear(np.asarray(field), start[use]), axis=1))
    return mean(np.concatenate(distances)) if distances else float("nan")
