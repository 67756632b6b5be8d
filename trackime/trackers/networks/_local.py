"""Correlation of points with the neighbourhood of a position in feature maps."""

from __future__ import annotations

import torch
from torch import Tensor

from trackime.trackers.networks._lookup import SIDE, around, blend

SLICE = {"cpu": 2**20}
"""Floats of neighbourhoods gathered at once: what a core's cache holds."""
SLICE_ELSEWHERE = 2**27


def local_correlation(
    grid: Tensor,  # [B, T, h, w, C]
    xy: Tensor,  # [B, N, T, 2] map pixels, the centre of the top-left one at (0.5, 0.5)
    features: Tensor,  # [B, N, T, C]; a T of 1 serves every frame
) -> Tensor:
    """Dot products of each point's feature with bilinear samples of the maps around its positions.

    Sampling and dot product are both linear, so whole pixels are correlated first (8 x 8 of them) and the 49
    samples, which all have the same fraction of a pixel, are blended from the scalars. Outside the map is zero.

    Returns:
        [B, N, T, 49] row by row, the offset (-3, -3) first.
    """
    b, t, h, w, c = grid.shape
    n = xy.shape[1]
    if xy.numel() == 0:
        return xy.new_zeros(b, n, t, SIDE**2)
    frames = torch.arange(b * t, device=xy.device).reshape(b, 1, t)
    around_each = around(xy - 0.5, frames, (h, w))
    rows, inside = (part.flatten(-2).flatten(0, 2) for part in around_each[:2])  # [B N T, 64]
    flat, target = grid.reshape(-1, c), features.expand(b, n, t, c).reshape(-1, c, 1)
    step = max(1, SLICE.get(grid.device.type, SLICE_ELSEWHERE) // (rows.shape[1] * c))
    parts = []
    for i in range(0, len(rows), step):
        near = flat[rows[i : i + step].reshape(-1)].reshape(-1, rows.shape[1], c)
        parts.append(torch.bmm(near, target[i : i + step])[..., 0])
    values = (torch.cat(parts) * inside).reshape(*around_each.inside.shape, 1)
    return blend(values, around_each.fraction).flatten(3)
