"""Motion of layers: smooth random curves, bounded paths, cameras, and warps with exact inverses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from trackime.arrays import FloatArray

SPREAD = 1.08
"""Sigma of the log-normal speeds: the 90th percentile is four times the median, exp(1.28 * 1.08)."""


def curve(rng: Generator, frames: int, period: float | None = None) -> FloatArray:
    """One smooth random curve in [-1, 1], float64 [frames]; see `curves`. None: a period that suits the length."""
    return curves(rng, (), frames, period or float(np.clip(frames, 24, 120)))


def curves(rng: Generator, shape: tuple[int, ...], frames: int, period: float | FloatArray) -> FloatArray:
    """Smooth random curves in [-1, 1], float64 [*shape, frames]: three sines each, about `period` [*shape] frames."""
    t = np.arange(frames)
    base = np.broadcast_to(np.asarray(period, float), shape)[..., None]
    out = np.zeros((*shape, frames))
    for weight, length in ((0.6, 1.0), (0.28, 0.5), (0.12, 0.27)):
        long = base * rng.uniform(0.7, 1.6, shape)[..., None] * length
        out += weight * np.sin(2 * math.pi * t / long + rng.uniform(0, 2 * math.pi, shape)[..., None])
    return out


def fold(x: FloatArray, low: float | FloatArray, high: float | FloatArray) -> FloatArray:
    """x reflected into [low, high] at both ends, as often as needed."""
    span = np.maximum(np.subtract(high, low), 1e-6)
    phase = np.mod(x - low, 2 * span)
    out: FloatArray = low + np.minimum(phase, 2 * span - phase)
    return out


def wander(
    rng: Generator,
    frames: int,
    speed: float,
    anchor: tuple[int, FloatArray],
    box: tuple[float, float, float, float],
    jerky: bool = False,
) -> FloatArray:
    """A path through a given point, reflected at the sides of a box.

    Args:
        rng: source of randomness.
        frames: T.
        speed: typical pixels per frame; it varies along the way.
        anchor: (frame, (x, y)) that the path passes through (nearly: corners are rounded afterwards).
        box: x0, y0, x1, y1.
        jerky: straight dashes and stops of a few frames instead of smooth turns.

    Returns:
        float64 [T, 2].
    """
    # Extra frames on both sides: smoothing would slow the ends down.
    margin = 8
    total = frames + 2 * margin
    heading: FloatArray
    gain: FloatArray
    if jerky:
        dash = np.repeat(np.arange(total), rng.integers(3, 11, total))[:total]
        heading = rng.uniform(0, 2 * math.pi, total)[dash]
        gain = (np.exp(rng.normal(0, 0.5, total)) * (rng.random(total) > 0.2))[dash]
    else:
        heading = rng.uniform(0, 2 * math.pi) + 2.2 * curve(rng, total)
        gain = np.exp(0.8 * curve(rng, total))
    step = speed * gain[:, None] * np.stack([np.cos(heading), np.sin(heading)], 1)
    path: FloatArray = np.cumsum(step, 0)
    t, place = anchor
    path += np.asarray(place) - path[t + margin]
    x0, y0, x1, y1 = box
    path = np.stack([fold(path[:, 0], x0, x1), fold(path[:, 1], y0, y1)], 1)
    smooth: FloatArray = gaussian_filter1d(path, 0.6 if jerky else 2.0, axis=0, mode="nearest")
    return smooth[margin:-margin]


def similarity(centre: FloatArray, scale: FloatArray, angle: FloatArray, aspect: FloatArray) -> FloatArray:
    """Matrices [*S, 3, 3] of rotation, scale and anisotropic stretch [*S], then translation to `centre` [*S, 2]."""
    out = np.zeros((*scale.shape, 3, 3))
    c, s = np.cos(angle), np.sin(angle)
    a, b = scale * aspect, scale / aspect
    out[..., 0, 0], out[..., 0, 1], out[..., 0, 2] = a * c, -b * s, centre[..., 0]
    out[..., 1, 0], out[..., 1, 1], out[..., 1, 2] = a * s, b * c, centre[..., 1]
    out[..., 2, 2] = 1
    return out


def camera(rng: Generator, frames: int, width: int, height: int, speed: float, strength: float) -> FloatArray:
    """Homographies [T, 3, 3] of a plane behind everything: pan, zoom, roll and a little perspective.

    Args:
        rng: source of randomness.
        frames: T.
        width: frame width.
        height: frame height.
        speed: pixels per frame of the pan.
        strength: 0 holds the camera still, 1 is ordinary.
    """
    size = np.array([width, height])
    reach = size * 0.6
    box = (-reach[0], -reach[1], reach[0], reach[1])
    pan = wander(rng, frames, speed * strength, (frames // 2, np.zeros(2)), box)
    zoom = np.exp(0.22 * strength * curve(rng, frames))
    roll = math.radians(7) * strength * curve(rng, frames)
    # 0.12 over the frame's width: one side looks 12 % larger than the other.
    tilt = np.stack([0.12 * strength * curve(rng, frames) for _ in range(2)], -1)
    return plane(pan, zoom, roll, tilt, width, height)


def plane(pan: FloatArray, zoom: FloatArray, roll: FloatArray, tilt: FloatArray, width: int, height: int) -> FloatArray:
    """Homographies [*S, 3, 3] of a plane behind everything, about the frame's middle.

    Args:
        pan: [*S, 2] pixels.
        zoom: [*S].
        roll: [*S] radians.
        tilt: [*S, 2], how much larger one side looks than the other, across and along, as a share.
        width: frame width.
        height: frame height.
    """
    out = similarity(pan, zoom, roll, np.ones(zoom.shape))
    lean = np.tile(np.eye(3), (*zoom.shape, 1, 1))
    lean[..., 2, :2] = tilt / max(width, height)
    middle = np.eye(3)
    middle[:2, 2] = width / 2, height / 2
    matrices: FloatArray = middle @ lean @ out @ np.linalg.inv(middle)
    return matrices / matrices[..., 2:, 2:]


@dataclass(frozen=True, eq=False)
class Warp:
    """A non-rigid motion with an exact inverse: C shears one after the other, each along a direction d.

    Shear c moves p to p + d_c f_c(p . n_c), n_c perpendicular to d_c. It leaves p . n_c as it is, so its inverse
    is p - d_c f_c(p . n_c): no iteration, no error beyond rounding. (The additive coupling of NICE, Dinh et al. 2015,
    along turned axes.)

    Attributes:
        angle: float64 [C], direction d of each.
        frequency: float64 [C]; f(s) = amplitude * sin(frequency * s + phase), or for frequency 0 a hinge:
            amplitude * softplus(12 (s - phase)) / 12, which swings what lies beyond `phase`.
        amplitude: float64 [C, T].
        phase: float64 [C, T].
    """

    angle: FloatArray
    frequency: FloatArray
    amplitude: FloatArray
    phase: FloatArray

    @property
    def reach(self) -> float:
        """No point of the unit disc moves further than this."""
        most = np.abs(self.amplitude).max(axis=1, initial=0.0)
        return float(np.where(self.frequency == 0, 2.5 * most, most).sum())

    @classmethod
    def none(cls, frames: int) -> Warp:
        """The identity."""
        return cls(np.zeros(0), np.zeros(0), np.zeros((0, frames)), np.zeros((0, frames)))

    @classmethod
    def random(cls, rng: Generator, frames: int, strength: float = 1.0) -> Warp:
        """Two travelling waves and one hinge in random directions."""
        first = rng.uniform(0, math.pi)
        angle = np.array([first, first + math.pi / 2 + rng.normal(0, 0.2), rng.uniform(0, 2 * math.pi)])
        frequency = np.array([rng.uniform(2.0, 4.0), rng.uniform(2.0, 4.0), 0.0])
        period = float(np.clip(frames, 16, 40))
        amplitude = np.stack([0.11 * curve(rng, frames, period), 0.11 * curve(rng, frames, period)])
        hinge = 0.45 * curve(rng, frames, period)
        phase = np.stack([rng.uniform(0, 6) + 0.8 * curve(rng, frames) for _ in range(2)])
        return cls(
            angle,
            frequency,
            strength * np.concatenate([amplitude, hinge[None]]),
            np.concatenate([phase, np.full((1, frames), rng.uniform(0.0, 0.25))]),
        )


@dataclass(frozen=True, eq=False)
class Pose:
    """Pose of a layer at some frames: tensors that broadcast against points [..., 2].

    Attributes:
        matrix: [*S, 3, 3], layer to frame, after the warp.
        inverse_matrix: [*S, 3, 3].
        directions: one (dx, dy) per shear, numbers or [*S].
        frequency: one per shear, a number or [*S]; the number 0 is a hinge.
        amplitude: [C, *S].
        phase: [C, *S].
    """

    matrix: Tensor
    inverse_matrix: Tensor
    directions: Sequence[tuple[float | Tensor, float | Tensor]]
    frequency: Sequence[float | Tensor]
    amplitude: Tensor
    phase: Tensor

    def forward(self, uv: Tensor) -> Tensor:
        """Layer coordinates [..., 2] to frame pixels [..., 2]."""
        x, y = uv.unbind(-1)
        for c in range(len(self.directions)):
            x, y = self._shear(c, x, y, 1)
        return _project(self.matrix, x, y)

    def inverse(self, xy: Tensor) -> Tensor:
        """Frame pixels [..., 2] to layer coordinates [..., 2]."""
        x, y = _project(self.inverse_matrix, *xy.unbind(-1)).unbind(-1)
        return torch.stack(self.unbend(x, y), -1)

    def unbend(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Layer coordinates of points after the inverse homography."""
        for c in reversed(range(len(self.directions))):
            x, y = self._shear(c, x, y, -1)
        return x, y

    def _shear(self, c: int, x: Tensor, y: Tensor, sign: int) -> tuple[Tensor, Tensor]:
        dx, dy = self.directions[c]
        frequency = self.frequency[c]
        across = dx * y - dy * x
        if isinstance(frequency, float) and frequency == 0:
            move = torch.nn.functional.softplus(12 * (across - self.phase[c])) / 12
        else:
            move = torch.sin(frequency * across + self.phase[c])
        move = sign * self.amplitude[c] * move
        return x + dx * move, y + dy * move


def _project(m: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Homography m [*S, 3, 3] of points x, y."""
    w = m[..., 2, 0] * x + m[..., 2, 1] * y + m[..., 2, 2]
    px = m[..., 0, 0] * x + m[..., 0, 1] * y + m[..., 0, 2]
    py = m[..., 1, 0] * x + m[..., 1, 1] * y + m[..., 1, 2]
    return torch.stack([px / w, py / w], -1)
