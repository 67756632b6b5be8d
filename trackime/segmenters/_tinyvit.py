"""TinyViT in MobileSAM's variant: the image encoder, of 5 million parameters.

Architecture: Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision Transformers", ECCV 2022. Distilled
from SAM's ViT-H: Zhang et al., "Faster Segment Anything", 2023. Names are those of the original checkpoints.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of [B, C, h, w]."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps).permute(
            0, 3, 1, 2
        )


class ConvNorm(nn.Sequential):
    """A convolution without bias and batch normalisation."""

    def __init__(self, inp: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.add_module("c", nn.Conv2d(inp, out, kernel, stride, kernel // 2, groups=groups, bias=False))
        self.add_module("bn", nn.BatchNorm2d(out))


class PatchEmbed(nn.Module):
    """The image at a quarter of its size."""

    def __init__(self, out: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(3, out // 2, 3, 2), nn.GELU(), ConvNorm(out // 2, out, 3, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.seq(x)


class InvertedBottleneck(nn.Module):
    """Widen, convolve each channel, narrow, add (MobileNetV2)."""

    def __init__(self, channels: int, widen: int = 4) -> None:
        super().__init__()
        hidden = channels * widen
        self.conv1 = ConvNorm(channels, hidden)
        self.conv2 = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvNorm(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class Downsample(nn.Module):
    """Between stages: other channels, `stride` times smaller."""

    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inp, out)
        self.conv2 = ConvNorm(out, out, 3, stride, groups=out)
        self.conv3 = ConvNorm(out, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))


class Attention(nn.Module):
    """Self-attention within windows, with a learned bias for each absolute offset (|dy|, |dx|)."""

    offsets: Tensor  # [n, n] index of each pair's offset in the table

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        y, x = torch.arange(window * window) // window, torch.arange(window * window) % window
        offsets = (y[:, None] - y).abs() * window + (x[:, None] - x).abs()
        self.register_buffer("offsets", offsets, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n, C] of windows [B, n, C]."""
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)
        # Not cached: a table from before a checkpoint is loaded would be that of other weights.
        bias = self.attention_biases[:, self.offsets]
        out: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v, bias).transpose(1, 2).flatten(2))
        return out


class Mlp(nn.Module):
    """Norm, widen, narrow."""

    def __init__(self, channels: int, widen: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, channels * widen)
        self.fc2 = nn.Linear(channels * widen, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return out


class Block(nn.Module):
    """Attention in windows, a convolution of each channel, a two-layer network."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = Attention(channels, heads, window)
        self.mlp = Mlp(channels)
        self.local_conv = ConvNorm(channels, channels, 3, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] of the same."""
        x = self.local_conv(x + self._windows(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        return x + self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def _windows(self, x: Tensor) -> Tensor:
        """Attention within the windows of [B, h, w, C], padded with zeros that take part, as in the original."""
        h, w, s = x.shape[1], x.shape[2], self.window
        x = F.pad(x, (0, 0, 0, -w % s, 0, -h % s))
        batch, rows, columns = len(x), x.shape[1] // s, x.shape[2] // s
        x = x.unflatten(2, (columns, s)).unflatten(1, (rows, s)).transpose(2, 3)  # [B, rows, columns, s, s, C]
        x = self.attn(x.flatten(3, 4).flatten(0, 2)).unflatten(0, (batch, rows, columns)).unflatten(3, (s, s))
        return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :h, :w]


class Stage(nn.Module):
    """Blocks of one width, and the downsampling to the next stage."""

    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        if downsample is not None:
            self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(x)
        return self.downsample(x) if hasattr(self, "downsample") else x


class TinyViT(nn.Module):
    """[B, 3, side, side] to [B, 256, side / 16, side / 16], in a tuple as the encoders of transformers give it."""

    def __init__(self) -> None:
        super().__init__()
        # MobileSAM's four stages, the first of which convolves only.
        widths, depths, heads, windows = (64, 128, 160, 320), (2, 2, 6, 2), (2, 4, 5, 10), (7, 7, 14, 7)
        strides, out = (2, 2, 1), 256  # SAM's embedding is a sixteenth of the image
        self.patch_embed = PatchEmbed(widths[0])
        self.layers = nn.Sequential()
        for i, width in enumerate(widths):
            make = (lambda c, *_: InvertedBottleneck(c)) if i == 0 else Block
            blocks: list[nn.Module] = [make(width, heads[i], windows[i]) for _ in range(depths[i])]
            self.layers.append(Stage(blocks, Downsample(width, widths[i + 1], strides[i]) if i < 3 else None))
        # The checkpoints contain the classifier of the pretraining, which is not used.
        self.norm_head = nn.LayerNorm(widths[-1])
        self.head = nn.Linear(widths[-1], 1000)
        self.neck = nn.Sequential(
            nn.Conv2d(widths[-1], out, 1, bias=False),
            LayerNorm2d(out),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            LayerNorm2d(out),
        )

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.neck(self.layers(self.patch_embed(x))),)
