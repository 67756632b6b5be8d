"""The network of PIPs: Particle Video Revisited (Harley, Fang, Fragkiadaki, ECCV 2022; arXiv 2204.04153).

Eight frames at a time. A point starts without motion and with one descriptor in all frames; an MLP-Mixer updates
positions and descriptors several times from the local correlations, the motion and the descriptors of all eight frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trackime.trackers.networks._particle import CHANNELS, ParticleNetwork
from trackime.trackers.networks.correlation import LOOKUP, correlate

FRAMES = 8
"""Frames of the mixer: the shapes of its weights fix their number."""
_EMBEDDING = 64
"""Sines and cosines per coordinate."""
_WIDTH = 512
_DEPTH = 12
"""Channels of the mixer."""


class Residual(nn.Module):
    """x + f(LayerNorm(x))."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.fn = body
        self.norm = nn.LayerNorm(_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """[N, FRAMES, _WIDTH] to the same."""
        y: Tensor = self.fn(self.norm(x))
        return x + y


class TimeMean(nn.Module):
    """The mean over frames."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, S, C] to [N, C]."""
        return x.mean(1)


def _mixing() -> nn.Module:
    """One block: an MLP over the frames, then one over the channels, each four times as wide inside."""
    # The identity stands for the dropout, which the checkpoints' numbering counts.
    time = nn.Sequential(nn.Conv1d(FRAMES, 4 * FRAMES, 1), nn.GELU(), nn.Identity(), nn.Conv1d(4 * FRAMES, FRAMES, 1))
    channel = nn.Sequential(nn.Linear(_WIDTH, 4 * _WIDTH), nn.GELU(), nn.Identity(), nn.Linear(4 * _WIDTH, _WIDTH))
    return nn.Sequential(Residual(time), Residual(channel))


class DeltaBlock(nn.Module):
    """The update of positions and descriptors."""

    def __init__(self) -> None:
        super().__init__()
        self.to_delta = nn.Sequential(
            nn.Linear(CHANNELS + LOOKUP + 3 * _EMBEDDING + 3, _WIDTH),
            *(_mixing() for _ in range(_DEPTH)),
            nn.LayerNorm(_WIDTH),
            TimeMean(),
            nn.Linear(_WIDTH, FRAMES * (CHANNELS + 2)),
        )

    def forward(self, descriptors: Tensor, correlations: Tensor, motion: Tensor) -> Tensor:
        """One update.

        Args:
            descriptors: [N, FRAMES, CHANNELS].
            correlations: [N, FRAMES, LOOKUP].
            motion: [N, FRAMES, 3] cells (x, y) from where the point began, and time.

        Returns:
            [N, FRAMES, 2 + CHANNELS]: steps of the position in cells, then of the descriptor.
        """
        delta: Tensor = self.to_delta(torch.cat([descriptors, correlations, embed(motion)], -1))
        return delta.view(len(delta), FRAMES, 2 + CHANNELS)


def embed(values: Tensor) -> Tensor:
    """Sines and cosines of coordinates [..., D], after the coordinates' own kind: [..., D * _EMBEDDING + D].

    Number 2 j of a coordinate v is sin(2 j v 1000 / _EMBEDDING), number 2 j + 1 the cosine; v itself comes last.
    """
    rates = torch.arange(0, _EMBEDDING, 2, device=values.device, dtype=values.dtype) * (1000 / _EMBEDDING)
    phase = values[..., None] * rates  # [..., D, _EMBEDDING / 2]
    waves = torch.stack([phase.sin(), phase.cos()], -1)
    return torch.cat([waves.flatten(-3), values], -1)


class Pips(ParticleNetwork):
    """PIPs, by the names of the official checkpoints.

    Args:
        stride: pixels per feature cell; the published model has 4.
    """

    def __init__(self, stride: int = 4) -> None:
        super().__init__(stride)
        self.delta_block = DeltaBlock()
        self.norm = nn.GroupNorm(1, CHANNELS)
        self.ffeat_updater = nn.Sequential(nn.Linear(CHANNELS, CHANNELS), nn.GELU())
        self.vis_predictor = nn.Sequential(nn.Linear(CHANNELS, 1))

    def forward(
        self,
        pyramid: list[Tensor],  # [T, h, w, CHANNELS] each
        frames: Tensor,  # int64 [N, FRAMES] which of the T frames each point is followed through
        xy: Tensor,  # [N, 2] pixels, where it is in the first of them
        descriptor: Tensor,  # [N, CHANNELS] what it looks like
        iterations: int = 6,
    ) -> tuple[Tensor, Tensor]:
        """Follow points through their eight frames.

        Returns:
            positions [iterations, N, FRAMES, 2] after each iteration, the first frame's held where it was; visibility
            logits [N, FRAMES].
        """
        start = xy[:, None] / self.stride  # [N, 1, 2]
        place = start.expand(-1, FRAMES, -1)
        descriptors = descriptor[:, None].expand(-1, FRAMES, -1)
        # The last frame is at FRAMES, not FRAMES - 1, as in training.
        times = torch.linspace(0, FRAMES, FRAMES, device=xy.device, dtype=xy.dtype).expand(len(xy), -1)
        history = []
        for _ in range(iterations):
            correlations = correlate(pyramid, frames, place, descriptors[:, :, None])[:, :, 0]
            motion = torch.cat([place - place[:, :1], times[..., None]], -1)
            delta = self.delta_block(descriptors, correlations, motion)
            step = self.ffeat_updater(self.norm(delta[..., 2:].reshape(-1, CHANNELS)))
            descriptors = descriptors + step.view_as(descriptors)
            place = torch.cat([start, (place + delta[..., :2])[:, 1:]], 1)
            history.append(place * self.stride)
        logits: Tensor = self.vis_predictor(descriptors)[..., 0]
        return torch.stack(history), logits
