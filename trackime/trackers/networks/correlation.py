"""Local correlations with a pyramid of feature maps, looked up around points (Harley et al. 2022, section 3.3).

Positions are in cells of the finest level, (0, 0) being the centre of its first cell. Whole cost volumes are never
made: only the cells around a point are gathered, once for all the descriptors they are compared with, so memory follows
the number of points and not the size of the frame.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trackime.trackers.networks._lookup import SIDE, around, blend

LEVELS = 4
"""Levels of the pyramid, each half the size of the one before."""
LOOKUP = LEVELS * SIDE**2
"""Values of `correlate` per point and descriptor."""


def build_pyramid(maps: Tensor) -> list[Tensor]:
    """Average-pooled maps.

    Args:
        maps: [T, h, w, C], channels last so that a cell's numbers lie together.

    Returns:
        LEVELS tensors [T, h / 2^i, w / 2^i, C], sizes rounded down; the first one is `maps`.
    """
    pyramid = [maps]
    for _ in range(LEVELS - 1):
        pooled = F.avg_pool2d(pyramid[-1].permute(0, 3, 1, 2), 2)
        pyramid.append(pooled.permute(0, 2, 3, 1).contiguous())
    return pyramid


def correlate(
    pyramid: list[Tensor],  # [T, h, w, C] each
    frames: Tensor,  # int64 [N, S] which of the T frames
    xy: Tensor,  # [N, S, 2] cells of the first level
    descriptors: Tensor,  # [N, S, K, C]
) -> Tensor:
    """Scaled dot products of descriptors with the cells around points.

    Bilinear between cells and zero outside of the map. The first of the two window axes moves x, as the checkpoints
    learnt it.

    Returns:
        [N, S, K, levels * 49]: level, then x, then y.
    """
    n, s, k, c = descriptors.shape
    wanted = (descriptors / c**0.5).reshape(n * s, k, c).transpose(1, 2)
    found = []
    for level, maps in enumerate(pyramid):
        near = around(xy / 2**level, frames, (maps.shape[1], maps.shape[2]))
        cells = maps.reshape(-1, c).index_select(0, near.rows.flatten()).view(n * s, -1, c)
        dots = torch.bmm(cells, wanted).view(*near.inside.shape, k) * near.inside[..., None]
        found.append(blend(dots, near.fraction).permute(0, 1, 4, 3, 2).flatten(3))
    return torch.cat(found, -1)
