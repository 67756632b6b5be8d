"""Correlation of points with the neighbourhood of a position in feature maps."""

from __future__ import annotations

import torch
from torch import Tensor

RADIUS = 3
"""The neighbourhood is 7 x 7 map pixels."""
SIDE = 2 * RADIUS + 2
"""Whole map pixels a side that 7 x 7 bilinear samples touch."""
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
        return xy.new_zeros(b, n, t, (SIDE - 1) ** 2)
    size = torch.tensor([w, h], device=xy.device)
    # Positions beyond reach of the map see nothing of it, however far away they are.
    place = torch.minimum((xy - 0.5).clamp(min=-SIDE), size + float(SIDE))
    corner = place.floor()
    fraction = (place - corner).reshape(-1, 1, 1, 2)
    taps = corner.long()[..., None, :] + torch.arange(-RADIUS, RADIUS + 2, device=xy.device)[:, None]  # [B, N, T, 8, 2]
    inside = (taps >= 0) & (taps < size)
    taps = torch.minimum(taps.clamp(min=0), size - 1)
    frames = torch.arange(b * t, device=xy.device).reshape(b, 1, t, 1)
    rows = (frames * h + taps[..., 1]) * w  # [B, N, T, 8] first pixel of each line
    index = (rows[..., :, None] + taps[..., None, :, 0]).reshape(-1, SIDE * SIDE)
    valid = (inside[..., :, None, 1] & inside[..., None, :, 0]).reshape(-1, SIDE * SIDE)
    flat, target = grid.reshape(-1, c), features.expand(b, n, t, c).reshape(-1, c, 1)
    step = max(1, SLICE.get(grid.device.type, SLICE_ELSEWHERE) // (SIDE * SIDE * c))
    parts = []
    for i in range(0, len(index), step):
        near = flat[index[i : i + step].reshape(-1)].reshape(-1, SIDE * SIDE, c)
        parts.append(torch.bmm(near, target[i : i + step])[..., 0])
    values = (torch.cat(parts) * valid).reshape(-1, SIDE, SIDE)
    fx, fy = fraction.unbind(-1)  # [B N T, 1, 1] each
    across = values[:, :, :-1] * (1 - fx) + values[:, :, 1:] * fx
    return (across[:, :-1] * (1 - fy) + across[:, 1:] * fy).reshape(b, n, t, -1)
