"""Exact ground truth of a batch, from the maps it is rendered with: owners, tracks, flow."""

from __future__ import annotations

import torch
from torch import Tensor

from trackime.worlds.layers.batch._layers import BatchLayers

PAIRS = 1 << 21
"""Pairs of a point and a layer processed together: bounds memory."""


def find_top(layers: BatchLayers, clip: Tensor, t: Tensor, xy: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest layer at points.

    Args:
        layers: of the batch.
        clip: int64 [N].
        t: int64 [N].
        xy: float64 [N, 2], frame pixels.

    Returns:
        Layer int64 [N] (the background where nothing else is) and its rank int64 [N].
    """
    step = max(1, PAIRS // layers.table.shape[1])
    parts = [_find_chunk(layers, clip[k : k + step], t[k : k + step], xy[k : k + step]) for k in range(0, len(t), step)]
    if not parts:
        return clip, clip
    layer, rank = (torch.cat(column) for column in zip(*parts, strict=True))
    return layer, rank


def _find_chunk(layers: BatchLayers, clip: Tensor, t: Tensor, xy: Tensor) -> tuple[Tensor, Tensor]:
    near = layers.table[clip]  # [N, K]
    box = layers.box[near.clamp(min=0), t[:, None]]
    low, high = box[..., :2], box[..., 2:]
    point = xy[:, None].to(torch.float32)
    maybe = (near >= 0) & (layers.thing[near.clamp(min=0)] > 0)
    maybe &= ((point >= low) & (point <= high)).all(-1)
    which, slot = maybe.nonzero(as_tuple=True)
    layer = near[which, slot]
    pose = layers.pose(layer, t[which], torch.float64)
    covered = layers.cover(layer, pose.inverse(xy[which][:, None]))[:, 0] > 0
    which, layer = which[covered], layer[covered]
    # One number holds rank and layer: its maximum is the nearest layer.
    many = layers.rank.shape[0]
    ground = layers.table[clip, 0]
    code = ground.clone()
    code.scatter_reduce_(0, which, layers.rank[layer, t[which]] * many + layer, "amax")
    return code % many, code // many


def follow(layers: BatchLayers, layer: Tensor, uv: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Points of layers at some frames.

    Args:
        layers: of the batch.
        layer: int64 [N].
        uv: float64 [N, 2], the layers' own coordinates.
        frames: int64 [S].

    Returns:
        float64 [N, S, 2] frame pixels, bool [N, S] whether each is seen: within the frame, under no nearer layer.
    """
    count, many = len(layer), len(frames)
    rows, times = layer[:, None].expand(-1, many), frames[None].expand(count, -1)
    xy = layers.pose(rows, times, torch.float64).forward(uv[:, None, None].expand(-1, many, 1, -1))[..., 0, :]
    size = xy.new_tensor([layers.width, layers.height])
    visible = ((xy >= 0) & (xy <= size)).all(-1)
    n, s = visible.nonzero(as_tuple=True)
    t = frames[s]
    top = find_top(layers, layers.clip[layer[n]], t, xy[n, s])[1]
    visible[n, s] = top <= layers.rank[layer[n], t]
    return xy, visible


def flow(layers: BatchLayers, t0: int, t1: int) -> tuple[Tensor, Tensor]:
    """Displacement of each pixel centre from frame t0 to frame t1.

    Returns:
        float32 [B, 2, H, W] displacement (dx, dy), true even where it cannot be seen; bool [B, H, W] whether it is
        seen in frame t1.
    """
    batch, device = len(layers.table), layers.device
    h, w = layers.height, layers.width
    y, x = torch.meshgrid(
        torch.arange(h, dtype=torch.float64, device=device) + 0.5,
        torch.arange(w, dtype=torch.float64, device=device) + 0.5,
        indexing="ij",
    )
    xy = torch.stack([x, y], -1).reshape(-1, 2).repeat(batch, 1)
    clip = torch.arange(batch, device=device).repeat_interleave(h * w)
    t = torch.full_like(clip, t0)
    layer, _ = find_top(layers, clip, t, xy)
    uv = layers.pose(layer, t, torch.float64).inverse(xy[:, None])[:, 0]
    there, seen = follow(layers, layer, uv, torch.tensor([t1], device=device))
    moved = (there[:, 0] - xy).to(torch.float32).view(batch, h, w, 2).permute(0, 3, 1, 2)
    return moved.contiguous(), seen.view(batch, h, w)
