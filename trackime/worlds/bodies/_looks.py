"""Appearance of surfaces: photographs and patterns laid onto bodies, ground and backdrop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor

from trackime.worlds.bodies._skin import Surface
from trackime.worlds.layers.batch import TexturePool

_LEVELS = 6


@dataclass(frozen=True, eq=False)
class Picture:
    """An image that is repeated, mirrored, over a plane.

    Attributes:
        levels: float32 [1, 3, h, w], each half the size of the one before.
    """

    levels: tuple[Tensor, ...]

    @classmethod
    def of(cls, pool: TexturePool, number: int) -> Picture:
        """Image `number` of a pool."""
        w, h = (int(side) for side in pool.size[number, 0])
        first = int(pool.first[number, 0])
        packed = pool.texels[first : first + w * h].cpu().reshape(1, h, w)
        image = torch.stack([(packed >> shift) & 255 for shift in (0, 8, 16)], 1).float() / 255
        levels = [image]
        while len(levels) < _LEVELS and min(levels[-1].shape[-2:]) > 8:
            levels.append(F.avg_pool2d(levels[-1], 2))
        return cls(tuple(levels))

    def at(self, uv: Tensor, footprint: Tensor | float) -> Tensor:
        """Colours [M, 3] at uv [M, 2], one unit the image's side, seen in pixels of `footprint` [M] units."""
        side = min(self.levels[0].shape[-2:])
        size = torch.as_tensor(footprint, dtype=uv.dtype).expand(len(uv)) * side
        level = size.clamp(min=1e-6).log2().round().clamp(0, len(self.levels) - 1).long()
        fold = (uv % 2 - 1).abs() * 2 - 1  # mirrored repeats, in -1 .. 1
        out = torch.empty(len(uv), 3)
        for k in level.unique().tolist():
            rows = torch.nonzero(level == k)[:, 0]
            grid = fold[rows][None, None]
            out[rows] = F.grid_sample(self.levels[k], grid, padding_mode="border", align_corners=False)[0, :, 0].T
        return out


@dataclass(frozen=True, eq=False)
class Coat:
    """The colours of a body.

    Attributes:
        picture: laid on from the side, from above and from the front, weighted by the rest normal.
        scale, shift: of its coordinates.
        base: [3]; pattern: how much of the picture is seen, 0 .. 1; fur: contrast of a fine grain.
        mirrored: both sides have the same pattern, so that limbs look alike.
    """

    picture: Picture
    grain: Picture
    scale: float
    shift: tuple[float, float]
    base: Tensor
    pattern: float
    fur: float
    mirrored: bool

    def colours(self, surface: Surface, footprint: Tensor) -> Tensor:
        """Colours [M, 3] in front of the light; footprint [M]: a pixel's size in the world."""
        rest = surface.rest
        if self.mirrored:
            rest = torch.cat([rest[:, :1], rest[:, 1:2].abs(), rest[:, 2:]], 1)
        share = surface.rest_normal.abs() ** 4
        share = share / share.sum(-1, keepdim=True)
        planes = ((1, 2), (0, 2), (0, 1))  # seen along x, y, z

        def laid(picture: Picture, scale: float) -> Tensor:
            colours = torch.zeros(len(rest), 3)
            for axis, plane in enumerate(planes):
                uv = rest[:, list(plane)] * scale + torch.tensor(self.shift)
                colours += share[:, axis, None] * picture.at(uv, footprint * scale)
            return colours

        seen = self.base + self.pattern * (laid(self.picture, self.scale) - self.base)
        grain = laid(self.grain, 4 * self.scale).mean(-1, keepdim=True) - 0.5
        return (seen * (1 + self.fur * grain)).clamp(0, 1)


def make_coat(rng: Generator, pool: TexturePool, plain: float) -> Coat:
    """A random coat; `plain`: share of those with one colour."""
    detailed = pool.detailed.cpu().numpy()
    one = rng.random() < plain
    grey = rng.uniform(0.05, 0.85)
    base = np.clip(grey + rng.normal(0, 0.1 if rng.random() < 0.7 else 0.3, 3), 0.02, 0.95)
    return Coat(
        Picture.of(pool, int(rng.choice(detailed))), Picture.of(pool, int(rng.choice(detailed))),
        float(np.exp(rng.uniform(-0.9, 0.7))), (float(rng.uniform(0, 2)), float(rng.uniform(0, 2))),
        torch.from_numpy(base.astype(np.float32)), float(rng.uniform(0, 0.12) if one else rng.uniform(0.5, 1.0)),
        float(rng.uniform(0, 0.5) if one else rng.uniform(0, 0.8)), bool(rng.random() < 0.7),
    )  # fmt: skip
