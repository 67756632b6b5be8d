"""Matches between frames: of tracks, true or ours, and of chained optical flow."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.solver_scene import hierarchical
from trackime.video import Video
from trackime_apps.depth.consistency import bilinear
from trackime_apps.depth.maps import InitialDepth
from trackime_apps.depth.problem import Matches
from trackime_apps.depth.trails import Trails
from trackime_apps.flow import DenseFlow, disagreement

Float64 = npt.NDArray[np.float64]
Static = Callable[[int], npt.NDArray[np.bool_]]

AGREE = 1.0
"""Pixels by which flow there and back may miss where it began."""


def of_trails(trails: Trails, initial: InitialDepth, width: int, height: int) -> Matches:
    """Both ends of every hierarchical pair of frames; a track's matches share a weight of its visible frames."""
    rows_i, rows_j = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for i, j in hierarchical(trails.frames):
        _, a, b = trails.between(i, j)
        rows_i.append(a)
        rows_j.append(b)
    a, b = np.concatenate(rows_i), np.concatenate(rows_j)
    z = np.full(len(trails.frame), np.nan)
    for t in range(trails.frames):
        rows = trails.at(t)[1]
        z[rows] = bilinear(initial.depth(t), trails.xy[rows], width, height)
    good = np.isfinite(z[a]) & np.isfinite(z[b])
    a, b = a[good], b[good]
    point = trails.point[a]
    count = np.bincount(point, minlength=len(trails))
    weight = trails.length[point] / count[point]
    sigma = np.hypot(trails.sigma[a], trails.sigma[b])
    return _matches(trails.frame[a], trails.frame[b], trails.xy[a], trails.xy[b], z[a], z[b], weight, sigma)


def of_flow(video: Video, initial: InitialDepth, static: Static | None = None, step: int = 10) -> Matches:
    """Every `step`-th pixel of the first frame of a pair, carried to the second by dense flow from frame to frame.

    A point whose flow there and back misses by more than `AGREE` at any step is lost.

    Args:
        video: the frames.
        initial: depth to sample.
        static: bool [H, W] of a frame: points begin and end there alone. None: anywhere.
        step: pixels.
    """
    there, back = _flows(video)
    w, h, frames = video.info.width, video.info.height, len(video)
    depths = [initial.depth(t) for t in range(frames)]
    masks = [np.ones((h, w), bool) if static is None else static(t) for t in range(frames)]
    y, x = (a.ravel() + 0.5 for a in np.mgrid[step // 2 : h : step, step // 2 : w : step])
    grid = np.stack((x, y), 1)
    targets: dict[int, set[int]] = {}
    for i, j in hierarchical(frames):
        targets.setdefault(i, set()).add(j)
    parts = []
    for i, ends in sorted(targets.items()):
        begin = grid[_at(masks[i], grid)]
        for way, flows, other in ((1, there, back), (-1, back, there)):
            mine = [j for j in ends if (j - i) * way > 0]
            xy, first = begin, begin
            for t in range(i, max(mine, key=lambda j: abs(j - i)), way) if mine else ():
                k = t if way > 0 else t - 1  # the fields between frames k and k + 1
                moved = xy + _sample(flows[k], xy)
                inside = ((moved >= 0) & (moved <= (w, h))).all(1)
                near = _sample(disagreement(flows[k], other[k])[..., None], xy)[:, 0] <= AGREE
                xy, first = moved[inside & near], first[inside & near]
                if t + way in mine:
                    good = _at(masks[t + way], xy)
                    a, b = first[good], xy[good]
                    parts.append((i, t + way, a, b, bilinear(depths[i], a, w, h), bilinear(depths[t + way], b, w, h)))
    i, j = (np.concatenate([np.full(len(p[2]), p[k]) for p in parts]) for k in (0, 1))
    x_i, x_j, d_i, d_j = (np.concatenate([p[k] for p in parts]) for k in (2, 3, 4, 5))
    good = np.isfinite(d_i) & np.isfinite(d_j)
    one = np.ones(int(good.sum()))
    return _matches(i[good], j[good], x_i[good], x_j[good], d_i[good], d_j[good], one, one)


def _flows(video: Video) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]:
    flow, there, back, before = DenseFlow(), [], [], None
    for frame in video:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if before is not None:
            there.append(flow(before, grey))
            back.append(flow(grey, before))
        before = grey
    return there, back


def _sample(field: npt.NDArray[np.float32], xy: Float64) -> Float64:
    """A field [H, W, C] at points [N, 2], bilinear."""
    if not len(xy):
        return np.zeros((0, field.shape[2]))
    at = (xy - 0.5).astype(np.float32)
    got = cv2.remap(field, at[:, None, 0], at[:, None, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return got.reshape(len(xy), -1).astype(np.float64)


def _at(mask: npt.NDArray[np.bool_], xy: Float64) -> npt.NDArray[np.bool_]:
    h, w = mask.shape
    x, y = np.clip(xy[:, 0].astype(int), 0, w - 1), np.clip(xy[:, 1].astype(int), 0, h - 1)
    return mask[y, x]


def _matches(*columns: npt.NDArray[np.generic]) -> Matches:
    dtypes = (torch.int64, torch.int64, *[torch.float64] * 6)
    return Matches(*(torch.as_tensor(np.asarray(c)).to(d) for c, d in zip(columns, dtypes, strict=True)))
