"""SAM's prompt encoder and mask decoder, and the model around them (Kirillov et al., "Segment Anything", ICCV 2023).

Any image encoder that turns a square canvas into a [1, C, g, g] embedding fits in: the published ViT, MobileSAM's
TinyViT. Names are those of the original checkpoints. Points are pixels of the canvas with whole numbers at the
pixels' centres, as the checkpoints were trained: half a pixel is added inside.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_HEADS = 8
"""Attention heads of the published decoders; the only size that a checkpoint does not tell."""


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of [B, C, h, w]."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        unit = centred * torch.rsqrt(centred.square().mean(1, keepdim=True) + self.eps)
        return unit * self.weight[:, None, None] + self.bias[:, None, None]


class RandomFourier(nn.Module):
    """Positions as sines and cosines of random frequencies (Tancik et al., NeurIPS 2020)."""

    positional_encoding_gaussian_matrix: Tensor  # [2, C / 2]

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, features))

    def forward(self, unit: Tensor) -> Tensor:
        """[..., C] of positions [..., 2] (x, y) in [0, 1] of the canvas."""
        phase = 2 * math.pi * ((2 * unit - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([phase.sin(), phase.cos()], -1)

    def grid(self, size: int) -> Tensor:
        """[1, C, size, size]: of the centres of the embedding's cells."""
        centre = (torch.arange(size, device=self.positional_encoding_gaussian_matrix.device) + 0.5) / size
        y, x = torch.meshgrid(centre, centre, indexing="ij")
        return self(torch.stack([x, y], -1)).permute(2, 0, 1)[None]


class PromptEncoder(nn.Module):
    """Points and boxes as tokens, masks as maps.

    Args:
        channels: C of the image embedding.
        grid: its side g.
        side: of the canvas in pixels.
        mask_channels: of the mask branch.
    """

    def __init__(self, channels: int, grid: int, side: int, mask_channels: int = 16) -> None:
        super().__init__()
        self.grid, self.side = grid, side
        self.pe_layer = RandomFourier(channels // 2)
        # Off the object, on it, a box's first corner, its second.
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, channels) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, 2, 2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, 2, 2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, channels, 1),
        )
        self.no_mask_embed = nn.Embedding(1, channels)

    def forward(
        self,
        points: Tensor,  # [P, K, 2] pixels of the canvas, whole numbers at centres
        labels: Tensor,  # [P, K] 1 on, 0 off, -1 not a point
        boxes: Tensor | None = None,  # [P, 4] (x0, y0, x1, y1), same pixels
        masks: Tensor | None = None,  # [P, 1, 4g, 4g] logits
    ) -> tuple[Tensor, Tensor]:
        """Tokens [P, S, C] and maps [P, C, g, g] ([1, C, g, g] without masks: the same for all).

        Without boxes a token for "not a point" is appended, as in training.
        """
        count = len(points)
        kinds = torch.cat(list(self.point_embeddings.parameters()))  # [4, C]
        nothing = self.not_a_point_embed.weight  # [1, C]
        label = labels[..., None]
        tokens = torch.where(label < 0, nothing, self._place(points) + kinds[labels.long().clamp(0, 1)])
        if boxes is None:
            tokens = torch.cat([tokens, nothing.expand(count, 1, -1)], 1)
        else:
            tokens = torch.cat([tokens, self._place(boxes.reshape(count, 2, 2)) + kinds[2:]], 1)
        if masks is None:
            return tokens, self.no_mask_embed.weight[..., None, None].expand(1, -1, self.grid, self.grid)
        return tokens, self.mask_downscaling(masks)

    def _place(self, points: Tensor) -> Tensor:
        return self.pe_layer((points + 0.5) / self.side)


class Attention(nn.Module):
    """Multi-head attention, narrower inside by `shrink`. A batch of one is shared by the other arguments' batch."""

    def __init__(self, channels: int, heads: int, shrink: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(channels, channels // shrink)
        self.k_proj = nn.Linear(channels, channels // shrink)
        self.v_proj = nn.Linear(channels, channels // shrink)
        self.out_proj = nn.Linear(channels // shrink, channels)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, n, C] of queries [B, n, C], keys and values [B, m, C]."""
        batch = max(len(q), len(k), len(v))
        q, k, v = (self._split(x, batch) for x in (self.q_proj(q), self.k_proj(k), self.v_proj(v)))
        out: Tensor = self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor, batch: int) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2).expand(batch, -1, -1, -1)


class Mlp(nn.Module):
    """Two linear layers with a ReLU between."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(channels, hidden)
        self.lin2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.lin2(F.relu(self.lin1(x)))
        return out


class TwoWayBlock(nn.Module):
    """Tokens attend to tokens, to the image, are transformed, and the image attends to them (figure 14)."""

    def __init__(self, channels: int, heads: int, hidden: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(channels, heads)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn_token_to_image = Attention(channels, heads, 2)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, hidden)
        self.norm3 = nn.LayerNorm(channels)
        self.norm4 = nn.LayerNorm(channels)
        self.cross_attn_image_to_token = Attention(channels, heads, 2)

    def forward(self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor) -> tuple[Tensor, Tensor]:
        if self.first:  # the tokens are their own positions still
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + token_pe
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + token_pe, image + image_pe, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(image + image_pe, tokens + token_pe, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """Blocks, and a last look of the tokens at the image."""

    def __init__(self, depth: int, channels: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(channels, heads, hidden, first=i == 0) for i in range(depth))
        self.final_attn_token_to_image = Attention(channels, heads, 2)
        self.norm_final_attn = nn.LayerNorm(channels)

    def forward(
        self,
        image: Tensor,  # [P or 1, g * g, C]
        image_pe: Tensor,  # [1, g * g, C]
        tokens: Tensor,  # [P, S, C]
    ) -> tuple[Tensor, Tensor]:
        """Tokens [P, S, C] and image [P, g * g, C]."""
        token_pe = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe, image_pe)
        seen = self.final_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        return self.norm_final_attn(tokens + seen), image


class Head(nn.Module):
    """Linear layers with ReLU between."""

    def __init__(self, channels: int, hidden: int, out: int, depth: int = 3) -> None:
        super().__init__()
        sizes = [channels, *[hidden] * (depth - 1), out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(x) if i == len(self.layers) - 1 else F.relu(layer(x))
        return x


class MaskDecoder(nn.Module):
    """Masks and how good each is thought to be, from an image embedding and prompts."""

    def __init__(
        self, channels: int, heads: int = _HEADS, hidden: int = 2048, depth: int = 2, candidates: int = 3
    ) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(depth, channels, heads, hidden)
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(candidates + 1, channels)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(channels, channels // 4, 2, 2),
            LayerNorm2d(channels // 4),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 4, channels // 8, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            Head(channels, channels, channels // 8) for _ in range(candidates + 1)
        )
        self.iou_prediction_head = Head(channels, channels, candidates + 1)

    def forward(
        self,
        image: Tensor,  # [1, C, g, g]
        image_pe: Tensor,  # [1, C, g, g]
        tokens: Tensor,  # [P, S, C] prompts
        maps: Tensor,  # [P or 1, C, g, g] mask prompts
        several: bool,
    ) -> tuple[Tensor, Tensor]:
        """Logits [P, M, 4g, 4g] and predicted IoU [P, M]; M is 1, or with `several` the number of candidates."""
        count, grid = len(tokens), image.shape[-2:]
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(count, -1, -1)
        tokens, flat = self.transformer(
            (image + maps).flatten(2).transpose(1, 2),
            image_pe.flatten(2).transpose(1, 2),
            torch.cat([own, tokens], 1),
        )
        fine = self.output_upscaling(flat.transpose(1, 2).unflatten(2, grid))  # [P, C / 8, 4g, 4g]
        wanted = range(1, len(self.output_hypernetworks_mlps)) if several else range(1)
        filters = torch.stack([self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in wanted], 1)
        masks = (filters @ fine.flatten(2)).unflatten(2, fine.shape[-2:])
        return masks, self.iou_prediction_head(tokens[:, 0])[:, list(wanted)]


class Sam(nn.Module):
    """An image encoder, the prompt encoder and the mask decoder.

    Args:
        image_encoder: [1, 3, side, side] to [1, C, g, g].
        channels: C.
        grid: g.
        side: of the canvas.
        heads: attention heads of the decoder.
        hidden: width of the decoder's transformer's two-layer networks.
    """

    def __init__(
        self,
        image_encoder: nn.Module,
        channels: int = 256,
        grid: int = 64,
        side: int = 1024,
        heads: int = _HEADS,
        hidden: int = 2048,
    ) -> None:
        super().__init__()
        self.grid, self.side = grid, side
        self.image_encoder = image_encoder
        self.prompt_encoder = PromptEncoder(channels, grid, side)
        self.mask_decoder = MaskDecoder(channels, heads, hidden)

    def decode(
        self,
        image: Tensor,  # [1, C, g, g]
        points: Tensor,  # [P, K, 2]
        labels: Tensor,  # [P, K]
        boxes: Tensor | None,  # [P, 4]
        masks: Tensor | None,  # [P, 1, 4g, 4g]
        several: bool,
    ) -> tuple[Tensor, Tensor]:
        """Logits [P, M, 4g, 4g] and predicted IoU [P, M] of prompts in pixels of the canvas; see `PromptEncoder`."""
        tokens, maps = self.prompt_encoder(points, labels, boxes, masks)
        found: tuple[Tensor, Tensor] = self.mask_decoder(
            image, self.prompt_encoder.pe_layer.grid(self.grid), tokens, maps, several
        )
        return found
