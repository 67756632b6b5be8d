"""A small residual encoder whose maps at strides 4, 8 and 16 are merged from coarse to fine.

The stages are those of residual networks (He et al., CVPR 2016); coarse maps are enlarged and added to finer ones as in
feature pyramids (Lin et al., CVPR 2017), so that a descriptor at stride 4 includes its context.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from trackime.trackers.networks._contextattention import ContextAttention

STRIDES = (4, 8, 16)
"""Pixels per cell of the three maps."""
_GROUP = 8
"""Channels that are normalised together."""


def conv(channels: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution and normalisation."""
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False), nn.GroupNorm(max(1, out // _GROUP), out)
    )


def unit(x: Tensor) -> Tensor:
    """Unit vectors along the last axis; by multiplication, as division has a slow gradient."""
    return x * x.square().sum(-1, keepdim=True).clamp(min=1e-12).rsqrt()


class Block(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv(channels, channels)
        self.conv2 = conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[M, C, h, w] to the same."""
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


class Encoder(nn.Module):
    """Frames to maps of unit descriptors.

    Args:
        channels: at strides 2, 4, 8 and 16.
        blocks: residual blocks at strides 4, 8 and 16.
        dim: channels of the descriptors.
        attention: let patches of the stride-8 map attend to those around them.
    """

    def __init__(self, channels: Sequence[int], blocks: Sequence[int], dim: int, attention: bool) -> None:
        super().__init__()
        self.stem = conv(3, channels[0], 5, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(conv(before, after, 3, 2), nn.ReLU(), *(Block(after) for _ in range(count)))
            for before, after, count in zip(channels, channels[1:], blocks, strict=False)
        )
        self.lateral = nn.ModuleList(conv(c, dim, 1) for c in channels[1:])
        self.attention = ContextAttention(dim) if attention else None
        self.heads = nn.ModuleList(nn.Conv2d(dim, dim, 1) for _ in STRIDES)

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Maps of frames, each by itself.

        Args:
            frames: [M, 3, h, w] in [0, 1], h and w multiples of 16.

        Returns:
            One [M, h / s, w / s, dim] float32 for each s of STRIDES, of unit length along the last axis.
        """
        x = F.relu(self.stem(2 * frames - 1))
        sides = []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            sides.append(lateral(x))
        merged = sides[-1]
        maps = [self.heads[-1](F.relu(merged))]
        for level in (1, 0):
            merged = sides[level] + F.interpolate(merged, scale_factor=2, mode="bilinear", align_corners=False)
            if level == 1 and self.attention is not None:
                merged = self.attention(merged)
            maps.insert(0, self.heads[level](F.relu(merged)))
        return [unit(m.float().movedim(1, -1).contiguous()) for m in maps]
