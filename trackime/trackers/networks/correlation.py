"""Local correlations with a pyramid of feature maps, looked up around points (Harley et al. 2022, section 3.3).

Positions are in cells of the finest level, (0, 0) being the centre of its first cell. Whole cost volumes are never
made: only the cells around a point are gathered, once for all the descriptors they are compared with, so memory follows
the number of points and not the size of the frame.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = 3
"""Cells looked at to each side of a point."""
LEVELS = 4
"""Levels of the pyramid, each half the size of the one before."""
LOOKUP = LEVELS * (2 * RADIUS + 1) ** 2
"""Numbers a point and descriptor get from `correlate`."""


def build_pyramid(maps: Tensor, levels: int = LEVELS) -> list[Tensor]:
    """Average-pooled maps.

    Args:
        maps: [T, h, w, C], channels last so that a cell's numbers lie together.

    Returns:
        `levels` tensors [T, h / 2^i, w / 2^i, C], sizes rounded down; the first one is `maps`.
    """
    pyramid = [maps]
    for _ in range(levels - 1):
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
    steps = torch.arange(-RADIUS, RADIUS + 2, device=xy.device)
    wanted = (descriptors / c**0.5).reshape(n * s, k, c).transpose(1, 2)
    found = []
    for level, maps in enumerate(pyramid):
        h, w = maps.shape[1:3]
        place = xy / 2**level
        low = place.floor()
        part = (place - low)[:, :, None, :, None, None]  # [N, S, 1, 2, 1, 1]
        # Beyond these limits a window lies outside as a whole; they keep far points within the integers.
        x = low[..., 0].clamp(-RADIUS - 2, w + RADIUS).long()[..., None] + steps  # [N, S, 8]
        y = low[..., 1].clamp(-RADIUS - 2, h + RADIUS).long()[..., None] + steps
        inside = ((x >= 0) & (x < w))[..., :, None] & ((y >= 0) & (y < h))[..., None, :]
        rows = frames[..., None, None] * h + y.clamp(0, h - 1)[..., None, :]
        cells = (rows * w + x.clamp(0, w - 1)[..., :, None]).reshape(-1)  # x before y
        near = maps.reshape(-1, c).index_select(0, cells).view(n * s, -1, c)
        dots = torch.bmm(near, wanted).view(n, s, *inside.shape[2:], k).permute(0, 1, 4, 2, 3)  # [N, S, K, 8, 8]
        dots = dots * inside[:, :, None]
        # Steps are whole cells, so that all of a window shares the same fractions.
        dots = dots[..., :-1, :] + part[:, :, :, 0] * (dots[..., 1:, :] - dots[..., :-1, :])
        dots = dots[..., :-1] + part[:, :, :, 1] * (dots[..., 1:] - dots[..., :-1])
        found.append(dots.flatten(3))
    return torch.cat(found, -1)


def describe(maps: Tensor, frames: Tensor, xy: Tensor) -> Tensor:
    """Bilinear features at points; outside of the map those of its nearest border.

    Args:
        maps: [T, h, w, C].
        frames: int64 [N, S].
        xy: [N, S, 2] cells.

    Returns:
        [N, S, C].
    """
    h, w, c = maps.shape[1:]
    flat = maps.reshape(-1, c)
    x, y = xy[..., 0].clamp(0, w - 1), xy[..., 1].clamp(0, h - 1)
    x0, y0 = x.floor(), y.floor()
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    left, top = x0.long(), y0.long()
    right, bottom = (left + 1).clamp(max=w - 1), (top + 1).clamp(max=h - 1)

    def cell(row: Tensor, column: Tensor) -> Tensor:
        index = (frames * h + row) * w + column
        return flat.index_select(0, index.reshape(-1)).view(*index.shape, c)

    above = cell(top, left) * (1 - fx) + cell(top, right) * fx
    below = cell(bottom, left) * (1 - fx) + cell(bottom, right) * fx
    return above * (1 - fy) + below * fy
