"""The space-time transformer of CoTracker3.

Attention runs along time within a track, and across tracks within a frame; the latter by way of 64 learned proxy
tracks, so that its cost is linear in the number of points (Karaev et al., CoTracker, arXiv 2307.07635, section 3.3;
CoTracker3, arXiv 2410.11831, section 3.2). Parameters bear the names of the published checkpoints.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, HEADS, DEPTH, PROXIES = 384, 8, 3, 64
"""Channels of a token, attention heads, layers, proxy tracks."""


class Mlp(nn.Module):
    """Two linear layers with a GELU between; `approximate` as torch's gelu."""

    def __init__(self, inputs: int, hidden: int, outputs: int, approximate: str = "none") -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.fc2 = nn.Linear(hidden, outputs)
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x), approximate=self.approximate))
        return out


class Attention(nn.Module):
    """Multi-head attention of x to a context."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q = nn.Linear(WIDTH, WIDTH)
        self.to_kv = nn.Linear(WIDTH, 2 * WIDTH)
        self.to_out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x [B, M, 384], context [B, K, 384] to [B, M, 384]."""
        key, value = self.to_kv(context).chunk(2, -1)
        heads = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (self.to_q(x), key, value))
        mixed = F.scaled_dot_product_attention(*heads)  # [B, heads, M, 48]
        out: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return out


class SelfBlock(nn.Module):
    """Tokens look at each other."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = Attention()
        self.mlp = Mlp(WIDTH, 4 * WIDTH, WIDTH, "tanh")

    def forward(self, x: Tensor) -> Tensor:
        """[B, M, 384] to the same."""
        normed = _norm(x)
        x = x + self.attn(normed, normed)
        return x + self.mlp(_norm(x))


class CrossBlock(nn.Module):
    """Tokens look at a context."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_context = nn.LayerNorm(WIDTH)
        self.cross_attn = Attention()
        self.mlp = Mlp(WIDTH, 4 * WIDTH, WIDTH, "tanh")

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x [B, M, 384], context [B, K, 384] to [B, M, 384]."""
        x = x + self.cross_attn(_norm(x), self.norm_context(context))
        return x + self.mlp(_norm(x))


class SpaceTimeFormer(nn.Module):
    """Tokens of tracks [B, N, T, inputs] to updates [B, N, T, 4]: x, y, visibility and confidence logits."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.input_transform = nn.Linear(inputs, WIDTH)
        self.virual_tracks = nn.Parameter(torch.zeros(1, PROXIES, 1, WIDTH))  # spelt as in the checkpoints
        self.time_blocks = nn.ModuleList(SelfBlock() for _ in range(DEPTH))
        self.space_virtual_blocks = nn.ModuleList(SelfBlock() for _ in range(DEPTH))
        self.space_point2virtual_blocks = nn.ModuleList(CrossBlock() for _ in range(DEPTH))
        self.space_virtual2point_blocks = nn.ModuleList(CrossBlock() for _ in range(DEPTH))
        self.flow_head = nn.Linear(WIDTH, 2)
        self.vis_conf_head = nn.Linear(WIDTH, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, N, T, inputs] to [B, N, T, 4]; the order of the N tracks changes nothing."""
        batch, count, length = tokens.shape[:3]
        points = self.input_transform(tokens)
        proxies = self.virual_tracks.expand(batch, -1, length, -1)
        layers = zip(
            self.time_blocks,
            self.space_virtual2point_blocks,
            self.space_virtual_blocks,
            self.space_point2virtual_blocks,
            strict=True,
        )
        for along_time, gather, exchange, spread in layers:
            tracks = along_time(torch.cat([points, proxies], 1).flatten(0, 1)).unflatten(0, (batch, -1))
            frames = tracks.transpose(1, 2).flatten(0, 1)  # [B * T, N + proxies, 384]
            seen, hidden = frames[:, :count], frames[:, count:]
            hidden = exchange(gather(hidden, seen))
            seen = spread(seen, hidden)
            points, proxies = (part.unflatten(0, (batch, length)).transpose(1, 2) for part in (seen, hidden))
        return torch.cat([self.flow_head(points), self.vis_conf_head(points)], -1)


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)
