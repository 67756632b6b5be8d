"""Choice of the query points of a batch, and their true tracks."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from trackime.worlds.layers.batch._layers import BatchLayers
from trackime.worlds.layers.batch._truth import find_top, follow
from trackime.worlds.layers.batch.options import LONG_GAP, BatchOptions

SPARE = 3
"""Candidates for every point: tracks with gaps are chosen among them."""

LOOKED_AT = 6
"""Frames of a clip from which candidates are drawn."""


def longest_gap(visible: Tensor) -> Tensor:
    """Longest run of hidden frames of points [..., T] between two visible ones: int64 [...]."""
    frames = visible.shape[-1]
    at = torch.arange(frames, device=visible.device).expand(visible.shape)
    # The last visible frame before each; -1: none.
    last = torch.where(visible, at, -1).cummax(-1).values
    before = torch.cat([torch.full_like(last[..., :1], -1), last[..., :-1]], -1)
    gap = torch.where(visible & (before >= 0), at - before - 1, 0)
    return gap.amax(-1)


def choose_points(
    rng: Generator, layers: BatchLayers, masks: Tensor, points: int, options: BatchOptions
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Visible points, with the requested shares of tracks with gaps.

    Args:
        rng: where the randomness comes from.
        layers: of the batch.
        masks: uint8 [B, T, H, W].
        points: N.
        options: shares of objects, edges and gaps.

    Returns:
        xy float64 [B, N, T, 2]; visible bool [B, N, T]; query frame int64 [B, N]; object int64 [B, N].
    """
    batch, frames = masks.shape[:2]
    device = masks.device
    many = SPARE * points if options.gaps > 0 else points
    t, xy = _candidates(rng, masks, many, options)
    clip = torch.arange(batch, device=device).repeat_interleave(many)
    layer, _ = find_top(layers, clip, t.view(-1), xy.view(-1, 2))
    uv = layers.pose(layer, t.view(-1), torch.float64).inverse(xy.view(-1, 1, 2))[:, 0]
    path, visible = follow(layers, layer, uv, torch.arange(frames, device=device))
    # A point is visible in its query frame, whatever the rounding.
    row = torch.arange(len(clip), device=device)
    path[row, t.view(-1)], visible[row, t.view(-1)] = xy.view(-1, 2), True
    path, visible = path.view(batch, many, frames, 2), visible.view(batch, many, frames)
    chosen = _select(visible, points, options)

    def pick(values: Tensor) -> Tensor:
        index = chosen.view(batch, points, *(1,) * (values.dim() - 2))
        return values.gather(1, index.expand(-1, -1, *values.shape[2:]))

    path, visible, layer = pick(path), pick(visible), pick(layer.view(batch, many))
    # The query is in any of the frames in which the point is visible, each as likely as the next.
    draw = torch.from_numpy(rng.random((batch, points))).to(device)
    nth = (draw * visible.sum(-1)).floor().to(torch.int64)
    query = (visible.cumsum(-1) <= nth[..., None]).sum(-1)
    return path, visible, query, layers.thing[layer]


def _candidates(rng: Generator, masks: Tensor, many: int, options: BatchOptions) -> tuple[Tensor, Tensor]:
    """Frames int64 [B, M] and places float64 [B, M, 2] on edges, objects and background in the requested shares."""
    batch, frames, height, width = masks.shape
    device = masks.device
    looked = np.stack([np.sort(rng.permutation(frames)[:LOOKED_AT]) for _ in range(batch)])
    times = torch.from_numpy(looked).to(device)
    seen = masks[torch.arange(batch, device=device)[:, None], times]  # [B, F, H, W]
    reach = max(1, round(0.012 * min(height, width)))
    edge = torch.zeros_like(seen, dtype=torch.bool)
    across = seen[..., reach:] != seen[..., :-reach]
    along = seen[..., reach:, :] != seen[..., :-reach, :]
    edge[..., reach:] |= across
    edge[..., :-reach] |= across
    edge[..., reach:, :] |= along
    edge[..., :-reach, :] |= along
    thing = seen > 0
    kinds = torch.stack([thing & edge, thing & ~edge, ~thing & edge, ~thing & ~edge], 1).flatten(2)  # [B, 4, P]
    total = kinds.to(torch.int32).cumsum(-1, dtype=torch.int32)
    number = total[..., -1]
    on = torch.from_numpy(rng.random((batch, many)) < options.on_objects).to(device)
    near = torch.from_numpy(rng.random((batch, many)) < options.near_edges).to(device) & on
    near = near | (~on & torch.from_numpy(rng.random((batch, many)) < 0.5 * options.near_edges).to(device))
    # A kind that a clip does not have is replaced by the next one.
    kind = torch.full((batch, many), -1, device=device)
    for flip_on, flip_near in ((False, False), (False, True), (True, True), (True, False)):
        code = 2 * (on == flip_on).to(torch.int64) + (near == flip_near).to(torch.int64)
        there = number.gather(1, code) > 0
        kind = torch.where((kind < 0) & there, code, kind)
    draw = torch.from_numpy(rng.random((batch, many))).to(device)
    nth = (draw * number.gather(1, kind)).floor().to(torch.int32) + 1
    place = torch.zeros_like(kind)
    for k in range(4):
        found = torch.searchsorted(total[:, k].contiguous(), nth)
        place = torch.where(kind == k, found, place)
    frame = place // (height * width)
    y, x = place % (height * width) // width, place % width
    jitter = torch.from_numpy(rng.uniform(0.02, 0.98, (batch, many, 2))).to(device)
    return times.gather(1, frame), torch.stack([x, y], -1) + jitter


def _select(visible: Tensor, points: int, options: BatchOptions) -> Tensor:
    """Indices int64 [B, N] of candidates [B, M, T]: long gaps, gaps and the rest in the requested shares, as far as
    available; candidates are in random order."""
    if visible.shape[1] == points:
        return torch.arange(points, device=visible.device).expand(len(visible), -1)
    gap = longest_gap(visible)
    kind = (gap > 0).to(torch.int64) + (gap >= LONG_GAP).to(torch.int64)
    there = torch.nn.functional.one_hot(kind, 3)
    supply = there.sum(1)  # [B, 3]
    batch = len(visible)
    long = _spread(supply[:, 2], round(options.long_gaps * points * batch), points // 2)
    rest = round(options.gaps * points * batch) - long.sum()
    short = torch.minimum(_spread(supply[:, 1], rest, points // 2), points - long)
    quota = torch.stack([points - long - short, short, long], -1)
    nth = there.cumsum(1).gather(2, kind[..., None])[..., 0]
    over = (nth > quota.gather(1, kind)).to(torch.int64)
    # Where those without a gap are missing, short ones come before long ones.
    return (over * (1 + kind)).argsort(dim=1, stable=True)[:, :points]


def _spread(supply: Tensor, wanted: Tensor | int, most: int) -> Tensor:
    """Numbers int64 [B] that sum to about `wanted`, as even as supplies [B] allow, none above `most`."""
    room = supply.clamp(max=most)
    # The level at which cutting all off leaves as many as wanted.
    levels = torch.arange(most + 1, device=supply.device)
    total = torch.minimum(room[:, None], levels).sum(0)
    return torch.minimum(room, (total < wanted).sum())
