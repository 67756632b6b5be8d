"""The convolutional encoder that PIPs, PIPs++ and CoTracker3 share (Harley et al. 2022, section 3.1).

A residual network to strides 2, 4, 8 and 16, whose four maps are brought to one size and merged. Its shape is that of
RAFT's encoder (Teed, Deng 2020); instance normalisation makes each frame's features depend on that frame alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (64, 96, 128, 128)
"""Channels of the maps at strides 2, 4, 8, 16."""


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside the identity, or beside a 1 x 1 convolution where the stride is not 1."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.downsample: nn.Module | None = None
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride), nn.InstanceNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, h, w] to [B, out, ceil(h / stride), ceil(w / stride)]."""
        y = F.instance_norm(self.conv1(x)).relu_()
        y = F.instance_norm(self.conv2(y)).relu_()
        return y.add_(x if self.downsample is None else self.downsample(x)).relu_()


class BasicEncoder(nn.Module):
    """Frames to feature maps.

    Args:
        channels: of the result.
        stride: pixels per cell of the result.
    """

    def __init__(self, channels: int = 128, stride: int = 8) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 7, 2, padding=3)
        before = WIDTHS[0]
        for number, width in enumerate(WIDTHS, 1):
            first = ResidualBlock(before, width, 1 if number == 1 else 2)
            setattr(self, f"layer{number}", nn.Sequential(first, ResidualBlock(width, width, 1)))
            before = width
        self.conv2 = nn.Conv2d(sum(WIDTHS), 2 * channels, 3, padding=1)
        self.conv3 = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Features of frames.

        Args:
            frames: [B, 3, h, w] in [-1, 1].

        Returns:
            [B, channels, h // stride, w // stride]; cell (i, j) is centred on pixel (stride i, stride j), pixels
            counted from the centre of the first one.
        """
        size = (frames.shape[-2] // self.stride, frames.shape[-1] // self.stride)
        x = F.instance_norm(self.conv1(frames)).relu_()
        merged = []
        for number in range(1, len(WIDTHS) + 1):
            x = getattr(self, f"layer{number}")(x)
            # align_corners: the checkpoints were trained so, though it moves cells by up to half of one at the border.
            merged.append(F.interpolate(x, size, mode="bilinear", align_corners=True))
        out: Tensor = self.conv3(F.instance_norm(self.conv2(torch.cat(merged, 1))).relu_())
        return out
