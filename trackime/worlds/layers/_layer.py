"""The layers of a world: each has a texture, a silhouette, and a pose at every frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trackime.arrays import FloatArray, IntArray
from trackime.types import VideoInfo
from trackime.worlds.layers.options import WorldOptions
from trackime.worlds.motion import Pose, Warp


@dataclass(frozen=True, eq=False)
class Layer:
    """A plane of its own coordinates (u, v), moved into the frame by a warp and then a homography.

    Attributes:
        matrices: float64 [T, 3, 3], from layer coordinates (after the warp) to frame pixels.
        warp: the non-rigid part, before the matrices.
        extent: (u0, v0, u1, v1) that the images below span; reflected beyond.
        texture: [1, 3, h, w] per mip level, each half the size of the one before, in [0, 1].
        distance: [1, 1, h, w] signed distance to the silhouette in layer units, positive inside;
            None: covers everything.
        gain: float64 [T], brightness of the layer.
    """

    matrices: FloatArray
    warp: Warp
    extent: tuple[float, float, float, float]
    texture: tuple[Tensor, ...]
    distance: Tensor | None
    gain: FloatArray

    def pose(self, t: float | IntArray, dtype: torch.dtype, device: str | torch.device) -> Pose:
        """The layer at frame t, which may be fractional (blended linearly), or at an array of whole frames [*S]."""
        if isinstance(t, np.ndarray):
            matrix, amplitude, phase = self.matrices[t], self.warp.amplitude[:, t], self.warp.phase[:, t]
        else:
            t = float(np.clip(t, 0, len(self.matrices) - 1))
            a, share = int(t), t - int(t)
            b = min(a + 1, len(self.matrices) - 1)
            matrix = (1 - share) * self.matrices[a] + share * self.matrices[b]
            amplitude = (1 - share) * self.warp.amplitude[:, a] + share * self.warp.amplitude[:, b]
            phase = (1 - share) * self.warp.phase[:, a] + share * self.warp.phase[:, b]

        def tensor(array: FloatArray) -> Tensor:
            return torch.as_tensor(np.ascontiguousarray(array), dtype=dtype, device=device)

        directions: list[tuple[float | Tensor, float | Tensor]] = [
            (math.cos(a), math.sin(a)) for a in self.warp.angle.tolist()
        ]
        # Inverted in float64 here, whatever the dtype of the points.
        inverse = tensor(np.linalg.inv(matrix))
        frequency = self.warp.frequency.tolist()
        return Pose(tensor(matrix), inverse, directions, frequency, tensor(amplitude), tensor(phase))

    def grid(self, uv: Tensor) -> Tensor:
        """Layer coordinates [..., 2] as torch's sampling coordinates: -1 .. 1 over the extent."""
        u0, v0, u1, v1 = self.extent
        return (uv - uv.new_tensor([u0, v0])) * uv.new_tensor([2 / (u1 - u0), 2 / (v1 - v0)]) - 1

    def cover(self, uv: Tensor) -> Tensor:
        """Signed distance [...] of layer coordinates [..., 2] in layer units; the layer is where it is above 0."""
        if self.distance is None:
            return torch.ones_like(uv[..., 0])
        grid = self.grid(uv).to(self.distance.dtype).reshape(1, 1, -1, 2)
        field = self.distance.to(uv.device)
        return F.grid_sample(field, grid, padding_mode="border", align_corners=False).reshape(uv.shape[:-1])

    def scale(self, t: float, centre: tuple[float, float]) -> float:
        """Frame pixels per layer unit at frame t, about `centre` (frame pixels)."""
        matrix = self.matrices[round(float(np.clip(t, 0, len(self.matrices) - 1)))]
        if self.distance is not None:
            return math.sqrt(abs(np.linalg.det(matrix[:2, :2])))
        # Of the homography's Jacobian, |det| = |det M| / w^3.
        u = np.linalg.inv(matrix) @ np.array([*centre, 1.0])
        w = matrix[2] @ (u / u[2])
        return math.sqrt(abs(np.linalg.det(matrix) / w**3))

    def bounds(self, t: float, width: int, height: int) -> tuple[int, int, int, int]:
        """Whole pixels x0, y0, x1, y1 of the frame outside of which the layer surely is not."""
        if self.distance is None:
            return 0, 0, width, height
        reach = 1.05 + self.warp.reach
        corners = np.array([[-reach, -reach, 1], [reach, -reach, 1], [reach, reach, 1], [-reach, reach, 1]])
        a, b = math.floor(t), min(math.floor(t) + 1, len(self.matrices) - 1)
        xy = np.concatenate([corners @ self.matrices[k][:2].T for k in {max(0, a), max(0, b)}])
        low, high = np.floor(xy.min(0)).astype(int) - 1, np.ceil(xy.max(0)).astype(int) + 1
        x0, y0 = np.clip(low, 0, [width, height])
        x1, y1 = np.clip(high, 0, [width, height])
        return int(x0), int(y0), int(x1), int(y1)

    def colour(self, uv: Tensor, scale: float) -> Tensor:
        """Texture [3, h, w] at layer coordinates [h, w, 2], antialiased for `scale` frame pixels per layer unit."""
        texels = self.texture[0].shape[-1] / (self.extent[2] - self.extent[0])
        level = min(max(math.log2(texels / max(scale, 1e-6)), 0.0), len(self.texture) - 1.0)
        first, share = int(level), level - int(level)
        grid = self.grid(uv)[None]
        out = self._sample(first, grid)
        if share > 0.02:
            out = torch.lerp(out, self._sample(first + 1, grid), share)
        return out

    def _sample(self, level: int, grid: Tensor) -> Tensor:
        image = self.texture[level]
        return F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)[0]


@dataclass(frozen=True, eq=False)
class LayerStack:
    """All layers of a world.

    Attributes:
        info: size and times.
        seed: seed of the scene.
        options: options of the scene.
        layers: the background (0) and the objects (their id is their index).
        rank: int [T, K + 1], nearness of each layer at each frame: higher covers lower; the background is 0.
        exposure: float64 [T], brightness of the whole frame.
        device: where frames are rendered.
    """

    info: VideoInfo
    seed: int
    options: WorldOptions
    layers: tuple[Layer, ...]
    rank: IntArray
    exposure: FloatArray
    device: torch.device


def mip_levels(image: Tensor, levels: int = 4) -> tuple[Tensor, ...]:
    """An image [3, h, w] and its halvings by 2x2 means, as [1, 3, h, w]; h and w multiples of 2^(levels - 1)."""
    out = [image[None]]
    while len(out) < levels:
        out.append(F.avg_pool2d(out[-1], 2))
    return tuple(out)
