"""Pixels of a batch: layers composited back to front, in blocks of one layer each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trackime.worlds.layers.batch._layers import BatchLayers
from trackime.worlds.layers.batch._shade import SIDE, Shader, Shading


@dataclass(frozen=True, eq=False)
class BlockList:
    """Blocks to be painted: E of them, each int64 [E].

    Attributes:
        layer: whose they are.
        t: frame.
        block: index of the block among all of the batch.
        slot: order in which they are painted.
        x: of the block's corner in frame pixels; y: likewise.
        shadow: 1 for a layer's shadow.
    """

    layer: Tensor
    t: Tensor
    block: Tensor
    slot: Tensor
    x: Tensor
    y: Tensor
    shadow: Tensor

    def __getitem__(self, rows: Tensor) -> BlockList:
        fields = (self.layer, self.t, self.block, self.slot, self.x, self.y, self.shadow)
        return BlockList(*(field[rows] for field in fields))


def render(layers: BatchLayers, looks: Shading) -> tuple[Tensor, Tensor]:
    """Frames float32 [B, T, 3, H, W] in about [0, 1], and the object at each pixel centre, uint8 [B, T, H, W]."""
    device = layers.device
    batch, frames = len(layers.table), layers.frames
    rows, columns = -(-layers.height // SIDE), -(-layers.width // SIDE)
    shader = Shader(layers, looks)
    count = batch * frames * rows * columns
    colour = torch.empty(3, count, SIDE * SIDE, device=device)
    owner = torch.zeros(count, SIDE * SIDE, dtype=torch.uint8, device=device)
    ground = _ground(layers, rows, columns)
    for part, texels in shader.background(ground.layer, ground.t, ground.x, ground.y):
        colour.index_copy_(1, part, texels)
    entries = _entries(layers, looks, shader, rows, columns)
    near = shader.touches(entries.layer, entries.t, entries.x, entries.y, entries.shadow)
    entries = entries[near.nonzero()[:, 0]]
    order, paint, covers = shader.objects(entries.layer, entries.t, entries.x, entries.y, entries.shadow)
    entries = entries[order]
    things = layers.thing[entries.layer].to(torch.uint8)[:, None]
    start = 0
    turn = entries.slot.argsort(stable=True)
    for number in torch.bincount(entries.slot).tolist():
        part = turn[start : start + number]
        start += number
        where = entries.block[part]
        over = paint.index_select(1, part)
        under = colour.index_select(1, where)
        # under * (1 - alpha) + colour * alpha
        colour.index_copy_(1, where, torch.addcmul(under + over[:3], under, over[3:], value=-1))
        owner.index_copy_(0, where, torch.where(covers[part], things[part], owner.index_select(0, where)))
    shape = (batch, frames, rows, columns)
    image = colour.view(3, *shape, SIDE, SIDE).permute(1, 2, 0, 3, 5, 4, 6)
    image = image.reshape(batch, frames, 3, rows * SIDE, columns * SIDE)[..., : layers.height, : layers.width]
    masks = owner.view(*shape, SIDE, SIDE).permute(0, 1, 2, 4, 3, 5)
    masks = masks.reshape(batch, frames, rows * SIDE, columns * SIDE)[..., : layers.height, : layers.width]
    return image.contiguous(), masks.contiguous()


def _ground(layers: BatchLayers, rows: int, columns: int) -> BlockList:
    """Every block of every frame, for the backgrounds."""
    frames = layers.frames
    block = torch.arange(len(layers.table) * frames * rows * columns, device=layers.device)
    x, rest = block % columns, block // columns
    y, rest = rest % rows, rest // rows
    none = torch.zeros_like(block)
    return BlockList(layers.table[rest // frames, 0], rest % frames, block, none, x * SIDE, y * SIDE, none)


def _entries(layers: BatchLayers, looks: Shading, shader: Shader, rows: int, columns: int) -> BlockList:
    """The blocks in the boxes of all objects, and of shadows just under their objects."""
    device, frames = layers.device, layers.frames
    casts = (looks.shadow[:, 3] > 0).nonzero()[:, 0]
    things = (layers.thing > 0).nonzero()[:, 0]
    layer = torch.cat([things, casts])
    shadow = torch.zeros(len(layer), dtype=torch.int64, device=device)
    shadow[len(things) :] = 1
    box = layers.box[layer]
    reach = shader.length[layer, :, None] / 2
    offset = (looks.shadow[layer, :2] * shadow[:, None])[:, None]
    soft = (looks.shadow[layer, 2] * shadow)[:, None, None] * layers.scale[layer][..., None].to(box.dtype)
    low, high = box[..., :2] + offset - soft - reach, box[..., 2:] + offset + soft + reach
    limit = torch.tensor([columns, rows], device=device)
    first = torch.minimum((low / SIDE).floor().to(torch.int64).clamp(min=0), limit)
    last = torch.minimum((high / SIDE).ceil().to(torch.int64).clamp(min=0), limit)
    span = (last - first).clamp(min=0)  # [R, T, 2]
    number = span.prod(-1).view(-1)
    row = torch.arange(len(number), device=device).repeat_interleave(number)
    nth = torch.arange(len(row), device=device) - (number.cumsum(0) - number)[row]
    wide = span.view(-1, 2)[row, 0]
    x = first.view(-1, 2)[row, 0] + nth % wide
    y = first.view(-1, 2)[row, 1] + nth // wide
    which, t = row // frames, row % frames
    mine = layer[which]
    block = ((layers.clip[mine] * frames + t) * rows + y) * columns + x
    # Two slots per rank: a layer's shadow lies on all that is beneath the layer.
    slot = 2 * layers.rank[mine, t] + 1 - shadow[which]
    return BlockList(mine, t, block, slot, x * SIDE, y * SIDE, shadow[which])
