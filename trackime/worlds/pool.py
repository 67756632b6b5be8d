"""Textures of many surfaces in one array, looked up with anisotropic filtering so that they do not alias in motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trackime.types import FloatArray

LEVELS = 10
TAPS = 4
"""Samples along the longer axis of a pixel's footprint; beyond this ratio of its axes the shorter is blurred."""


@dataclass(frozen=True, eq=False)
class Pool:
    """All mip levels of all textures, one after the other.

    Attributes:
        texels: uint8 [M, 3].
        first: int64 [F, LEVELS], where a level of a texture begins.
        size: int64 [2, F, LEVELS], its width and height.
    """

    texels: Tensor
    first: Tensor
    size: Tensor

    @classmethod
    def pack(cls, images: Sequence[FloatArray], device: torch.device) -> Pool:
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
                texels.append((level[0] * 255 + 0.5).clamp(0, 255).to(torch.uint8).flatten(1).T)
                total += texels[-1].shape[0]
        return cls(torch.cat(texels).to(device), torch.from_numpy(first).to(device), torch.from_numpy(size).to(device))

    def colour(self, face: Tensor, uv: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
        """Mean colour of pixels' footprints.

        The footprint is the ellipse the Jacobian makes of a pixel (Heckbert, "Fundamentals of texture mapping and image
        warping", 1989, section 3); it is sampled `TAPS` times along its longer axis from the level whose texels are as
        large as its shorter one (McCormack et al., "Feline", SIGGRAPH 1999).

        Args:
            face: int64 [N], which texture.
            uv: [2, N] in [0, 1] across the texture; beyond: its border.
            dx: [2, N] change of uv from one pixel to the next along x.
            dy: the same along y.

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
        level = torch.maximum(minor, major / TAPS).log2().clamp(0, LEVELS - 1.001)
        whole = level.to(torch.int64)
        share = level - whole
        total = torch.zeros(3, uv.shape[1], device=uv.device)
        for tap in range(TAPS):
            at = uv + ((tap + 0.5) / TAPS - 0.5) * axis
            total += torch.lerp(self._bilinear(face, whole, at), self._bilinear(face, whole + 1, at), share)
        return total / (255 * TAPS)

    def _bilinear(self, face: Tensor, level: Tensor, uv: Tensor) -> Tensor:
        slot = face * LEVELS + level
        start, w, h = self.first.view(-1)[slot], self.size[0].view(-1)[slot], self.size[1].view(-1)[slot]
        x = torch.minimum((uv[0] * w - 0.5).clamp(min=0), (w - 1).to(uv.dtype))
        y = torch.minimum((uv[1] * h - 0.5).clamp(min=0), (h - 1).to(uv.dtype))
        x0, y0 = x.to(torch.int64), y.to(torch.int64)
        x1, y1 = torch.minimum(x0 + 1, w - 1), torch.minimum(y0 + 1, h - 1)
        a, b = start + y0 * w, start + y1 * w
        fx, fy = (x - x0)[:, None], (y - y0)[:, None]
        top = torch.lerp(self.texels[a + x0].float(), self.texels[a + x1].float(), fx)
        low = torch.lerp(self.texels[b + x0].float(), self.texels[b + x1].float(), fx)
        return torch.lerp(top, low, fy).T
