"""TAPIR's mixer: depthwise convolutions over time and perceptrons over channels (Doersch et al. 2023, section 3.2).

In the causal form (Doersch et al. 2024, online BootsTAPIR) each convolution sees a frame and the two before it, so that
a video can be tracked frame by frame with the state in `Context`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_KERNEL = 3
_WIDEN = 4
"""Channels of the inner layers for each outer one."""

Context = list[tuple[Tensor, Tensor]]
"""The state of a causal mixer: for each block the last two frames of input to its first and second convolution,
[N, 2, C] and [N, 2, 4 C]. Zeros before the first frame."""


class ChannelMixer(nn.Module):
    """Two layers over the channels of one frame."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp2_up = nn.Linear(width, _WIDEN * width)
        self.mlp2_down = nn.Linear(_WIDEN * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] to the same."""
        out: Tensor = self.mlp2_down(F.gelu(self.mlp2_up(x), approximate="tanh"))
        return out


class MixerBlock(nn.Module):
    """Mixes over time, each channel by itself, then over channels, each frame by itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(width, bias=False)
        self.mlp1_up = nn.Conv1d(width, _WIDEN * width, _KERNEL, groups=width)
        self.mlp1_up_1 = nn.Conv1d(_WIDEN * width, _WIDEN * width, _KERNEL, groups=_WIDEN * width)
        self.layer_norm_1 = nn.LayerNorm(width, bias=False)
        self.conv_channels_mixer = ChannelMixer(width)

    def forward(
        self,
        x: Tensor,  # [N, T, C]
        past: tuple[Tensor, Tensor] | None,  # of `Context`; None: both directions in time
        live: Tensor | None,  # bool [N, T, 1]: frames from the query on; earlier ones count as never seen
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """The block's output [N, T, C], and its context for the next chunk."""
        seen = _joined(self.layer_norm(x), past and past[0], live)
        wide = F.gelu(_over_time(self.mlp1_up, seen), approximate="tanh")
        wide = _joined(wide, past and past[1], live)
        mixed = _over_time(self.mlp1_up_1, wide)
        x = x + mixed.unflatten(-1, (-1, _WIDEN)).sum(-1)
        x = x + self.conv_channels_mixer(self.layer_norm_1(x))
        kept = None if past is None else (seen[:, 1 - _KERNEL :].clone(), wide[:, 1 - _KERNEL :].clone())
        return x, kept


class Mixer(nn.Module):
    """Blocks between two linear layers.

    Args:
        before, after: channels in and out.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.width = width = 512
        self.linear = nn.Linear(before, width)
        self.blocks = nn.ModuleList(MixerBlock(width) for _ in range(12))
        self.layer_norm = nn.LayerNorm(width, bias=False)
        self.linear_1 = nn.Linear(width, after)

    def empty(self, count: int) -> Context:
        """The context of `count` points that have seen nothing."""
        new = self.linear.weight.new_zeros
        shape = (count, _KERNEL - 1)
        return [(new(*shape, self.width), new(*shape, _WIDEN * self.width)) for _ in self.blocks]

    def forward(
        self, x: Tensor, context: Context | None = None, live: Tensor | None = None
    ) -> tuple[Tensor, Context | None]:
        """Updates of tracks.

        Args:
            x: [N, T, before], T consecutive frames of N points.
            context: of the frames before, for a causal mixer; None: each frame sees both neighbours.
            live: bool [N, T, 1]; frames where it is false leave no trace in later ones (causal only).

        Returns:
            [N, T, after], and the context after the last frame (None where none was given).
        """
        x = self.linear(x)
        kept: Context = []
        for i, block in enumerate(self.blocks):
            x, past = block(x, None if context is None else context[i], live)
            if past is not None:
                kept.append(past)
        return self.linear_1(self.layer_norm(x)), None if context is None else kept


def _joined(x: Tensor, past: Tensor | None, live: Tensor | None) -> Tensor:
    """[N, T + 2, C]: with the frames that the convolution at the first and last frame needs."""
    if live is not None:
        x = x * live
    return F.pad(x, (0, 0, _KERNEL // 2, _KERNEL // 2)) if past is None else torch.cat([past, x], 1)


def _over_time(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """Depthwise convolution along the frames of [N, T + 2, C]: [N, T, C'].

    Done as a convolution of images one pixel high whose channels come last, which is how x lies in memory already:
    three to six times as fast as a convolution of the transposed tensor.
    """
    image = x.transpose(1, 2).unsqueeze(2)  # [N, C, 1, T + 2]
    out = F.conv2d(image, conv.weight.unsqueeze(2), conv.bias, groups=conv.groups)
    return out.squeeze(2).transpose(1, 2)
