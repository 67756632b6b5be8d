"""Mixing along a trajectory, symmetric in time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REACH = 2
"""Frames to each side, times the dilation."""
DILATIONS = (1, 2, 4)
"""Dilations of successive blocks, repeated."""


class SymmetricTimeConv(nn.Module):
    """Depthwise convolution over frames whose kernel is its own mirror image.

    Reversing the video then reverses the tracks bit for bit, and half of the weights are saved. Zeros beyond the ends.
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        # Few weights of one magnitude: [centre, one step away, two steps away].
        self.weight = nn.Parameter(torch.randn(REACH + 1, channels) * (2 * REACH + 1) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """[..., T, C] to the same."""
        out = x * self.weight[0]
        length, room = x.shape[-2], self.dilation * REACH
        padded = F.pad(x, (0, 0, room, room))
        for step in range(1, REACH + 1):
            away = step * self.dilation
            pair = padded[..., room - away : room - away + length, :] + padded[..., room + away :, :][..., :length, :]
            out = out + pair * self.weight[step]
        return out


class TimeBlock(nn.Module):
    """Convolution over frames, then a network of each frame alone, each beside the identity.

    Args:
        width: channels.
        dilation: frames between the samples of the convolution.
    """

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.time = SymmetricTimeConv(width, dilation)
        self.grow, self.shrink = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., T, width] to the same."""
        x = x + F.gelu(self.time(self.norm1(x)))
        out: Tensor = x + self.shrink(F.gelu(self.grow(self.norm2(x))))
        return out
