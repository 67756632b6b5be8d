"""The textures of all layers of a batch, tiled in one image with mip levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trackime.arrays import FloatArray, IntArray
from trackime.worlds.layers.batch._plan import BatchPlan, members
from trackime.worlds.layers.batch._surfaces import Surfaces
from trackime.worlds.layers.batch.pool import OUTLINE, REACH, TexturePool

SIDE = 16
"""Tiles are multiples of this: they are painted in blocks that share a layer."""

MIPS = 3
LARGEST = 2.6
"""A background's tile is at most this many frames wide; larger planes get coarser texels."""

MOST = 416
"""Largest tile of an object."""

COVERED = 1.0
"""Signed distance everywhere on a background."""


@dataclass(frozen=True, eq=False)
class TileLayout:
    """Layout of tiles: size int64 [L, 2] (w, h), corner int64 [L, 2] in the atlas, extent float64 [L, 4] in (u, v)."""

    size: IntArray
    corner: IntArray
    extent: FloatArray
    width: int
    height: int


def chunk(device: torch.device, side: int) -> int:
    """Blocks processed at a time: as many as fit a processor's cache; on a GPU more."""
    return (1 << 16 if device.type == "cpu" else 1 << 23) // (side * side)


def block_centres(device: torch.device, side: int) -> Tensor:
    """Centres (x, y) of a block's pixels from its corner: float32 [side * side, 2]."""
    at = torch.arange(side, dtype=torch.float32, device=device) + 0.5
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2)


def lay_out(plan: BatchPlan, scale: FloatArray, height: int, width: int) -> TileLayout:
    """Sizes of tiles from the largest size of layers in the frame, and their places in the atlas.

    Args:
        plan: L layers.
        scale: float64 [L, T], frame pixels per layer unit.
        height: of the frame.
        width: of the frame.
    """
    count = len(plan.clip)
    size = np.zeros((count, 2), np.int64)
    extent = np.tile([-REACH, -REACH, REACH, REACH], (count, 1))
    side = np.clip(SIDE * np.ceil(2 * REACH * scale.max(1) / SIDE), 2 * SIDE, MOST)
    size[:] = side[:, None]
    ground = np.flatnonzero(plan.thing == 0)
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], float)
    seen = np.linalg.inv(plan.matrices[ground])[:, :, None] @ corners[:, :, None]  # [G, T, 4, 3, 1]
    seen = (seen[..., :2, 0] / seen[..., 2:, 0]).reshape(len(ground), -1, 2)
    low, high = seen.min(1) - 2, seen.max(1) + 2
    need = high - low
    texels = np.minimum(1.0, LARGEST * np.array([width, height]) / need).min(1)
    size[ground] = SIDE * np.ceil(need * texels[:, None] / SIDE)
    extent[ground] = np.concatenate([low, low + size[ground] / texels[:, None]], 1)
    # Shelves: tiles of about one height side by side.
    total = max(512, int(size[:, 0].max()))
    corner = np.zeros((count, 2), np.int64)
    x = y = shelf = 0
    for k in np.lexsort((-size[:, 0], -size[:, 1])).tolist():
        w, h = size[k].tolist()
        if x + w > total:
            x, y, shelf = 0, y + shelf, 0
        corner[k] = x, y
        x, shelf = x + w, max(shelf, h)
    return TileLayout(size, corner, extent, total, y + shelf)


def paint(frame: TileLayout, plan: BatchPlan, looks: Surfaces, pool: TexturePool) -> tuple[Tensor, ...]:
    """The atlas: red, green, blue and signed distance, float32 [1, 4, h, w] and its halvings, `MIPS` in all."""
    device = pool.texels.device
    blocks = frame.size // SIDE
    layer, nth = members(blocks.prod(1))
    local = np.stack([nth % blocks[layer, 0], nth // blocks[layer, 0]], 1) * SIDE
    across = frame.width // SIDE
    where = (frame.corner[layer] + local) // SIDE
    target = torch.from_numpy(where[:, 1] * across + where[:, 0]).to(device)
    canvas = torch.zeros(across * (frame.height // SIDE), 4, SIDE * SIDE, device=device)
    painter = _Painter(frame, plan, looks, pool)
    rows = torch.from_numpy(layer).to(device)
    corner = torch.from_numpy(local.astype(np.float32)).to(device)
    step = chunk(device, SIDE)
    for first in range(0, len(layer), step):
        part = slice(first, first + step)
        canvas[target[part]] = painter.blocks(rows[part], corner[part])
    image = canvas.view(frame.height // SIDE, across, 4, SIDE, SIDE).permute(2, 0, 3, 1, 4)
    out = [image.reshape(1, 4, frame.height, frame.width)]
    while len(out) < MIPS:
        out.append(F.avg_pool2d(out[-1], 2))
    return tuple(out)


class _Painter:
    """Paints blocks of tiles."""

    def __init__(self, frame: TileLayout, plan: BatchPlan, looks: Surfaces, pool: TexturePool) -> None:
        device = pool.texels.device

        def tensor(array: FloatArray | IntArray) -> Tensor:
            whole = array.dtype.kind in "iu"
            return torch.from_numpy(np.ascontiguousarray(array, np.int64 if whole else np.float32)).to(device)

        self.pool = pool
        self.centres = block_centres(device, SIDE)
        self.place, self.colour, self.mix = tensor(looks.place), tensor(looks.colour), tensor(looks.mix)
        size = pool.size[tensor(looks.image), tensor(looks.level)]  # [L, 2, 2]
        self.size, self.first = size, pool.first[tensor(looks.image), tensor(looks.level)]
        self.round_off, self.slope = tensor(looks.round_off), tensor(looks.slope)
        self.outline, self.turn, self.wave = tensor(looks.outline), tensor(looks.turn), tensor(looks.wave)
        self.ground = tensor(plan.thing) == 0
        span = (frame.extent[:, 2:] - frame.extent[:, :2]) / frame.size
        self.rate, self.low = tensor(span), tensor(frame.extent[:, :2])

    def blocks(self, rows: Tensor, corner: Tensor) -> Tensor:
        """Blocks [Q, 4, SIDE * SIDE] of layers [Q] at corners [Q, 2] of their tiles."""
        at = corner[:, None] + self.centres  # [Q, P, 2]
        colour = self._image(rows, at, 0)
        mixed = (self.mix[rows] > 0).nonzero()[:, 0]
        if len(mixed):
            share = self.mix[rows[mixed]][:, None, None]
            colour[mixed] = torch.lerp(colour[mixed], self._image(rows[mixed], at[mixed], 1), share)
        matrix = self.colour[rows]
        colour = (torch.bmm(colour, matrix[..., :3].transpose(1, 2)) + matrix[:, None, :, 3]).transpose(1, 2)
        out = torch.full((len(rows), 4, at.shape[1]), COVERED, device=at.device)
        things = (~self.ground[rows]).nonzero()[:, 0]
        if len(things):
            mine = rows[things]
            uv = self.low[mine][:, None] + at[things] * self.rate[mine][:, None]
            distance = self._distance(mine, uv)
            out[things, 3] = distance
            edge = 1 - self.round_off[mine][:, None] * (1 - (distance / 0.2).clamp(0, 1))
            light = edge * (1 + (uv * self.slope[mine][:, None]).sum(-1))
            colour[things] = colour[things] * light[:, None]
        out[:, :3] = colour.clamp(0.01, 0.99)
        return out

    def _image(self, rows: Tensor, at: Tensor, which: int) -> Tensor:
        """Colours [Q, P, 3] of texels, mirrored beyond the image."""
        place = self.place[rows, which]
        size = self.size[rows, which]
        wide = size[:, None].to(torch.float32)
        xy = torch.matmul(at, place[..., :2].transpose(1, 2)) + place[:, None, :, 2]
        xy = wide - (xy - 2 * wide * (xy / (2 * wide)).floor() - wide).abs()
        xy = torch.minimum((xy - 0.5).clamp(min=0), wide - 1.001)
        whole = xy.to(torch.int64)
        fx, fy = (xy - whole).unbind(-1)
        w = size[:, :1]
        index = self.first[rows, which][:, None] + whole[..., 1] * w + whole[..., 0]
        out = torch.zeros(*index.shape, 4, device=at.device)
        for step, weight in (
            (0, (1 - fx) * (1 - fy)),
            (1, fx * (1 - fy)),
            (w, (1 - fx) * fy),
            (w + 1, fx * fy),
        ):
            texel = self.pool.texels.index_select(0, (index + step).reshape(-1)).view(torch.uint8)
            out.addcmul_(texel.view(*index.shape, 4).to(torch.float32), weight[..., None])
        return out[..., :3] / 255

    def _distance(self, rows: Tensor, uv: Tensor) -> Tensor:
        """Signed distances [Q, P] in layer units."""
        uv = torch.matmul(uv, self.turn[rows].transpose(1, 2))
        amplitude, frequency, phase = self.wave[rows][:, None].unbind(-1)
        u = uv[..., 0] + amplitude * torch.sin(frequency * uv[..., 1] + phase)
        at = torch.stack([u, uv[..., 1]], -1)
        at = ((at + REACH) * (OUTLINE / (2 * REACH)) - 0.5).clamp(0, OUTLINE - 1.001)
        whole = at.to(torch.int64)
        fx, fy = (at - whole).unbind(-1)
        index = (self.outline[rows][:, None] * OUTLINE + whole[..., 1]) * OUTLINE + whole[..., 0]
        field = self.pool.outlines.view(-1)
        a, b, c, d = (field[index + step] for step in (0, 1, OUTLINE, OUTLINE + 1))
        top, bottom = a + (b - a) * fx, c + (d - c) * fx
        return top + (bottom - top) * fy
