"""A transformer along time whose attention weakens with distance: half of its heads look back, half ahead.

Press, Smith and Lewis, Train Short, Test Long: Attention with Linear Biases (ALiBi, 2022), in the two-sided form of
LocoTrack (Cho et al. 2024): no embedding of time, so clips may be of any length.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BASE = 24.0
"""Heads weaken by exp(-|distance| * slope), slopes spread geometrically from BASE ** (-1 / count) to 1 / BASE."""


def attention_bias(heads: int, length: int, device: torch.device | str = "cpu") -> Tensor:
    """The bias added to the attention logits.

    Returns:
        [heads, length, length], rows the attending frames, columns the attended ones: -slope * |distance|, and -inf
        where a head does not attend (the first half of the heads: ahead, the second half: back).
    """
    half = heads // 2
    slopes = BASE ** (-torch.arange(1, half + 1, device=device, dtype=torch.float32) / half)
    steps = torch.arange(length, device=device)
    ahead = steps[None] - steps[:, None]  # [T, T] columns later than rows are positive
    bias = -slopes[:, None, None] * ahead.abs()
    never = float("-inf")
    return torch.cat([bias.masked_fill(ahead > 0, never), bias.masked_fill(ahead < 0, never)])


class Attention(nn.Module):
    """Self-attention along time.

    Args:
        dim: channels in and out.
        heads: an even number that divides `dim`.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_proj = nn.Linear(dim, dim)
        self.key_proj = nn.Linear(dim, dim)
        self.value_proj = nn.Linear(dim, dim)
        self.final_proj = nn.Linear(dim, dim)

    def forward(
        self,
        x: Tensor,  # [P, T, dim]
        bias: Tensor,  # [heads, T, T] from `attention_bias`
    ) -> Tensor:
        """[P, T, dim]."""
        parts = (self.query_proj(x), self.key_proj(x), self.value_proj(x))
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias.to(x.dtype)
        )  # [P, heads, T, dim / heads]
        out: Tensor = self.final_proj(mixed.transpose(1, 2).flatten(2))
        return out


class Layer(nn.Module):
    """Attention, then a perceptron on each frame; both normalise first and add to their input."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(dim, heads)
        self.dense = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.layer_norm1 = nn.LayerNorm(dim)
        self.layer_norm2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """[P, T, dim], given the same and bias [heads, T, T]."""
        x = x + self.attn(self.layer_norm1(x), bias)
        out: Tensor = x + self.dense(self.layer_norm2(x))
        return out


class Transformer(nn.Module):
    """Layers, and a last normalisation."""

    def __init__(self, dim: int, heads: int, layers: int) -> None:
        super().__init__()
        self.heads = heads
        self.layers = nn.ModuleList(Layer(dim, heads) for _ in range(layers))
        self.ln_out = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """[P, T, dim] to the same."""
        bias = attention_bias(self.heads, x.shape[1], x.device)
        for layer in self.layers:
            x = layer(x, bias)
        out: Tensor = self.ln_out(x)
        return out


class TimeTransformer(nn.Module):
    """The transformer between two projections.

    Args:
        before, after: channels in and out.
        dim, heads, layers: of the transformer.
    """

    def __init__(self, before: int, after: int, dim: int, heads: int, layers: int) -> None:
        super().__init__()
        self.transformer = Transformer(dim, heads, layers)
        self.input_proj = nn.Linear(before, dim)
        self.output_proj = nn.Linear(dim, after)

    def forward(self, x: Tensor) -> Tensor:
        """[P, T, before] to [P, T, after]."""
        out: Tensor = self.output_proj(self.transformer(self.input_proj(x)))
        return out
