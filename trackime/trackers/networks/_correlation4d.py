"""Local four-dimensional correlation (LocoTrack, Cho et al. 2024).

The neighbourhood of a point in its query frame is compared with the neighbourhood of a candidate position in another:
every cell of the one with every cell of the other, SIDE x SIDE x SIDE x SIDE inner products. Points are (x, y) in
pixels of the feature map, the centre of the first at (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trackime.trackers.networks._lookup import RADIUS, SIDE, around, bilinear, blend


def surroundings(
    grid: Tensor,  # [B, T, h, w, C]
    frame: Tensor,  # [B, N] integers
    xy: Tensor,  # [B, N, 2]
) -> Tensor:
    """Features around points, [B, N, SIDE, SIDE, C] (rows first); beyond the border, those of the border."""
    steps = torch.arange(-RADIUS, RADIUS + 1, device=xy.device)
    place = (xy - 0.5)[:, :, None, None] + torch.cartesian_prod(steps, steps).flip(-1).view(SIDE, SIDE, 2)
    clips = torch.arange(len(grid), device=xy.device)[:, None] * grid.shape[1]
    # Clamp the position itself, not only the pixels it lies between.
    return bilinear(grid.flatten(0, 1), (clips + frame)[..., None, None], place)


def local_correlation(
    grid: Tensor,  # [B, T, h, w, C]
    xy: Tensor,  # [B, N, t, 2] in frames first .. first + t - 1 of the grid
    support: Tensor,  # [B, N, SIDE, SIDE, C] from `surroundings`
    first: int = 0,
) -> Tensor:
    """Inner products of the surroundings of `xy` with the support; beyond the border features are zero.

    Bilinear sampling and inner products are both linear, so the products are taken at whole pixels and then sampled:
    the same values at a fraction of the cost, without the channels.

    Returns:
        [B, N, t, SIDE, SIDE, SIDE, SIDE]: row and column around `xy`, then row and column of the support.
    """
    b, length, h, w, c = grid.shape
    n, t = xy.shape[1:3]
    frames = torch.arange(b, device=xy.device)[:, None] * length + first + torch.arange(t, device=xy.device)  # [B, t]
    near = around(xy - 0.5, frames[:, None], (h, w))
    pixels = grid.reshape(-1, c).index_select(0, near.rows.flatten()).view(b * n, -1, c)
    products = torch.bmm(pixels, support.reshape(b * n, SIDE * SIDE, c).transpose(1, 2))
    products = products.view(*near.inside.shape, -1) * near.inside[..., None]
    return blend(products, near.fraction).unflatten(-1, (SIDE, SIDE))


class CorrelationEncoder(nn.Module):
    """A local correlation as a vector, encoded from both sides by the same convolutions.

    First the SIDE x SIDE cells around the target are the image and those of the support its channels, then the other
    way round.

    Args:
        channels, kernels, strides: of the convolutions, which reduce the side to 1.
    """

    def __init__(self, channels: Sequence[int], kernels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.conv = nn.ModuleList()
        self.pads: list[tuple[int, int, int, int]] = []
        before, side = SIDE * SIDE, SIDE
        for after, kernel, stride in zip(channels, kernels, strides, strict=True):
            block = (Convolution(before, after, kernel, stride), nn.GroupNorm(after // 16, after), nn.ReLU())
            self.conv.append(nn.Sequential(*block))
            # "Same" padding: as many outputs as strides fit into the side, the odd pixel right and below.
            outputs = -(-side // stride)
            missing = max(0, (outputs - 1) * stride + kernel - side)
            self.pads.append((missing // 2, missing - missing // 2) * 2)
            before, side = after, outputs

    def forward(self, correlation: Tensor) -> Tensor:
        """[P, SIDE, SIDE, SIDE, SIDE] to [P, 2 * channels[-1]]."""
        count = len(correlation)
        flat = correlation.reshape(count, SIDE * SIDE, SIDE * SIDE)
        # Channels last: those of the support for the image around the target, then the other way round.
        x = torch.cat([flat, flat.transpose(1, 2)]).unflatten(1, (SIDE, SIDE))
        for pad, block in zip(self.pads, self.conv, strict=True):
            convolve, normalise, rectify = block.children()
            x = convolve(F.pad(x, (0, 0, *pad)))
            x = rectify(normalise(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        x = x.mean((1, 2))
        return torch.cat([x[:count], x[count:]], 1)


class Convolution(nn.Conv2d):
    """A convolution without padding as one matrix product: on images this small several times as fast."""

    def forward(self, x: Tensor) -> Tensor:
        """[P, h, w, before] to [P, h', w', after]."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        windows = x.unfold(1, kernel, stride).unfold(2, kernel, stride).permute(0, 1, 2, 4, 5, 3)
        return F.linear(windows.flatten(3), self.weight.permute(0, 2, 3, 1).flatten(1), self.bias)
