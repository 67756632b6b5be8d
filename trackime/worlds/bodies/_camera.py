"""The camera of a clip of bodies: where it is and what it looks at, at any time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from trackime.arrays import Float64
from trackime.worlds.bodies._gaits import Gait, smooth

_NEAR = 0.05
"""Depth from which on points are projected; those nearer or behind the camera as if they were as far as this."""
_OUTSIDE = 2.0
"""Frames beyond its edges that positions are limited to: what is beside the camera has no place in the picture."""


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera (x right, y down, z forward) in a world whose z is up.

    Attributes:
        focal: pixels.
        width, height: of a frame.
        pose: of times [S]: rotation camera-to-world [S, 3, 3] and position [S, 3].
    """

    focal: float
    width: int
    height: int
    pose: Callable[[Float64], tuple[Float64, Float64]]

    def rays(self, xy: Tensor, rotation: Tensor) -> Tensor:
        """World rays of length 1 [M, 3] of pixels [M, 2]; rotation [M, 3, 3]."""
        flat = (xy - xy.new_tensor([self.width / 2, self.height / 2])) / self.focal
        ahead = torch.cat([flat, torch.ones_like(flat[:, :1])], 1)
        return torch.nn.functional.normalize((rotation @ ahead[..., None])[..., 0], dim=-1)

    def project(self, points: Tensor, rotation: Tensor, eye: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels [M, 2], at most `_OUTSIDE` frames away from the frame, and depths [M] of world points [M, 3]."""
        local = (rotation.transpose(-1, -2) @ (points - eye)[..., None])[..., 0]
        z = local[:, 2].clamp(min=_NEAR)
        size = points.new_tensor([self.width, self.height])
        xy = local[:, :2] / z[:, None] * self.focal + size / 2
        return torch.minimum(xy.maximum(-_OUTSIDE * size), (1 + _OUTSIDE) * size), local[:, 2]


def make_camera(rng: Generator, gait: Gait, frames: int, width: int, height: int, pan: bool) -> Camera:
    """A camera at some distance of a body, which it follows (`pan`) or lets pass."""
    middle = np.array([frames / 2])
    target = gait.root(middle)[0][0]
    ends = np.stack([*gait.skeleton.start, *gait.skeleton.end])
    low, high = ends.min(0), ends.max(0)
    tall = max(float(high[2]), float(np.hypot(*(high - low)[:2])), 0.6)
    centre = gait.root(middle)[1][0] @ ((low + high) / 2 * (1, 1, 0)) + (0, 0, (low[2] + high[2]) / 2)
    distance, side = rng.uniform(2.5, 5.0) * tall, rng.uniform(0, 2 * np.pi)
    rise = rng.uniform(0.03, 0.4) if rng.random() < 0.85 else rng.uniform(0.4, 1.2)
    way = np.array([np.cos(side) * np.cos(rise), np.sin(side) * np.cos(rise), np.sin(rise)])
    share = np.exp(rng.uniform(np.log(0.35), np.log(1.1)))  # of the frame's shorter side that the body takes
    focal = share * min(height, width) * distance / tall
    aim = centre
    lag, slack = rng.uniform(0, 3), rng.uniform(0.0, 0.25)
    shakes = [smooth(rng, float(rng.uniform(3, 12))) for _ in range(3)]
    drifts = [smooth(rng, 20.0) for _ in range(3)]
    shake, drift, roll = rng.uniform(0, 0.012), rng.uniform(0, 0.4), rng.normal(0, 0.04)
    away = (rng.random(3) - 0.5) * (0.2 if pan else 0.4)

    def pose(times: Float64) -> tuple[Float64, Float64]:
        place = gait.root(times - lag)[0] if pan else np.repeat(target[None], len(times), 0)
        sway = np.stack([f(times) for f in drifts], -1)
        look = place + aim + away + (slack if pan else 0.1) * sway * (1, 1, 0.5)
        start = target + aim + way * distance
        eye = start + drift * sway + (0.6 * (place - target) if pan else 0)
        eye[:, 2] = np.maximum(eye[:, 2], 0.12)
        z = look - eye
        z /= np.linalg.norm(z, axis=-1, keepdims=True)
        x = np.cross(z, (0, 0, 1.0))
        x /= np.linalg.norm(x, axis=-1, keepdims=True)
        y = np.cross(z, x)
        jitter = [shake * f(times) for f in shakes]
        x, y = x + (roll + jitter[2])[..., None] * y, y - (roll + jitter[2])[..., None] * x
        z = z + jitter[0][:, None] * x + jitter[1][:, None] * y
        rotation = np.stack([x, y, z], -1)
        u, _, v = np.linalg.svd(rotation)
        return u @ v, eye

    return Camera(focal, width, height, pose)
