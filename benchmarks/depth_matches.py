"""Matches of chained optical flow: every pair of frames starts from new points, as flow between them would.

Unlike tracks, flow does not recognise a point: here each pair has its own points, moved from frame to frame, and no
point is in more than one pair.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch

from trackime.arrays import BoolArray, Float32, Float64, Int64, bilinear, ids_at, inside
from trackime.imaging import DenseFlow, forward_backward_error
from trackime.video import Video
from trackime_apps.depth import LEAST_SIGMA, InitialDepth, depth_at, hierarchical_pairs
from trackime_apps.depth.solver import Matches

Static = Callable[[int], BoolArray]

STEP = 0.15
"""Pixels of error a step of the chain adds: the median of DIS on worlds of 320x240."""
AGREE = 1.0
"""Pixels by which flow there and back may miss where it began."""


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
    for i, j in hierarchical_pairs(frames):
        targets.setdefault(i, set()).add(j)
        targets.setdefault(j, set()).add(i)
    parts = []
    for i, ends in sorted(targets.items()):
        begin = grid[ids_at(masks[i], grid)]
        for way, flows, other in ((1, there, back), (-1, back, there)):
            mine = [j for j in ends if (j - i) * way > 0]
            xy, first = begin, begin
            for t in range(i, max(mine, key=lambda j: abs(j - i)), way) if mine else ():
                k = t if way > 0 else t - 1  # the fields between frames k and k + 1
                moved = xy + bilinear(flows[k], xy)
                within = inside(moved, (h, w))
                near = bilinear(forward_backward_error(flows[k], other[k]), xy) <= AGREE
                xy, first = moved[within & near], first[within & near]
                if t + way in mine:
                    good = ids_at(masks[t + way], xy)
                    a, b = first[good], xy[good]
                    parts.append((i, t + way, a, b, depth_at(depths[i], a, w, h), depth_at(depths[t + way], b, w, h)))
    i, j = (np.concatenate([np.full(len(p[2]), p[k]) for p in parts]) for k in (0, 1))
    x_i, x_j, d_i, d_j = (np.concatenate([p[k] for p in parts]) for k in (2, 3, 4, 5))
    good = (d_i > 0) & (d_j > 0)
    columns = (c[good] for c in (i, j, x_i, x_j, d_i, d_j, np.ones(len(i)), _sigma(j - i)))
    dtypes = (torch.int64, torch.int64, *[torch.float64] * 6)
    return Matches(*(torch.as_tensor(np.ascontiguousarray(c)).to(d) for c, d in zip(columns, dtypes, strict=True)))


def _sigma(gap: Int64) -> Float64:
    """Expected error in pixels of flow chained over `gap` frames: steps err alike where the picture is alike, so that
    errors add up."""
    return np.maximum(LEAST_SIGMA, STEP * np.abs(gap).astype(np.float64))


def _flows(video: Video) -> tuple[list[Float32], list[Float32]]:
    flow, there, back, before = DenseFlow(), [], [], None
    for frame in video:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if before is not None:
            there.append(flow(before, grey))
            back.append(flow(grey, before))
        before = grey
    return there, back
