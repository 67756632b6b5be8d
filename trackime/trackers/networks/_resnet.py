"""The pre-activation ResNet with instance normalisation that TAPIR and its descendants encode frames with.

He et al., Identity Mappings in Deep Residual Networks (2016), in the form of TAPIR (Doersch et al. 2023, appendix):
a stride of 8 in all, no pooling, every frame normalised by its own statistics, so that frames are independent of
each other. Parameter names are those of the published checkpoints (under ``resnet_torch.`` there).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

_CHANNELS = (64, 128, 256, 256)
"""Channels of the four groups."""
_STRIDES = (1, 2, 2, 1)
"""Stride of each group's first block; the first convolution has stride 2 before them."""


class Block(nn.Module):
    """Normalise, convolve, twice; the input is added again, projected where size or channels change.

    Args:
        before, after: channels.
        stride: 1 or 2.
        project: whether the shortcut has a 1x1 convolution.
    """

    def __init__(self, before: int, after: int, stride: int, project: bool) -> None:
        super().__init__()
        # "Same" padding of the original framework: with stride 2 all of it is right and below.
        self.padding = (1, 1, 1, 1) if stride == 1 else (0, 2, 0, 2)
        self.proj_conv = nn.Conv2d(before, after, 1, stride, bias=False) if project else None
        self.bn_0 = nn.InstanceNorm2d(before, affine=True)
        self.conv_0 = nn.Conv2d(before, after, 3, stride, bias=False)
        self.bn_1 = nn.InstanceNorm2d(after, affine=True)
        self.conv_1 = nn.Conv2d(after, after, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, before, h, w] to [N, after, h / stride, w / stride]."""
        ready = F.relu(self.bn_0(x))
        shortcut = x if self.proj_conv is None else self.proj_conv(ready)
        inner: Tensor = self.conv_0(F.pad(ready, self.padding))
        inner = self.conv_1(F.relu(self.bn_1(inner)))
        return inner + shortcut


class ResidualGroup(nn.Module):
    """Two blocks of one resolution; the first of them changes size and channels."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        first = Block(before, after, stride, project=True)
        self.blocks = nn.Sequential(first, Block(after, after, 1, project=False))

    def forward(self, x: Tensor) -> Tensor:
        """[N, before, h, w] to [N, after, h / stride, w / stride]."""
        out: Tensor = self.blocks(x)
        return out


class ResNet(nn.Module):
    """Feature maps of frames."""

    def __init__(self) -> None:
        super().__init__()
        self.initial_conv = nn.Conv2d(3, _CHANNELS[0], 7, 2, bias=False)
        sizes = zip((_CHANNELS[0], *_CHANNELS), _CHANNELS, _STRIDES, strict=False)
        self.block_groups = nn.ModuleList(ResidualGroup(*size) for size in sizes)

    def forward(self, frames: Tensor) -> list[Tensor]:
        """The first convolution's output, and that of each group.

        Args:
            frames: [N, 3, h, w] in [-1, 1]; h and w multiples of 8.

        Returns:
            [N, 64, h/2, w/2], [N, 64, h/2, w/2], [N, 128, h/4, w/4], [N, 256, h/8, w/8] and
            [N, 256, h/8, w/8]. The centre of map pixel (i, j) is at ((i + 0.5) s, (j + 0.5) s) of the frame, s its
            stride.
        """
        maps = [self.initial_conv(F.pad(frames, (2, 4, 2, 4)))]
        for group in self.block_groups:
            maps.append(group(maps[-1]))
        return maps


def unit(maps: Tensor) -> Tensor:
    """Maps [N, C, h, w] as [N, h, w, C], of length 1 along C."""
    last = maps.movedim(1, -1)
    return (last / last.square().sum(-1, keepdim=True).clamp(min=1e-12).sqrt()).contiguous()
