"""What the networks of PIPs and PIPs++ share: feature maps of frames, descriptors of points."""

from __future__ import annotations

from torch import Tensor, nn

from trackime.trackers.networks._basicencoder import BasicEncoder
from trackime.trackers.networks._lookup import bilinear

CHANNELS = 128
"""Numbers of a descriptor."""


class ParticleNetwork(nn.Module):
    """A network that follows descriptors through feature maps.

    Positions are in pixels of the frames encoded, (0, 0) being the centre of the first one.

    Args:
        stride: pixels per feature cell.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.fnet = BasicEncoder(CHANNELS, stride)

    def encode(self, frames: Tensor) -> Tensor:
        """Frames [T, 3, h, w] in [0, 1] to feature maps [T, h // stride, w // stride, CHANNELS]."""
        maps: Tensor = self.fnet(2 * frames - 1)
        return maps.permute(0, 2, 3, 1).contiguous()

    def describe(self, maps: Tensor, frames: Tensor, xy: Tensor) -> Tensor:
        """Descriptors [N, CHANNELS] at pixels xy [N, 2] of the frames numbered `frames` [N]."""
        return bilinear(maps, frames, xy / self.stride)
