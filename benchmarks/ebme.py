"""The flow network of EBME, for comparison: both flows between two frames from one small network in a pyramid.

Xin Jin, Longhai Wu, Guotao Shen, Youxin Chen, Jie Chen, Jayoon Koo, Cheul-hee Hahn: Enhanced Bi-directional Motion
Estimation for Video Frame Interpolation (WACV 2023), and, with other weights, SportsSloMo (Chen, Jiang, CVPR 2024).
Written from the paper; parameters have the published names, so that published weights fit. Weights are not part of
this project: the user gives their path, and their owners decide what they may be used for.
"""

from __future__ import annotations

import math
import os
from itertools import pairwise, product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trackime.checkpoints import fill, read_weights
from trackime.errors import InputError, ShapeError
from trackime.video import Video
from trackime_apps.interp import FrameMotion, PairMotion, splat, visibility

FEATURES = 48
"""Channels of the feature maps that are compared."""
RADIUS = 4
"""Displacements of the cost volume, in cells of a quarter of the level's resolution."""
STRIDE = 4
"""Flow is estimated at this part of each level's resolution."""
MEMORY = 64
"""Channels passed from one level to the next."""
GREY = 0.5
"""Padding of frames, on the right and at the bottom."""


def _block(channels: tuple[int, ...], kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolutions from each number of channels to the next, LeakyReLU 0.1 after each; the first one has the stride."""
    layers: list[nn.Module] = []
    for k, (into, out) in enumerate(pairwise(channels)):
        layers += [nn.Conv2d(into, out, kernel, 1 if k else stride, kernel // 2), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


class Features(nn.Module):
    """Images [B, 3, H, W] to features [B, 48, H/4, W/4]."""

    def __init__(self) -> None:
        super().__init__()
        half = FEATURES // 2
        self.conv_stage1 = _block((3, half, half, half), stride=2)
        self.conv_stage2 = _block((half, *(FEATURES,) * 6), stride=2)

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.conv_stage2(self.conv_stage1(image))
        return found


class Estimator(nn.Module):
    """Both flows from the cost volume, the features, and the result of the coarser level (paper, section 3.2)."""

    def __init__(self) -> None:
        super().__init__()
        given = (2 * RADIUS + 1) ** 2 + 2 * FEATURES + MEMORY + 4
        self.conv_layer1 = _block((given, 160), kernel=1)
        self.conv_layer2 = _block((160, 128))
        self.conv_layer3 = _block((128, 112))
        self.conv_layer4 = _block((112, 96))
        self.conv_layer5 = _block((96, MEMORY))
        self.conv_layer6 = nn.Sequential(nn.Conv2d(MEMORY, 4, 3, padding=1))

    def forward(self, first: Tensor, second: Tensor, memory: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """The whole flow (not what is to be added to `flow`) [B, 4, h, w], and memory [B, 64, h, w] for the next."""
        cost = F.leaky_relu(cost_volume(first, second), 0.1)
        memory = torch.cat([cost, first, second, memory, flow], 1)
        for layer in (self.conv_layer1, self.conv_layer2, self.conv_layer3, self.conv_layer4, self.conv_layer5):
            memory = layer(memory)
        return self.conv_layer6(memory), memory


def cost_volume(first: Tensor, second: Tensor, radius: int = RADIUS) -> Tensor:
    """Mean product of features [B, C, h, w] over all displacements up to `radius`, zero beyond the border.

    Returns:
        [B, (2 radius + 1)^2, h, w]; channel (dy + radius) (2 radius + 1) + dx + radius compares first at x with second
        at x + (dx, dy).
    """
    h, w = first.shape[-2:]
    wide = F.pad(second, (radius,) * 4)
    steps = product(range(2 * radius + 1), repeat=2)
    return torch.stack([(first * wide[..., y : y + h, x : x + w]).mean(1) for y, x in steps], 1)


class BiFlowNet(nn.Module):
    """The network; the same parameters at every level of the pyramid."""

    def __init__(self) -> None:
        super().__init__()
        self.feat_pyramid = Features()
        self.flow_estimator = Estimator()

    def forward(self, first: Tensor, second: Tensor, levels: int) -> Tensor:
        """Flow both ways.

        Args:
            first, second: float [B, 3, H, W] in [0, 1], blue, green, red; sides multiples of ``2 ** (levels + 1)``.
            levels: of the pyramid.

        Returns:
            [B, 4, H, W]: (dx, dy) from first to second, then (dx, dy) from second to first, in pixels.

        Raises:
            ShapeError: images of other sizes.
        """
        flow, _ = self.levels(first, second, levels)[-1]
        return _resize(flow, STRIDE)

    def levels(self, first: Tensor, second: Tensor, levels: int) -> list[tuple[Tensor, Tensor]]:
        """Flow and memory of each level at a quarter of its resolution, coarse to fine; flow in the level's pixels."""
        if first.shape != second.shape or any(side % 2 ** (levels + 1) for side in first.shape[-2:]):
            expected = f"[B, 3, H, W] with sides that are multiples of {2 ** (levels + 1)}, twice"
            raise ShapeError("images", expected, (*first.shape, *second.shape))
        out: list[tuple[Tensor, Tensor]] = []
        for level in reversed(range(levels)):
            pair = [_resize(image, 0.5**level) for image in (first, second)]
            if out:
                flow, memory = 2 * _resize(out[-1][0], 2), _resize(out[-1][1], 2)
                # Each image is warped half-way, to meet the other in the middle (paper, section 3.1).
                half = _resize(flow, STRIDE) / 2
                # Holes stay 0, as in the training of the weights.
                pair = [splat(a, f, "average", eps="zero") for a, f in zip(pair, half.split(2, 1), strict=True)]
            else:
                b, _, h, w = pair[0].shape
                flow = first.new_zeros(b, 4, h // STRIDE, w // STRIDE)
                memory = first.new_zeros(b, MEMORY, h // STRIDE, w // STRIDE)
            out.append(self.flow_estimator(self.feat_pyramid(pair[0]), self.feat_pyramid(pair[1]), memory, flow))
        return out


def _resize(maps: Tensor, factor: float) -> Tensor:
    return maps if factor == 1 else F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)


def pyramid_levels(width: int, height: int) -> int:
    """Levels for a frame size: ceil(log2(side / 448) + 3), the authors' rule for the width of landscape frames.

    The longer side is taken, so that portrait videos get as many as landscape ones.
    """
    return max(1, math.ceil(math.log2(max(width, height) / 448) + 3))


class EbmeMotion:
    """The motion between frames of a video by the network: a `trackime_apps.interp.MotionSource`.

    Args:
        video: the frames.
        weights: the network, or a file of published weights, read safely.
        device: where it runs.
        levels: of the pyramid; None: by the frame's size.

    Raises:
        InputError: no such file, fewer than one level.
        FormatError: weights of something else.
    """

    def __init__(
        self,
        video: Video,
        weights: str | os.PathLike[str] | BiFlowNet,
        device: str | torch.device = "cpu",
        levels: int | None = None,
    ) -> None:
        self.video, self.device = video, torch.device(device)
        self.levels = pyramid_levels(video.info.width, video.info.height) if levels is None else levels
        if self.levels < 1:
            raise InputError(f"levels: expected 1 or more, got {levels}")
        network = weights if isinstance(weights, BiFlowNet) else load(weights)
        self.network = network.to(self.device)

    def flow(self, i: int, j: int) -> tuple[Tensor, Tensor]:
        """float32 [2, H, W] from frame i to j, and from j to i, in pixels."""
        first, second = (self._image(t) for t in (i, j))
        with torch.inference_mode():
            found = self.network(first, second, self.levels)[0, :, : self.video.info.height, : self.video.info.width]
        return found[:2].clone(), found[2:].clone()

    def _image(self, t: int) -> Tensor:
        """Frame t as the network takes it: BGR, padded, [1, 3, h, w]."""
        image = torch.from_numpy(np.ascontiguousarray(self.video[t][..., ::-1])).to(self.device)
        image = image.permute(2, 0, 1)[None].float() / 255
        multiple = 2 ** (self.levels + 1)
        h, w = image.shape[-2:]
        return F.pad(image, (0, -w % multiple, 0, -h % multiple), value=GREY)

    def between(self, i: int, j: int) -> PairMotion:
        """The motion between frames i < j; visibility from forward-backward consistency."""
        forward, backward = self.flow(i, j)
        return PairMotion(
            FrameMotion(forward, flow_visibility(forward, backward)),
            FrameMotion(backward, flow_visibility(backward, forward)),
        )


def flow_visibility(flow: Tensor, back: Tensor) -> Tensor:
    """Visibility [H, W] as for the package's own flow, so that only flows [2, H, W] are compared."""
    there, returned = (np.ascontiguousarray(f.permute(1, 2, 0).cpu().numpy()) for f in (flow, back))
    return torch.from_numpy(visibility(there, returned)).to(flow.device)


def load(path: str | os.PathLike[str]) -> BiFlowNet:
    """The network with published weights, for use.

    Raises:
        InputError: no such file.
        FormatError: weights of something else.
    """
    network = BiFlowNet()
    fill(network, read_weights(path), "the EBME flow network")
    return network
