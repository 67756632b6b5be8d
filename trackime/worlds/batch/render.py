"""Pixels of a batch: layers over one another, farthest first, in blocks that each share one layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trackime.worlds.batch.layers import Layers
from trackime.worlds.batch.tiles import SIDE, block_centres, chunk

SHARP = 0.6
"""A layer that moves less than this many pixels while the shutter is open is not blurred."""

LENGTHS = (SHARP, 4.0)
SAMPLES = (1, 3, 7)
"""Samples over the shutter's time for motions up to these lengths, and beyond."""


@dataclass(frozen=True, eq=False)
class Looks:
    """What only pixels need.

    Attributes:
        gain: float32 [L, T], brightness.
        bias: int64 [L], mip levels of blur (defocus).
        shutter: float32 [B], share of the frame time that the shutter is open.
        shadow: float32 [L, 4], offset x and y in frame pixels, softness in layer units, strength (0: no shadow).
    """

    gain: Tensor
    bias: Tensor
    shutter: Tensor
    shadow: Tensor


@dataclass(frozen=True, eq=False)
class _Entries:
    """Blocks to be painted: E of them, each int64 [E]."""

    layer: Tensor
    t: Tensor
    block: Tensor
    slot: Tensor
    x: Tensor
    y: Tensor
    shadow: Tensor


def render(layers: Layers, looks: Looks) -> tuple[Tensor, Tensor]:
    """Frames float32 [B, T, 3, H, W] in about [0, 1], and the object seen at each pixel centre, uint8 [B, T, H, W]."""
    device = layers.device
    batch, frames = len(layers.table), layers.frames
    rows, columns = -(-layers.height // SIDE), -(-layers.width // SIDE)
    count = batch * frames * rows * columns
    entries = _entries(layers, looks, rows, columns)
    paint, covers = _shade(layers, looks, entries)
    colour = torch.zeros(count, 3, SIDE * SIDE, device=device)
    owner = torch.zeros(count, SIDE * SIDE, dtype=torch.uint8, device=device)
    kept = paint.kept.nonzero()[:, 0]
    slot = entries.slot[kept]
    order = kept[slot.argsort(stable=True)]
    start = 0
    for number in torch.bincount(slot).tolist():
        part = order[start : start + number]
        start += number
        where = entries.block[part]
        over = paint.colour[part]
        colour[where] = colour[where] * (1 - over[:, 3:]) + over[:, :3]
        thing = layers.thing[entries.layer[part]].to(torch.uint8)[:, None]
        owner[where] = torch.where(covers[part], thing, owner[where])
    shape = (batch, frames, rows, columns)
    image = colour.view(*shape, 3, SIDE, SIDE).permute(0, 1, 4, 2, 5, 3, 6)
    image = image.reshape(batch, frames, 3, rows * SIDE, columns * SIDE)[..., : layers.height, : layers.width]
    masks = owner.view(*shape, SIDE, SIDE).permute(0, 1, 2, 4, 3, 5)
    masks = masks.reshape(batch, frames, rows * SIDE, columns * SIDE)[..., : layers.height, : layers.width]
    return image, masks.contiguous()


def _blur(layers: Layers, looks: Looks) -> tuple[Tensor, Tensor]:
    """Inverse matrices [L, T, 3, 3] half an open shutter later, and the lengths of the motion in pixels [L, T]."""
    matrix = layers.matrix
    frames = layers.frames
    after = matrix[:, [min(t + 1, frames - 1) for t in range(frames)]]
    before = matrix[:, [max(t - 1, 0) for t in range(frames)]]
    span = torch.tensor([max(1, min(t + 1, frames - 1) - max(t - 1, 0)) for t in range(frames)], device=layers.device)
    half = looks.shutter[layers.clip].to(matrix.dtype)[:, None, None, None] / 2
    later = matrix + half * (after - before) / span[:, None, None]
    inverse = torch.linalg.inv(later)
    middle = matrix.new_tensor([layers.width / 2, layers.height / 2, 1.0])
    anchor = torch.where(
        (layers.thing == 0)[:, None, None], layers.inverse @ middle, matrix.new_tensor([0.0, 0.0, 1.0])
    )[..., None]
    a, b = (m @ anchor for m in (matrix, later))
    length = 2 * (b[..., :2, 0] / b[..., 2:, 0] - a[..., :2, 0] / a[..., 2:, 0]).norm(dim=-1)
    return inverse, length


def _entries(layers: Layers, looks: Looks, rows: int, columns: int) -> _Entries:
    """The blocks that every layer, and every shadow just under its layer, may touch."""
    device, frames = layers.device, layers.frames
    casts = (looks.shadow[:, 3] > 0).nonzero()[:, 0]
    layer = torch.cat([torch.arange(len(layers.clip), device=device), casts])
    shadow = torch.zeros(len(layer), dtype=torch.int64, device=device)
    shadow[len(layers.clip) :] = 1
    box = layers.box[layer]
    _, length = _blur(layers, looks)
    reach = length[layer, :, None].to(box.dtype) / 2
    box = box + torch.cat([-reach, -reach, reach, reach], -1)
    offset = (looks.shadow[layer, :2] * shadow[:, None])[:, None]
    soft = (looks.shadow[layer, 2] * shadow)[:, None, None] * layers.scale[layer][..., None].to(box.dtype)
    low, high = box[..., :2] + offset - soft, box[..., 2:] + offset + soft
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
    # Two slots a rank: a layer's shadow lies on all that is beneath the layer.
    slot = 2 * layers.rank[mine, t] + 1 - shadow[which]
    return _Entries(mine, t, block, slot, x * SIDE, y * SIDE, shadow[which])


@dataclass(frozen=True, eq=False)
class _Paint:
    colour: Tensor  # [E, 4, P] red, green, blue times alpha; alpha
    kept: Tensor  # [E] whether there is any


def _shade(layers: Layers, looks: Looks, entries: _Entries) -> tuple[_Paint, Tensor]:
    """Colours of all entries, and which pixel centres they cover, bool [E, P]."""
    device, total = layers.device, len(entries.layer)
    centres = block_centres(device)
    later, length = _blur(layers, looks)
    later = later.to(torch.float32)
    samples = torch.bucketize(length.to(torch.float32), torch.tensor(LENGTHS, device=device))
    level = (layers.mip() + looks.bias[:, None]).clamp(max=len(layers.atlas) - 1)
    at = entries.layer, entries.t
    many, mip = samples[at] * (1 - entries.shadow), level[at] * (1 - entries.shadow)
    kind = ((entries.shadow * 2 + layers.bends[entries.layer]) * len(SAMPLES) + many) * len(layers.atlas) + mip
    colour = torch.empty(total, 4, SIDE * SIDE, device=device)
    covers = torch.zeros(total, SIDE * SIDE, dtype=torch.bool, device=device)
    order = kind.argsort(stable=True)
    start = 0
    for code, number in enumerate(torch.bincount(kind).tolist()):
        rest, n = divmod(code, len(layers.atlas))
        rest, m = divmod(rest, len(SAMPLES))
        for first in range(start, start + number, chunk(device)):
            part = order[first : min(first + chunk(device), start + number)]
            layer, t = entries.layer[part], entries.t[part]
            corner = torch.stack([entries.x[part], entries.y[part]], -1).to(torch.float32)
            if rest >= 2:
                corner = corner - looks.shadow[layer, :2]
            xy = corner[:, None] + centres
            uv = layers.pose(layer, t, torch.float32, bool(rest % 2)).inverse(xy)
            if rest >= 2:
                colour[part] = _shadow(layers, looks, layer, uv)
                continue
            scale = layers.scale[layer, t].to(torch.float32)[:, None]
            gain = looks.gain[layer, t][:, None]
            step = None
            if SAMPLES[m] > 1:
                here = layers.inverse[layer, t].to(torch.float32)
                step = _project(later[layer, t], xy) - _project(here, xy)
            colour[part], covers[part] = _surface(layers, layer, uv, step, SAMPLES[m], n, scale, gain)
        start += number
    kept = colour[:, 3].amax(-1) > 0
    return _Paint(colour, kept), covers


def _surface(
    layers: Layers,
    layer: Tensor,
    uv: Tensor,
    step: Tensor | None,
    samples: int,
    level: int,
    scale: Tensor,
    gain: Tensor,
) -> tuple[Tensor, Tensor]:
    """Colour times alpha and alpha [q, 4, P], and cover at the middle of the shutter's time [q, P]."""
    total: Tensor | None = None
    covers = torch.zeros(uv.shape[:-1], dtype=torch.bool, device=uv.device)
    for k in range(samples):
        at = uv if step is None else uv + (2 * (k + 0.5) / samples - 1) * step
        texel = layers.sample(layer, at)
        distance = texel[3]
        if 2 * k + 1 == samples:
            covers = distance > 0
        # Alpha is one half exactly on the edge, and runs from 0 to 1 over one pixel of the frame.
        alpha = (distance * scale + 0.5).clamp_(0, 1)
        light = texel[:3] if level == 0 else layers.sample(layer, at, level)[:3]
        now = torch.cat([light * (alpha * gain), alpha[None]])
        total = now if total is None else total.add_(now)
    assert total is not None
    return (total / samples if samples > 1 else total).transpose(0, 1), covers


def _shadow(layers: Layers, looks: Looks, layer: Tensor, uv: Tensor) -> Tensor:
    soft, strength = looks.shadow[layer, 2][:, None], looks.shadow[layer, 3][:, None]
    out = uv.new_zeros(len(layer), 4, uv.shape[1])
    out[:, 3] = strength * (layers.cover(layer, uv) / (2 * soft) + 0.5).clamp(0, 1)
    return out


def _project(matrix: Tensor, xy: Tensor) -> Tensor:
    """Homographies [q, 3, 3] of points [q, P, 2]."""
    out = torch.matmul(xy, matrix[:, :, :2].transpose(1, 2)) + matrix[:, None, :, 2]
    return out[..., :2] / out[..., 2:]
