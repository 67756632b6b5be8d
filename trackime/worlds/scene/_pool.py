"""Textures of many surfaces in one array, sampled with anisotropic filtering against aliasing in motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trackime.arrays import FloatArray

LEVELS = 10
TAPS = 4
"""Samples along the longer axis of a long footprint; beyond this ratio of its axes the shorter is blurred."""

STRETCH = 1.5
"""Ratio of a footprint's axes from which it is long."""


@dataclass(frozen=True, eq=False)
class FacePool:
    """All mip levels of all textures, one after the other.

    Attributes:
        texels: int32 [M], red + 256 green + 65536 blue: one read for all three.
        first: int64 [F, LEVELS], offset of each level of a texture.
        size: int64 [2, F, LEVELS], its width and height.
    """

    texels: Tensor
    first: Tensor
    size: Tensor

    @classmethod
    def pack(cls, images: Sequence[FloatArray], device: torch.device) -> FacePool:
        """From images, float32 [3, h, w] in [0, 1] of any size."""
        texels: list[Tensor] = []
        first = np.zeros((len(images), LEVELS), np.int64)
        size = np.zeros((2, len(images), LEVELS), np.int64)
        total = 0
        for k, image in enumerate(images):
            level = torch.from_numpy(image)[None]
            for n in range(LEVELS):
                if n:
                    h, w = (max(1, v // 2) for v in level.shape[-2:])
                    level = F.interpolate(level, (h, w), mode="area")
                first[k, n], size[:, k, n] = total, (level.shape[-1], level.shape[-2])
                red, green, blue = (level[0] * 255 + 0.5).clamp(0, 255).to(torch.int32).flatten(1)
                texels.append(red + (green << 8) + (blue << 16))
                total += len(red)
        return cls(torch.cat(texels).to(device), torch.from_numpy(first).to(device), torch.from_numpy(size).to(device))

    def colour(self, face: Tensor, uv: Tensor, dx: Tensor, dy: Tensor, taps: bool = True) -> Tensor:
        """Mean colour of pixels' footprints.

        The footprint is the ellipse the Jacobian makes of a pixel (Heckbert, "Fundamentals of texture mapping and image
        warping", 1989, section 3); it is sampled `TAPS` times along its longer axis from the level whose texels are as
        large as its shorter one (McCormack et al., "Feline", SIGGRAPH 1999).

        Args:
            face: int64 [N], which texture.
            uv: [2, N] in [0, 1] across the texture; beyond: its border.
            dx: [2, N] change of uv from one pixel to the next along x.
            dy: the same along y.
            taps: sample long footprints several times.

        Returns:
            float32 [3, N] in [0, 1].
        """
        full = self.size[:, face, 0].to(torch.float32)
        uv, dx, dy = uv.to(torch.float32), dx.to(torch.float32) * full, dy.to(torch.float32) * full
        p, r = dx[0] ** 2 + dy[0] ** 2, dx[1] ** 2 + dy[1] ** 2
        q = dx[0] * dx[1] + dy[0] * dy[1]
        spread = (((p - r) / 2) ** 2 + q * q).sqrt()
        major = ((p + r) / 2 + spread).clamp(min=1e-12).sqrt()
        minor = ((p + r) / 2 - spread).clamp(min=0).sqrt()
        angle = 0.5 * torch.atan2(2 * q, p - r)
        axis = torch.stack([angle.cos(), angle.sin()]) * major / full
        # Round footprints need one sample; so do the rays of a pixel that is sampled many times anyhow.
        long = (major > STRETCH * minor.clamp(min=1.0)) if taps else torch.zeros_like(face, dtype=torch.bool)
        out = torch.empty(3, uv.shape[1], device=uv.device)
        rows = (~long).nonzero()[:, 0]
        out[:, rows] = self._trilinear(face[rows], uv[:, rows], torch.maximum(minor, major / STRETCH)[rows])
        rows = long.nonzero()[:, 0]
        if len(rows):
            face, uv, full = face[rows], uv[:, rows], full[:, rows]
            axis = torch.stack([angle[rows].cos(), angle[rows].sin()]) * major[rows] / full
            width = torch.maximum(minor, major / TAPS)[rows]
            taken = [self._trilinear(face, uv + ((k + 0.5) / TAPS - 0.5) * axis, width) for k in range(TAPS)]
            out[:, rows] = torch.stack(taken).mean(0)
        return out

    def _trilinear(self, face: Tensor, uv: Tensor, width: Tensor) -> Tensor:
        """Colour [3, N] of footprints `width` texels wide: between the two levels of nearest size."""
        level = width.log2().clamp(0, LEVELS - 1.001)
        whole = level.to(torch.int64)
        below, above = self._bilinear(face, whole, uv), self._bilinear(face, whole + 1, uv)
        return (below + (above - below) * (level - whole)) / 255

    def _bilinear(self, face: Tensor, level: Tensor, uv: Tensor) -> Tensor:
        slot = face * LEVELS + level
        start, w, h = (table.view(-1).index_select(0, slot) for table in (self.first, self.size[0], self.size[1]))
        x = torch.minimum((uv[0] * w - 0.5).clamp(min=0), (w - 1).to(uv.dtype))
        y = torch.minimum((uv[1] * h - 0.5).clamp(min=0), (h - 1).to(uv.dtype))
        x0, y0 = x.to(torch.int64), y.to(torch.int64)
        right, down = (x0 + 1 < w).to(torch.int64), torch.where(y0 + 1 < h, w, torch.zeros_like(w))
        at, fx, fy = start + y0 * w + x0, x - x0, y - y0
        upper = ((at, (1 - fx) * (1 - fy)), (at + right, fx * (1 - fy)))
        lower = ((at + down, (1 - fx) * fy), (at + down + right, fx * fy))
        out = torch.zeros(3, len(face), device=uv.device)
        for index, weight in (*upper, *lower):
            texel = self.texels.index_select(0, index)
            for channel in range(3):
                out[channel] += ((texel >> (8 * channel)) & 255) * weight
        return out
