"""Cells of feature maps around points: where local correlations and descriptors are looked up.

Positions are (x, y) in cells of the map, the centre of the first one at (0, 0): the published networks' convention.
Maps are channels last and many points share few maps, so rows are gathered; `geometry.sample` reads [B, C, h, w] maps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

RADIUS = 3
"""Cells to each side of a point, in all networks."""
SIDE = 2 * RADIUS + 1
"""Bilinear samples per side; they touch one cell more."""


class Neighbours(NamedTuple):
    """The SIDE + 1 whole cells per side that SIDE bilinear samples, one cell apart, touch; all share one fraction."""

    rows: Tensor  # int64 [..., SIDE + 1, SIDE + 1] rows of the maps laid out as [M * h * w, C]; y, then x
    inside: Tensor  # bool, the same shape: false for cells outside the map, whose row is the nearest border cell's
    fraction: Tensor  # [..., 2] (x, y) of a cell


def around(
    xy: Tensor,  # [..., 2]
    frames: Tensor,  # int64, broadcasts to [...]: which of M maps
    size: tuple[int, int],  # (h, w) of the maps
) -> Neighbours:
    """The cells around points."""
    h, w = size
    # Beyond these limits all cells lie outside the map; they keep far points within the range of integers.
    place = torch.stack([xy[..., i].clamp(-RADIUS - 2, side + RADIUS + 1) for i, side in ((0, w), (1, h))], -1)
    corner = place.floor()
    steps = torch.arange(-RADIUS, RADIUS + 2, device=xy.device)
    x, y = (corner[..., i, None].long() + steps for i in (0, 1))  # [..., SIDE + 1]
    inside = ((y >= 0) & (y < h))[..., :, None] & ((x >= 0) & (x < w))[..., None, :]
    lines = (frames[..., None] * h + y.clamp(0, h - 1)) * w
    return Neighbours(lines[..., :, None] + x.clamp(0, w - 1)[..., None, :], inside, place - corner)


def blend(values: Tensor, fraction: Tensor) -> Tensor:
    """Bilinear samples of values at whole cells.

    Sampling is linear: what is linear in the features, too, is computed with whole cells first, and blended here.

    Args:
        values: [..., SIDE + 1, SIDE + 1, K]; y, then x (or x, then y, with the fraction the other way round).
        fraction: [..., 2] of `Neighbours`.

    Returns:
        [..., SIDE, SIDE, K].
    """
    x, y = fraction[..., None, None, None].unbind(-4)
    values = torch.lerp(values[..., :-1, :, :], values[..., 1:, :, :], y)
    return torch.lerp(values[..., :-1, :], values[..., 1:, :], x)


def bilinear(
    maps: Tensor,  # [M, h, w, C]
    frames: Tensor,  # int64, broadcasts to [...]
    xy: Tensor,  # [..., 2]
) -> Tensor:
    """Features [..., C] at points; outside of the map those of its nearest border."""
    h, w, c = maps.shape[1:]
    flat = maps.reshape(-1, c)
    x, y = xy[..., 0].clamp(0, w - 1), xy[..., 1].clamp(0, h - 1)
    left, top = x.floor().long(), y.floor().long()
    right, bottom = (left + 1).clamp(max=w - 1), (top + 1).clamp(max=h - 1)
    fx, fy = ((part - first)[..., None].to(maps.dtype) for part, first in ((x, left), (y, top)))

    def cell(row: Tensor, column: Tensor) -> Tensor:
        index = (frames * h + row) * w + column
        return flat.index_select(0, index.flatten()).view(*index.shape, c)

    above = cell(top, left) * (1 - fx) + cell(top, right) * fx
    below = cell(bottom, left) * (1 - fx) + cell(bottom, right) * fx
    return above * (1 - fy) + below * fy
