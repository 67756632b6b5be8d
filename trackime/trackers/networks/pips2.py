"""The network of PIPs++ (Zheng, Harley, Shen, Wetzstein, Guibas: PointOdyssey, ICCV 2023; arXiv 2307.15055).

Any number of frames. A one-dimensional residual network over time updates the positions several times from a point's
motion and its local correlations with three appearances: that of the first frame, and those at the estimated positions
two and four frames ago, which follow a change of appearance.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trackime.trackers.networks._lookup import bilinear
from trackime.trackers.networks._particle import CHANNELS, ParticleNetwork
from trackime.trackers.networks.correlation import LOOKUP, correlate

_LAGS = (2, 4)
"""How many frames ago the further appearances are, beside the first frame's."""
_WIDTHS = (128, 128, 256, 256, 512, 512, 1024, 1024)
"""Channels of the residual blocks over time."""


class TimeConv(nn.Module):
    """Convolution over three frames; zeros beyond the ends."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, S] to [N, out, S]."""
        y: Tensor = self.conv(x)
        return y


class TimeBlock(nn.Module):
    """Two convolutions over time, each after normalisation over time and ReLU, beside the identity."""

    def __init__(self, channels: int, out: int, plain: bool) -> None:
        super().__init__()
        self.conv1 = TimeConv(channels, out)
        self.conv2 = TimeConv(out, out)
        self.plain = plain

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, S] to [N, out, S]; where channels grow the identity lies in their middle."""
        y = x if self.plain else F.relu(F.instance_norm(x))
        y = self.conv2(F.relu(F.instance_norm(self.conv1(y))))
        grown: int = y.shape[1] - x.shape[1]
        out: Tensor = y + F.pad(x, (0, 0, grown // 2, grown - grown // 2))
        return out


class DeltaBlock(nn.Module):
    """The update of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.first_block_conv = TimeConv((1 + len(_LAGS)) * LOOKUP + CHANNELS + 2, _WIDTHS[0])
        before = (_WIDTHS[0], *_WIDTHS)
        self.basicblock_list = nn.Sequential(
            *(TimeBlock(c, out, plain=i == 0) for i, (c, out) in enumerate(zip(before, _WIDTHS, strict=False)))
        )
        self.dense = nn.Linear(_WIDTHS[-1], 2)

    def forward(self, correlations: Tensor, motion: Tensor) -> Tensor:
        """One update.

        Args:
            correlations: [N, S, 3 * LOOKUP].
            motion: [N, S, 2] cells from each frame to the next.

        Returns:
            [N, S, 2] steps of the position in cells.
        """
        x = torch.cat([correlations, embed(motion)], -1).transpose(1, 2)
        x = self.basicblock_list(F.relu(self.first_block_conv(x)))
        out: Tensor = self.dense(F.relu(x).transpose(1, 2))
        return out


def embed(motion: Tensor) -> Tensor:
    """sin x w, cos x w, sin y w, cos y w over rates w_j = 10000^(-j / 31), then (x, y): [..., 2] to [..., 130]."""
    count = CHANNELS // 4
    rates = torch.arange(count, device=motion.device, dtype=motion.dtype) / (count - 1)
    phase = motion[..., None] * (1 / 10000**rates)  # [..., 2, 32]
    waves = torch.stack([phase.sin(), phase.cos()], -2)  # [..., 2, 2, 32]
    return torch.cat([waves.flatten(-3), motion], -1)


class Pips2(ParticleNetwork):
    """PIPs++, by the names of the official checkpoints.

    Args:
        stride: pixels per feature cell; the published model has 8.
    """

    def __init__(self, stride: int = 8) -> None:
        super().__init__(stride)
        self.delta_block = DeltaBlock()
        self.norm = nn.GroupNorm(1, CHANNELS)  # in the checkpoints, though nothing uses it

    def forward(
        self,
        pyramid: list[Tensor],  # [T, h, w, CHANNELS] each
        frames: Tensor,  # int64 [N, S] which of the T frames each point is followed through, S >= 2
        xy: Tensor,  # [N, S, 2] pixels, the first estimate; the first frame's is kept
        descriptor: Tensor,  # [N, CHANNELS] what it looks like
        iterations: int = 16,
        smooth: bool = False,
    ) -> Tensor:
        """Follow points through their frames.

        Args:
            smooth: halve the last quarter's steps, as the authors' demonstration does for smoother tracks.

        Returns:
            [iterations, N, S, 2] positions after each iteration.
        """
        place = xy / self.stride
        start = place[:, :1]
        length = frames.shape[1]
        first = descriptor[:, None].expand(-1, length, -1)
        past = [(torch.arange(length, device=xy.device) - lag).clamp(min=0) for lag in _LAGS]
        lagged = [first] * len(_LAGS)
        history = []
        for iteration in range(iterations):
            if iteration:
                lagged = [bilinear(pyramid[0], frames[:, t], place[:, t]) for t in past]
            correlations = correlate(pyramid, frames, place, torch.stack([first, *lagged], 2)).flatten(2)
            motion = place[:, 1:] - place[:, :-1]
            delta = self.delta_block(correlations, torch.cat([motion, motion[:, -1:]], 1))
            if smooth and iteration > 3 * iterations // 4:
                delta = delta * 0.5
            place = torch.cat([start, (place + delta)[:, 1:]], 1)
            history.append(place * self.stride)
        return torch.stack(history)
