"""Matches between frames from tracks: one for any two frames that a point is seen in; and depth at points."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from trackime.arrays import Float64, FloatArray, Int64, bilinear, inside
from trackime.errors import InputError, ShapeError
from trackime.progress import Report, silent
from trackime.types import RaggedTracks

from .initial_depth import InitialDepth, is_known
from .solver import Matches

_EDGE = 1.15
"""Ratio of the largest to the smallest depth around a position from which they belong to two surfaces."""
_NEAREST = (np.floor, np.ceil)
_PER_PAIR = 1000
"""Most matches of a directed pair of frames; about six pairs begin or end at a frame."""
LEAST_SIGMA = 0.3
"""Least error of a match in pixels: cameras and maps are not exact, however well a point was tracked."""


def hierarchical_pairs(frames: int) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of a video: at distance 2^l, one every 2^max(0, l - 1) frames (Kopf, Rong, Huang, Robust
    consistent video depth estimation, CVPR 2021, section 4). Some three times as many as frames."""
    pairs = []
    gap = 1
    while gap < frames:
        pairs += [(i, i + gap) for i in range(0, frames - gap, max(1, gap // 2))]
        gap *= 2
    return pairs


def depth_at(depth: FloatArray, xy: npt.ArrayLike, width: int, height: int) -> Float64:
    """Depths float64 [N] of a map [h, w] of any resolution at pixels [N, 2] of its frame, width x height.

    Bilinear in 1 / depth, which is linear in the pixels on every plane. 0, unknown, where one of the pixels that
    contribute is unknown, where they differ by more than a factor of `_EDGE`, and outside the frame.

    Raises:
        ShapeError: the map is not [h, w].
    """
    depth, xy = np.asarray(depth, np.float64), np.asarray(xy, np.float64)
    if depth.ndim != 2 or not depth.size:
        raise ShapeError("depth map", "[h, w]", depth.shape)
    h, w = depth.shape
    good = inside(xy, (height, width))
    at = np.where(good[:, None], xy, 0) * (w / width, h / height)
    values = np.where(is_known(depth), depth, np.nan)
    # Pixels with a weight of 0 do not count: on a centre, floor and ceil are the same pixel.
    column, row = np.clip(at - 0.5, 0, (w - 1, h - 1)).T
    around = np.stack([values[v(row).astype(int), u(column).astype(int)] for v in _NEAREST for u in _NEAREST])
    good &= around.max(0) <= _EDGE * around.min(0)  # NaN: False
    return np.divide(1, bilinear(1 / values, at), out=np.zeros(len(at)), where=good)


def make_matches(
    tracks: RaggedTracks,
    initial: InitialDepth,
    width: int,
    height: int,
    *,
    static: npt.ArrayLike | None = None,
    per_pair: int = _PER_PAIR,
    least_sigma: float = LEAST_SIGMA,
    progress: Report = silent,
) -> Matches:
    """Matches of the hierarchical pairs, in both directions, with initial depths.

    Each map is read once; memory holds one depth per sighting. A sighting without depth (`depth_at`) makes no match.
    Pairs with more than `per_pair` points are subsampled evenly. All matches of a point together weigh as much as it
    has matched frames, times `static`, so that a point does not count by the square of its length.

    Args:
        tracks: the points.
        initial: depth of every frame.
        width, height: of the frames.
        static: bool or weights [N], 0 or more; None: all 1. Points of 0 make no matches.
        per_pair: matches of a directed pair at most; 0: all.
        least_sigma: pixels; lower bound of the root of the squared errors of both ends.
        progress: called as progress("matches", frames done, frames).

    Returns:
        Matches by pair, then by point; none where no point has depth in two frames of a pair.

    Raises:
        ShapeError: static not [N].
        InputError: weights below 0 or not finite, per_pair below 0, least_sigma not above 0.
    """
    share = np.ones(len(tracks)) if static is None else np.asarray(static, np.float64)
    if share.shape != (len(tracks),):
        raise ShapeError("static", f"[{len(tracks)}]", share.shape)
    if not (np.isfinite(share) & (share >= 0)).all():
        raise InputError("static: expected weights of 0 or more, got others")
    if per_pair < 0 or not least_sigma > 0:
        raise InputError(f"expected per_pair >= 0 and least_sigma > 0, got {per_pair} and {least_sigma:g}")
    point = tracks.point
    wanted = share[point] > 0
    rows = [here[wanted[here]] for here in map(tracks.rows, range(tracks.frames))]
    depth = np.zeros(len(tracks.frame))
    for t, here in enumerate(rows):
        if len(here):
            depth[here] = depth_at(initial.depth(t), tracks.xy[here], width, height)
            rows[t] = here[depth[here] > 0]
        progress("matches", t + 1, tracks.frames)
    ends = [_pair(rows[i], rows[j], point, per_pair) for i, j in hierarchical_pairs(tracks.frames)]
    a = np.concatenate([np.concatenate((m, n)) for m, n in ends] or [np.zeros(0, np.int64)])
    b = np.concatenate([np.concatenate((n, m)) for m, n in ends] or [np.zeros(0, np.int64)])
    of = point[a]
    matched = np.zeros(len(depth), bool)
    matched[a] = True
    visible = np.bincount(point[matched], minlength=len(tracks))
    total = np.bincount(of, minlength=len(tracks))
    sigma = np.maximum(np.hypot(tracks.sigma[a], tracks.sigma[b]), least_sigma)
    arrays = {
        "i": tracks.frame[a],
        "j": tracks.frame[b],
        "x_i": tracks.xy[a].astype(np.float64),
        "x_j": tracks.xy[b].astype(np.float64),
        "d_i": depth[a],
        "d_j": depth[b],
        "weight": share[of] * visible[of] / np.maximum(total[of], 1),
        "sigma": sigma.astype(np.float64),
    }
    return Matches(**{name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()})


def _pair(here: Int64, there: Int64, point: Int64, most: int) -> tuple[Int64, Int64]:
    """Sightings [M], [M] of the points seen in both frames, `most` at most (0: all)."""
    _, m, n = np.intersect1d(point[here], point[there], assume_unique=True, return_indices=True)
    if 0 < most < len(m):
        even = np.arange(most) * len(m) // most
        m, n = m[even], n[even]
    return here[m], there[n]
