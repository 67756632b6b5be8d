"""The cost volume of a frame (InstaTAP, section 3.2) and what is read off it: peaks, sub-cell places, margins."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Peaks:
    """The best place of N points in one frame.

    Attributes:
        xy: [N, 2] sub-cell places, pixels.
        value: [N] similarity at the peak's cell.
        second: [N] similarity at the second peak: the best place further than the exclusion radius from the first.
        second_xy: [N, 2] centre of the second peak's cell, pixels.
    """

    xy: Tensor
    value: Tensor
    second: Tensor
    second_xy: Tensor


def cost_volume(queries: Tensor, cells: Tensor) -> Tensor:
    """Similarities C = S(F, F(p)) of N queries [N, D] with all cells [P, D] of a frame: [N, P], dot products."""
    return queries @ cells.T


def motion_prior(cells: Tensor, expected: Tensor, scale: Tensor) -> Tensor:
    """Log of a Cauchy-like prior for where a point went: -log(1 + |cell - expected|^2 / scale^2).

    Its tail is a power law: a point that reappears far away loses a few units of log, never its chance.

    Args:
        cells: [P, 2] pixels.
        expected: [N, 2] pixels.
        scale: [N] pixels.

    Returns:
        [N, P].
    """
    # The square expanded, so that one matrix product makes it: no [N, P, 2], and a single pass over [N, P].
    inverse = scale.square().reciprocal()[:, None]
    ones = torch.ones_like(cells[:, :1])
    left = torch.cat([-2 * expected * inverse, inverse, 1 + expected.square().sum(1, keepdim=True) * inverse], 1)
    right = torch.cat([cells, cells.square().sum(1, keepdim=True), ones], 1)
    return (left @ right.T).clamp_(min=1).log_().neg_()


def find_peaks(
    cost: Tensor,  # [N, h * w] similarities
    prior: Tensor,  # [N, h * w] added to choose the peak
    grid: tuple[int, int],  # (h, w) cells
    stride: int,  # pixels a cell
    temperature: float = 0.06,
    radius: int = 2,
    exclusion: float = 12.0,
) -> Peaks:
    """Peaks of cost + prior, placed by a soft-argmax over the (2 radius + 1)^2 cells around.

    Args:
        temperature: of the soft-argmax, in units of similarity.
        radius: cells to each side of the peak that the soft-argmax sees.
        exclusion: pixels around the peak where no second one is looked for.
    """
    h, w = grid
    n = len(cost)
    total = cost + prior
    best = total.argmax(1)
    row, column = best // w, best % w
    step = torch.arange(-radius, radius + 1, device=cost.device)
    rows, columns = row[:, None] + step, column[:, None] + step  # [N, K]
    index = rows.clamp(0, h - 1)[:, :, None] * w + columns.clamp(0, w - 1)[:, None, :]
    here = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None, :]
    local = total.gather(1, index.view(n, -1)).masked_fill(~here.view(n, -1), -torch.inf)
    weight = torch.softmax(local / temperature, 1).view(n, len(step), len(step))
    centre = (torch.stack([columns, rows], -1).to(cost.dtype) + 0.5) * stride  # [N, K, 2]
    xy = torch.stack([(weight.sum(1) * centre[..., 0]).sum(1), (weight.sum(2) * centre[..., 1]).sum(1)], -1)
    value = cost.gather(1, best[:, None])[:, 0]
    other = second_peak(total, row, column, grid, int(exclusion / stride))
    second_xy = (torch.stack([other % w, other // w], -1).to(cost.dtype) + 0.5) * stride
    return Peaks(xy, value, cost.gather(1, other[:, None])[:, 0], second_xy)


def second_peak(total: Tensor, row: Tensor, column: Tensor, grid: tuple[int, int], cells: int) -> Tensor:
    """Index [N] of the largest value more than `cells` to a side of a cell. Overwrites those nearer with -inf."""
    h, w = grid
    step = torch.arange(-cells, cells + 1, device=total.device)
    rows, columns = (row[:, None] + step).clamp(0, h - 1), (column[:, None] + step).clamp(0, w - 1)
    near = (rows[:, :, None] * w + columns[:, None, :]).flatten(1)
    return total.scatter_(1, near, -torch.inf).argmax(1)


def refine_peaks(similarity: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """Offset of the maximum of small maps from their centre, by a parabola through the peak and its neighbours.

    Args:
        similarity: [N, K, K], K odd, centred on the place being refined.
        step: pixels between samples.

    Returns:
        offset [N, 2] (x, y) pixels and the maximum [N].
    """
    n, k = similarity.shape[:2]
    value, best = similarity.reshape(n, -1).max(1)
    row, column = best // k, best % k
    each = torch.arange(n, device=similarity.device)
    offsets = []
    for along, rows, columns in ((column, 0, 1), (row, 1, 0)):
        inner = (along > 0) & (along < k - 1)
        before = similarity[each, (row - rows).clamp(min=0), (column - columns).clamp(min=0)]
        after = similarity[each, (row + rows).clamp(max=k - 1), (column + columns).clamp(max=k - 1)]
        curve = (2 * value - before - after).clamp(min=1e-6)
        part = ((after - before) / (2 * curve)).clamp(-0.5, 0.5)
        offsets.append((along - k // 2 + torch.where(inner, part, torch.zeros_like(part))) * step)
    return torch.stack(offsets, -1), value
