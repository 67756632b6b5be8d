"""The image encoder of CoTracker3: a residual network whose stages are brought to one grid of a quarter resolution.

Written from the paper (Karaev et al., CoTracker3, arXiv 2410.11831, section 3.2) with the parameter names of the
published checkpoints. All norms are instance norms without parameters, so a frame's features depend on that frame
alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 4
"""Pixels a cell of the features."""
CHANNELS = 128
"""Of the features."""
STAGES = ((64, 1), (96, 2), (128, 2), (128, 2))
"""Channels and stride of each stage."""


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut; the first one may shrink."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride)) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, h, w] to [B, out, h / stride, w / stride]."""
        shortcut = x if self.downsample is None else F.instance_norm(self.downsample(x))
        x = F.instance_norm(self.conv1(x)).relu_()
        x = F.instance_norm(self.conv2(x)).relu_()
        return x.add_(shortcut).relu_()


class Encoder(nn.Module):
    """Frames [B, 3, h, w] in -1..1 to features [B, 128, h // 4, w // 4], not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, STAGES[0][0], 7, stride=2, padding=3)
        channels = STAGES[0][0]
        for i, (out, stride) in enumerate(STAGES, 1):
            self.add_module(f"layer{i}", nn.Sequential(Block(channels, out, stride), Block(out, out, 1)))
            channels = out
        self.conv2 = nn.Conv2d(sum(out for out, _ in STAGES), 2 * CHANNELS, 3, padding=1)
        self.conv3 = nn.Conv2d(2 * CHANNELS, CHANNELS, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """[B, 3, h, w] to [B, 128, h // 4, w // 4]."""
        grid = (frames.shape[-2] // STRIDE, frames.shape[-1] // STRIDE)
        x = F.instance_norm(self.conv1(frames)).relu_()
        stages = []
        for i in range(1, len(STAGES) + 1):
            x = self.get_submodule(f"layer{i}")(x)
            stages.append(F.interpolate(x, grid, mode="bilinear", align_corners=True))
        fused: Tensor = self.conv3(F.instance_norm(self.conv2(torch.cat(stages, 1))).relu_())
        return fused
