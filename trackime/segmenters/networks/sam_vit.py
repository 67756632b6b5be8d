"""The image encoder of the original SAM: a plain ViT with windows and relative positions.

Architecture: Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection", ECCV 2022; relative
positions split by axis as in MViTv2 (Li et al., CVPR 2022, section 4.1). Names are those of the original checkpoints.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trackime.segmenters.networks.sam import LayerNorm2d

BIAS_ENTRIES = 1 << 26
"""Most entries of attention weights made at once (256 MB); global attention goes head by head where it must."""


@dataclass(frozen=True)
class VitSize:
    """What makes one ViT of another.

    Attributes:
        width: of a token.
        depth: blocks.
        heads: attention heads.
        window: side of the windows, in tokens.
        everywhere: blocks that attend to the whole image instead.
        grid: side of the embedding, in tokens.
        patch: side of a token in pixels.
        out: channels of the embedding.
        widen: how much wider the two-layer networks are inside.
    """

    width: int
    depth: int
    heads: int
    window: int
    everywhere: Collection[int]
    grid: int = 64
    patch: int = 16
    out: int = 256
    widen: int = 4

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> VitSize | None:
        """The size of the encoder whose weights are in a checkpoint, told from names and shapes.

        Args:
            state: a checkpoint's tensors by name, those of the encoder below ``image_encoder.``.

        Returns:
            None where it is no such encoder.
        """
        own = {key.removeprefix("image_encoder."): tuple(value.shape) for key, value in state.items()}
        depth = 0
        while f"blocks.{depth}.attn.rel_pos_h" in own:
            depth += 1
        needed = ("pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.lin1.weight", "neck.0.weight")
        if depth == 0 or any(key not in own for key in needed) or len(own["pos_embed"]) != 4:
            return None
        grid, width = own["pos_embed"][1], own["pos_embed"][3]
        sides = [(own[f"blocks.{i}.attn.rel_pos_h"][0] + 1) // 2 for i in range(depth)]
        per_head = own["blocks.0.attn.rel_pos_h"][1]
        return cls(
            width=width,
            depth=depth,
            heads=max(1, width // per_head),
            window=min(sides),
            everywhere=tuple(i for i, side in enumerate(sides) if side == grid),
            grid=grid,
            patch=own["patch_embed.proj.weight"][-1],
            out=own["neck.0.weight"][0],
            widen=max(1, own["blocks.0.mlp.lin1.weight"][0] // width),
        )


class PatchEmbed(nn.Module):
    """The image in tokens."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, h, w, width]."""
        out: Tensor = self.proj(x).permute(0, 2, 3, 1)
        return out


class Attention(nn.Module):
    """Self-attention over a square of tokens, with a bias learned for each offset along y and along x."""

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))

    def forward(self, x: Tensor) -> Tensor:
        """[B, s, s, width] of the same, s the side."""
        batch, side = len(x), x.shape[1]
        qkv = self.qkv(x).flatten(1, 2).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.flatten(1, 2).unbind(0)  # each [B * heads, s * s, d]
        step = max(1, BIAS_ENTRIES // side**4)
        parts = [self._attend(q[i : i + step], k[i : i + step], v[i : i + step]) for i in range(0, len(q), step)]
        out = torch.cat(parts).unflatten(0, (batch, self.heads)).transpose(1, 2).flatten(2)
        projected: Tensor = self.proj(out.unflatten(1, (side, side)))
        return projected

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        side = (len(self.rel_pos_h) + 1) // 2
        place = torch.arange(side, device=q.device)
        offset = place[:, None] - place + side - 1  # [s, s] from query to key
        square = q.unflatten(1, (side, side))
        along_y = torch.einsum("byxd,ykd->byxk", square, self.rel_pos_h[offset])
        along_x = torch.einsum("byxd,xkd->byxk", square, self.rel_pos_w[offset])
        bias = (along_y[..., :, None] + along_x[..., None, :]).flatten(3).flatten(1, 2)  # [n, s * s, s * s]
        return F.scaled_dot_product_attention(q, k, v, bias)


class Mlp(nn.Module):
    """Widen, narrow."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.lin2(F.gelu(self.lin1(x)))
        return out


class Block(nn.Module):
    """Attention, within windows or everywhere (`window` 0), and a two-layer network."""

    def __init__(self, size: VitSize, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(size.width, eps=1e-6)
        self.attn = Attention(size.width, size.heads, window or size.grid)
        self.norm2 = nn.LayerNorm(size.width, eps=1e-6)
        self.mlp = Mlp(size.width, size.width * size.widen)

    def forward(self, x: Tensor) -> Tensor:
        """[B, h, w, width] of the same."""
        normed = self.norm1(x)
        x = x + (self._windows(normed) if self.window else self.attn(normed))
        return x + self.mlp(self.norm2(x))

    def _windows(self, x: Tensor) -> Tensor:
        """Attention within each window; where they do not fit, zeros at the end take part."""
        h, w, s = x.shape[1], x.shape[2], self.window
        x = F.pad(x, (0, 0, 0, -w % s, 0, -h % s))
        batch, rows, columns = len(x), x.shape[1] // s, x.shape[2] // s
        x = x.unflatten(2, (columns, s)).unflatten(1, (rows, s)).transpose(2, 3)  # [B, rows, columns, s, s, width]
        x = self.attn(x.flatten(0, 2)).unflatten(0, (batch, rows, columns))
        return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :h, :w]


class SamVit(nn.Module):
    """[B, 3, side, side] to [B, out, side / patch, side / patch]."""

    def __init__(self, size: VitSize) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(size.width, size.patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, size.grid, size.grid, size.width))
        self.blocks = nn.ModuleList(Block(size, 0 if i in size.everywhere else size.window) for i in range(size.depth))
        self.neck = nn.Sequential(
            nn.Conv2d(size.width, size.out, 1, bias=False),
            LayerNorm2d(size.out),
            nn.Conv2d(size.out, size.out, 3, padding=1, bias=False),
            LayerNorm2d(size.out),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return out


_VIT_B = VitSize(768, 12, 12, 14, (2, 5, 8, 11))
_VIT_L = VitSize(1024, 24, 16, 14, (5, 11, 17, 23))
_VIT_H = VitSize(1280, 32, 16, 14, (7, 15, 23, 31))
