"""Colours of blocks of pixels: each block has one layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from trackime.worlds.layers.batch._layers import BatchLayers
from trackime.worlds.layers.batch._tiles import block_centres, chunk

SIDE = 8
"""Frames are made of blocks this many pixels per side."""

LENGTHS = (0.6, 4.0)
SAMPLES = (1, 3, 7)
"""Samples over the shutter's time for motions up to these lengths in pixels, and beyond."""

STEEP = 1.7
"""Bound on the change of signed distances, relative to a layer's stretch; twice that where it bends."""


@dataclass(frozen=True, eq=False)
class Shading:
    """Parameters of shading.

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


class Shader:
    """Samples blocks of layers. Blocks are given as int64 [E] each: layer, frame, the corner's x and y in pixels.

    Attributes:
        length: float32 [L, T], pixels a layer moves while the shutter is open.
    """

    def __init__(self, layers: BatchLayers, looks: Shading) -> None:
        self.layers, self.looks = layers, looks
        later, length = _shutter(layers, looks.shutter)
        self.length = length.to(torch.float32)
        self.now, self.later = (self._to_grid(m) for m in (layers.inverse, later))
        self.samples = torch.bucketize(self.length, torch.tensor(LENGTHS, device=layers.device))
        self.level = (layers.mip() + looks.bias[:, None]).clamp(max=len(layers.atlas) - 1)
        self.limits = [layers.grid_limits(level) for level in range(len(layers.atlas))]
        self.scale = layers.scale.to(torch.float32)
        self.centres = _homogeneous(block_centres(layers.device, SIDE))
        self.chunk = chunk(layers.device, SIDE)

    def _to_grid(self, inverse: Tensor) -> Tensor:
        """Matrices float32 [L, T, 3, 3] from the frame to sampling coordinates, or to (u, v) where a layer bends."""
        gain, shift = self.layers.to_grid
        tile = torch.diag_embed(torch.cat([gain, torch.ones_like(gain[:, :1])], -1))
        tile[:, :2, 2] = shift
        return torch.where(self.layers.bends[:, None, None, None], inverse, tile[:, None] @ inverse).to(torch.float32)

    def _grid(self, matrix: Tensor, layer: Tensor, t: Tensor, corner: Tensor, points: Tensor, bends: bool) -> Tensor:
        """Sampling coordinates float32 [q, P, 2] of points [3, P] relative to corners [q, 2]."""
        m = matrix[layer, t]
        m = torch.cat([m[..., :2], (m[..., :2] * corner[:, None]).sum(-1, keepdim=True) + m[..., 2:]], -1)
        x, y, w = torch.mm(m.reshape(-1, 3), points).view(len(m), 3, points.shape[1]).unbind(1)
        x, y = x / w, y / w
        if bends:
            x, y = self.layers.pose(layer, t, torch.float32).unbend(x, y)
            gain, shift = (v[layer].to(torch.float32) for v in self.layers.to_grid)
            x, y = (torch.addcmul(shift[:, k, None], v, gain[:, k, None]) for k, v in enumerate((x, y)))
        return torch.stack([x, y], -1)

    def _look(self, grid: Tensor, layer: Tensor, level: int = 0) -> Tensor:
        """Colour and signed distance [4, q, P]; a tile's border is repeated beyond it."""
        low, high = self.limits[level][layer][:, :, None].unbind(1)
        return self.layers.sample(grid.clamp(low, high), level)

    def background(self, layer: Tensor, t: Tensor, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Blocks of backgrounds: their indices, and colours [3, q, P]."""
        for part, _, many, level in self._groups(layer, t, torch.zeros_like(t)):
            rows, at = layer[part], t[part]
            grid, step = self._moving(rows, at, torch.stack([x[part], y[part]], -1), False, many)
            total = self._look(grid, rows, level)[:3]
            for k in _offsets(many):
                total += self._look(grid + k * step, rows, level)[:3]
            yield part, total.mul_((self.looks.gain[rows, at] / many)[:, None])

    def touches(self, layer: Tensor, t: Tensor, x: Tensor, y: Tensor, shadow: Tensor) -> Tensor:
        """Whether a layer may cover a part of each block, bool [E]: from the distance at its middle."""
        middle = _homogeneous(self.centres.new_tensor([[SIDE / 2, SIDE / 2]]))
        out = torch.empty(len(layer), dtype=torch.bool, device=layer.device)
        kind = self.layers.bends[layer].to(torch.int64)
        order = kind.argsort(stable=True)
        split = int(len(kind) - kind.sum())
        for bends, rows in ((False, order[:split]), (True, order[split:])):
            mine, at = layer[rows], t[rows]
            corner = self._corner(mine, x[rows], y[rows], shadow[rows])
            grid = self._grid(self.now, mine, at, corner, middle, bends)
            distance = self._look(grid, mine)[3, :, 0] * self.scale[mine, at]
            steep = STEEP * self.layers.stretch[mine, at].to(torch.float32) * (2 if bends else 1)
            soft = self.looks.shadow[mine, 2] * shadow[rows] * self.scale[mine, at]
            out[rows] = distance > -(steep * (0.71 * SIDE + self.length[mine, at] / 2) + 0.5 + soft)
        return out

    def objects(self, layer: Tensor, t: Tensor, x: Tensor, y: Tensor, shadow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Blocks of objects and shadows.

        Returns:
            Their order in what follows, int64 [E]; colour times alpha, and alpha, float32 [4, E, P]; which pixel
            centres they cover, bool [E, P].
        """
        paint = torch.empty(4, len(layer), SIDE * SIDE, device=layer.device)
        covers = torch.zeros(len(layer), SIDE * SIDE, dtype=torch.bool, device=layer.device)
        order = [layer.new_zeros(0)]
        start = 0
        for part, kind, many, level in self._groups(layer, t, shadow):
            rows, at = layer[part], t[part]
            span = slice(start, start + len(part))
            start += len(part)
            order.append(part)
            corner = self._corner(rows, x[part], y[part], shadow[part])
            bends = kind % 2 == 1
            grid, step = self._moving(rows, at, corner, bends, 1 if kind >= 2 else many)
            if kind >= 2:
                soft, strength = self.looks.shadow[rows, 2:, None].unbind(1)
                distance = self._look(grid, rows)[3]
                paint[:3, span] = 0
                paint[3, span] = (distance / (2 * soft)).add_(0.5).clamp_(0, 1).mul_(strength)
                continue
            scale = self.scale[rows, at][:, None]
            distance = self._texels(grid, rows, level, scale, paint[:, span])
            covers[span] = distance > 0
            for k in _offsets(many):
                more = torch.empty_like(paint[:, span])
                self._texels(grid + k * step, rows, level, scale, more)
                paint[:, span] += more
            paint[:3, span] *= (self.looks.gain[rows, at] / many)[:, None]
            if many > 1:
                paint[3, span] /= many
        return torch.cat(order), paint, covers

    def _texels(self, grid: Tensor, layer: Tensor, level: int, scale: Tensor, out: Tensor) -> Tensor:
        """Writes colour times alpha and alpha [4, q, P]; returns the signed distance [q, P]."""
        texel = self._look(grid, layer)
        distance = texel[3]
        light = texel if level == 0 else self._look(grid, layer, level)
        # Alpha is one half exactly on the edge, and runs from 0 to 1 over one pixel of the frame.
        alpha = (distance * scale).add_(0.5).clamp_(0, 1)
        torch.mul(light[:3], alpha, out=out[:3])
        out[3] = alpha
        return distance

    def _corner(self, layer: Tensor, x: Tensor, y: Tensor, shadow: Tensor) -> Tensor:
        return torch.stack([x, y], -1) - self.looks.shadow[layer, :2] * shadow[:, None]

    def _moving(self, layer: Tensor, t: Tensor, corner: Tensor, bends: bool, many: int) -> tuple[Tensor, Tensor]:
        """Sampling coordinates at the middle of the shutter's time, and their change until its end (0 if sharp)."""
        grid = self._grid(self.now, layer, t, corner, self.centres, bends)
        if many == 1:
            return grid, grid
        return grid, self._grid(self.later, layer, t, corner, self.centres, bends) - grid

    def _groups(self, layer: Tensor, t: Tensor, shadow: Tensor) -> Iterator[tuple[Tensor, int, int, int]]:
        """Chunks of blocks that are sampled alike: indices; 0, +1 if they bend, +2 for shadows; samples; level."""
        levels = len(self.layers.atlas)
        many, level = self.samples[layer, t] * (1 - shadow), self.level[layer, t] * (1 - shadow)
        code = ((2 * shadow + self.layers.bends[layer]) * len(SAMPLES) + many) * levels + level
        order = code.argsort(stable=True)
        start = 0
        for number, amount in enumerate(torch.bincount(code).tolist()):
            rest, n = divmod(number, levels)
            kind, m = divmod(rest, len(SAMPLES))
            for first in range(start, start + amount, self.chunk):
                yield order[first : min(first + self.chunk, start + amount)], kind, SAMPLES[m], n
            start += amount


def _offsets(many: int) -> list[float]:
    """Times of the further samples, -1 .. 1 the shutter's time; the one at 0 is the first."""
    return [2 * (k + 0.5) / many - 1 for k in range(many) if 2 * k + 1 != many]


def _homogeneous(points: Tensor) -> Tensor:
    """Points [P, 2] as [3, P]."""
    return torch.cat([points.T, torch.ones_like(points[:, :1]).T])


def _shutter(layers: BatchLayers, shutter: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse matrices [L, T, 3, 3] half an open shutter later, and the lengths of the motion in pixels [L, T]."""
    matrix = layers.matrix
    frames = layers.frames
    after = [min(t + 1, frames - 1) for t in range(frames)]
    before = [max(t - 1, 0) for t in range(frames)]
    span = torch.tensor([max(1, b - a) for a, b in zip(before, after, strict=True)], device=layers.device)
    half = shutter[layers.clip].to(matrix.dtype)[:, None, None, None] / 2
    later = matrix + half * (matrix[:, after] - matrix[:, before]) / span[:, None, None]
    # The fastest of five places: of the frame for a background, of the layer for an object (which may only turn).
    star = matrix.new_tensor([[0, 0, 1], [-1, -1, 1], [1, -1, 1], [-1, 1, 1], [1, 1, 1]])
    size = matrix.new_tensor([layers.width, layers.height, 1])
    corners = (star * 0.5 + matrix.new_tensor([0.5, 0.5, 0.5])) * size
    ground = (layers.thing == 0)[:, None, None, None]
    inner = star * matrix.new_tensor([0.55, 0.55, 1])
    anchor = torch.where(ground, corners @ layers.inverse.transpose(-1, -2), inner)
    a, b = (anchor @ m.transpose(-1, -2) for m in (matrix, later))
    length = 2 * (b[..., :2] / b[..., 2:] - a[..., :2] / a[..., 2:]).norm(dim=-1).amax(-1)
    return torch.linalg.inv(later), length
