"""All layers of a batch on one device: poses and coverage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trackime.arrays import FloatArray
from trackime.worlds.layers.batch._plan import BatchPlan, members
from trackime.worlds.layers.batch._tiles import MIPS, TileLayout
from trackime.worlds.motion import Pose

RIM = 1.06
"""Outlines stay within this radius: the unit disc plus the largest bend."""


@dataclass(frozen=True, eq=False)
class BatchLayers:
    """L layers of B clips.

    Attributes:
        clip: int64 [L].
        thing: int64 [L], 0 a background, k object k.
        rank: int64 [L, T], order within the clip and frame, 0 the farthest.
        table: int64 [B, K], the layers of every clip, -1 beyond their number.
        matrix: float64 [L, T, 3, 3], layer to frame pixels; inverse: the other way.
        scale: float64 [L, T], frame pixels per layer unit; stretch: float64 [L, T], see `stretch`.
        box: float32 [L, T, 4], x0, y0, x1, y1 in frame pixels, a box that contains the layer.
        bends: bool [L].
        direction: float64 [L, 3, 2]; frequency: float64 [L, 2]; amplitude: float64 [L, 3, T]; phase: float64 [L, 3, T].
        to_tile: float64 [L, 2, 2], gain and shift from (u, v) to atlas pixels; limits: float32 [L, 2, 2], the
            tile's low and high corners there.
        atlas: float32 [1, 4, h, w] per mip level: red, green, blue, signed distance in layer units (of level 0 alone).
        height: of the frames; width: likewise.
    """

    clip: Tensor
    thing: Tensor
    rank: Tensor
    table: Tensor
    matrix: Tensor
    inverse: Tensor
    scale: Tensor
    stretch: Tensor
    box: Tensor
    bends: Tensor
    direction: Tensor
    frequency: Tensor
    amplitude: Tensor
    phase: Tensor
    to_tile: Tensor
    limits: Tensor
    atlas: tuple[Tensor, ...]
    height: int
    width: int

    @property
    def device(self) -> torch.device:
        """Device of all tensors."""
        return self.clip.device

    @property
    def frames(self) -> int:
        """T."""
        return self.rank.shape[1]

    def pose(self, layer: Tensor, t: Tensor, dtype: torch.dtype) -> Pose:
        """Poses of layers at frames, index tensors of one shape [*S], for points [*S, P, 2].

        Args:
            layer: int64 [*S].
            t: int64 [*S].
            dtype: of the points.
        """
        matrix, inverse = (m[layer, t].unsqueeze(-3).to(dtype) for m in (self.matrix, self.inverse))
        direction = self.direction[layer].unsqueeze(-3).to(dtype)
        directions = [(direction[..., c, 0], direction[..., c, 1]) for c in range(3)]
        frequency = self.frequency[layer].unsqueeze(-2).to(dtype)
        amplitude, phase = (
            torch.stack([m[layer, c, t].unsqueeze(-1) for c in range(3)]).to(dtype)
            for m in (self.amplitude, self.phase)
        )
        return Pose(matrix, inverse, directions, [frequency[..., 0], frequency[..., 1], 0.0], amplitude, phase)

    @cached_property
    def to_grid(self) -> tuple[Tensor, Tensor]:
        """Gain and shift, float64 [L, 2] each, from (u, v) to the sampling coordinates of torch, -1 .. 1."""
        unit = 2 / self.to_tile.new_tensor([self.atlas[0].shape[-1], self.atlas[0].shape[-2]])
        return self.to_tile[:, 0] * unit, self.to_tile[:, 1] * unit - 1

    def grid_limits(self, level: int) -> Tensor:
        """Low and high sampling coordinates float32 [L, 2, 2]: half a texel excludes a tile's neighbours.

        Plus a hundredth, as coordinates of a large atlas are not exact in float32.
        """
        unit = 2 / self.limits.new_tensor([self.atlas[0].shape[-1], self.atlas[0].shape[-2]])
        margin = self.limits.new_tensor([0.51, -0.51])[:, None] * 2**level
        return (self.limits + margin) * unit - 1

    def sample(self, grid: Tensor, level: int = 0) -> Tensor:
        """Colour and signed distance [4, Q, P] at sampling coordinates [Q, P, 2]."""
        return F.grid_sample(self.atlas[level], grid[None], align_corners=False)[0]

    def cover(self, layer: Tensor, uv: Tensor) -> Tensor:
        """Signed distance [Q, P] of layers [Q] at their own coordinates [Q, P, 2], positive inside."""
        gain, shift = (v[layer][:, None] for v in self.to_grid)
        low, high = self.grid_limits(0)[layer][:, :, None].unbind(1)
        grid = (uv * gain + shift).to(torch.float32).clamp(low, high)
        return self.sample(grid)[3]

    def mip(self) -> Tensor:
        """Level of the atlas that suits each layer and frame: int64 [L, T]."""
        ratio = self.to_tile[:, 0, :1] / self.scale
        return ratio.log2().round().clamp(0, MIPS - 1).to(torch.int64)


def measure(plan: BatchPlan, height: int, width: int) -> FloatArray:
    """Frame pixels per layer unit, float64 [L, T]: at an object's middle, at the frame's middle for a background."""
    matrix = plan.matrices
    det = abs(np.linalg.det(matrix))
    middle = np.zeros((*matrix.shape[:2], 3))
    middle[..., 2] = 1
    ground = plan.thing == 0
    back = np.linalg.inv(matrix[ground]) @ np.array([width / 2, height / 2, 1.0])
    middle[ground] = back / back[..., 2:]
    w = (matrix[..., 2, :] * middle).sum(-1)
    out: FloatArray = np.sqrt(det / abs(w) ** 3)  # of a homography's Jacobian, |det| = |det M| / w^3
    return out


def stretch(plan: BatchPlan, scale: FloatArray) -> FloatArray:
    """Ratio of a layer's mean scale to its least scale along any direction, float64 [L, T], 1 or more."""
    linear = plan.matrices[..., :2, :2] / plan.matrices[..., 2:, 2:]
    linear = linear - plan.matrices[..., :2, 2:] / plan.matrices[..., 2:, 2:] ** 2 * plan.matrices[..., 2:, :2]
    square, det = (linear**2).sum((-1, -2)), np.linalg.det(linear)
    least = np.sqrt(np.maximum(square / 2 - np.sqrt(np.maximum((square / 2) ** 2 - det**2, 0)), 1e-12))
    return np.maximum(scale / least, 1)


def build(
    plan: BatchPlan,
    frame: TileLayout,
    scale: FloatArray,
    atlas: tuple[Tensor, ...],
    batch: int,
    height: int,
    width: int,
) -> BatchLayers:
    """Layers of a plan whose tiles lie in `atlas` as in `frame`."""
    device = atlas[0].device
    order = np.lexsort((np.arange(len(plan.clip)), plan.thing, plan.clip))
    if not np.array_equal(order, np.arange(len(order))):
        raise AssertionError("layers are sorted by clip")
    number = np.bincount(plan.clip, minlength=batch)
    nth = members(number)[1]
    table = np.full((batch, int(number.max())), -1)
    table[plan.clip, nth] = np.arange(len(order))
    keys = np.where((table >= 0)[..., None], plan.key[table], np.inf)  # [B, K, T]
    rank = np.argsort(np.argsort(keys, 1, kind="stable"), 1, kind="stable")[plan.clip, nth]
    gain = frame.size / (frame.extent[:, 2:] - frame.extent[:, :2])
    shift = frame.corner - frame.extent[:, :2] * gain
    limits = np.stack([frame.corner, frame.corner + frame.size], 1).astype(np.float32)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    direction = np.stack([np.cos(plan.angle), np.sin(plan.angle)], -1)
    layers = BatchLayers(
        clip=tensor(plan.clip),
        thing=tensor(plan.thing),
        rank=tensor(rank),
        table=tensor(table),
        matrix=tensor(plan.matrices),
        inverse=tensor(np.linalg.inv(plan.matrices)),
        scale=tensor(scale),
        stretch=tensor(stretch(plan, scale)),
        box=torch.zeros(len(order), plan.key.shape[1], 4, device=device),
        bends=tensor(plan.bends),
        direction=tensor(direction),
        frequency=tensor(plan.frequency),
        amplitude=tensor(plan.amplitude),
        phase=tensor(plan.phase),
        to_tile=tensor(np.stack([gain, shift], 1)),
        limits=tensor(limits),
        atlas=atlas,
        height=height,
        width=width,
    )
    layers.box.copy_(_boxes(layers))
    return layers


def _boxes(layers: BatchLayers) -> Tensor:
    """Boxes [L, T, 4] of every layer's rim, with two pixels of margin for the rim between its 32 points."""
    turn = torch.arange(32, dtype=torch.float64, device=layers.device) * (2 * math.pi / 32)
    rim = RIM / math.cos(math.pi / 32) * torch.stack([turn.cos(), turn.sin()], -1)
    count, frames = layers.rank.shape
    layer = torch.arange(count, device=layers.device)[:, None].expand(-1, frames)
    t = torch.arange(frames, device=layers.device)[None].expand(count, -1)
    xy = layers.pose(layer, t, torch.float64).forward(rim.expand(count, frames, -1, -1))
    box = torch.cat([xy.amin(-2) - 2, xy.amax(-2) + 2], -1)
    whole = box.new_tensor([0, 0, layers.width, layers.height])
    return torch.where((layers.thing == 0)[:, None, None], whole, box).to(torch.float32)
