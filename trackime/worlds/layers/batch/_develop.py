"""Camera effects: exposure, focus, noise, compression."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor

from trackime.worlds.layers.batch.options import BatchOptions
from trackime.worlds.motion import curves

GRAINS = 1 << 20
"""Samples of sensor noise, drawn once; every frame starts at another offset."""

BLOCK = 8
LUMINANCE = (0.299, 0.587, 0.114)


def develop(frames: Tensor, rng: Generator, options: BatchOptions) -> Tensor:
    """Frames [B, T, 3, H, W] in about [0, 1] as recorded, in [0, 1]; may change its argument."""
    batch, count, _, height, width = frames.shape
    device = frames.device
    frames = _light(frames, rng, options)
    sigma = np.where(rng.random(batch) < options.defocus, rng.uniform(0.5, 1.5, batch), 0.0)
    for b in np.flatnonzero(sigma):
        frames[b] = _soften(frames[b], float(sigma[b]) * math.sqrt(width * height) / 192)
    read = options.noise * rng.uniform(0, 1, batch) ** 2
    shot = options.noise * rng.uniform(0, 1, batch) ** 2
    offset = rng.integers(0, GRAINS, (batch, count))
    if options.noise > 0:
        _add_noise(frames, read, shot, offset)
    frames = frames.clamp_(0, 1)
    chosen = np.flatnonzero(rng.random(batch) < options.compression)
    quality = np.exp(rng.uniform(math.log(0.01), math.log(0.1), batch))
    if len(chosen):
        rows = torch.from_numpy(chosen).to(device)
        step = torch.from_numpy(quality[chosen]).to(device, torch.float32)
        frames[rows] = compress(frames[rows], step).clamp_(0, 1)
    return frames


def _light(frames: Tensor, rng: Generator, options: BatchOptions) -> Tensor:
    """Exposure that drifts, and light that falls unevenly on the frame."""
    batch, count = frames.shape[:2]
    amount = options.light * rng.uniform(0, 1.3, (batch, 1))
    exposure = 1 + amount * curves(rng, (batch,), count, 30.0)
    # A 3 x 3 grid of lights that change slowly, smooth between.
    grid = curves(rng, (batch, 9), count, 60.0).transpose(0, 2, 1).reshape(batch * count, 1, 3, 3)
    strength = np.repeat(1.5 * options.light * rng.uniform(0, 1, batch), count)[:, None, None, None]
    field = torch.from_numpy(np.repeat(exposure.reshape(-1), 9).reshape(grid.shape) * (1 + strength * grid))
    if options.light == 0:
        return frames
    wide = F.interpolate(field.to(frames.device, torch.float32), frames.shape[-2:], mode="bilinear", align_corners=True)
    return frames.mul_(wide.view(batch, count, 1, *frames.shape[-2:]))


def _soften(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of images [T, 3, H, W]."""
    reach = min(max(1, math.ceil(2.5 * sigma)), min(image.shape[-2:]) - 1)
    at = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = kernel / kernel.sum()
    for axis in (2, 3):
        pad = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        wide = F.pad(image, pad, mode="reflect")
        size = image.shape[axis]
        image = wide.narrow(axis, 0, size) * kernel[0]
        for k in range(1, len(kernel)):
            image = image.add_(wide.narrow(axis, k, size) * kernel[k])
    return image


@lru_cache(maxsize=2)
def _grains(device: torch.device) -> Tensor:
    values = torch.randn(GRAINS, generator=torch.Generator().manual_seed(20))
    return torch.cat([values, values]).to(device)


def _add_noise(frames: Tensor, read: np.ndarray, shot: np.ndarray, offset: np.ndarray) -> None:
    """Noise of variance read^2 + shot^2 * brightness, in place."""
    size = frames[0, 0].numel()
    grains = _grains(frames.device)
    if frames.device.type == "cpu" and size <= GRAINS:
        for b in range(len(frames)):
            for t in range(frames.shape[1]):
                start = int(offset[b, t])
                grain = grains[start : start + size].view(frames.shape[2:])
                image = frames[b, t]
                spread = (image.clamp(min=0) * float(shot[b] ** 2) + float(read[b] ** 2)).sqrt_()
                image.addcmul_(grain, spread)
        return
    first = torch.from_numpy(offset).to(frames.device)[..., None]
    index = (first + torch.arange(size, device=frames.device)) % GRAINS
    a, b2 = (torch.from_numpy(v**2).to(frames.device, torch.float32)[:, None, None, None, None] for v in (shot, read))
    spread = (frames.clamp(min=0) * a + b2).sqrt_()
    frames.addcmul_(grains[index].view_as(frames), spread)


def _transform(device: torch.device) -> Tensor:
    """The orthonormal DCT-II of eight samples, [8, 8]."""
    k = torch.arange(BLOCK, device=device, dtype=torch.float32)
    out = torch.cos(math.pi / BLOCK * (k[None] + 0.5) * k[:, None]) * math.sqrt(2 / BLOCK)
    out[0] /= math.sqrt(2)
    return out


def compress(frames: Tensor, step: Tensor) -> Tensor:
    """Compression in 8 x 8 blocks: quantised cosine transforms.

    Luminance is rounded to multiples of `step` that grow with frequency, the two colour differences, at half the
    resolution, to three times as coarse ones (the scheme of JPEG, ITU-T T.81, with a linear table in place of its
    measured one).

    Args:
        frames: float32 [B, T, 3, H, W] in [0, 1].
        step: float32 [B], the step of the lowest frequency.
    """
    batch, count, _, height, width = frames.shape
    red, green, blue = frames.unbind(2)
    luma = LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue
    colour = torch.stack([blue - luma, red - luma], 2).flatten(0, 1)
    half = F.interpolate(colour, (max(1, height // 2), max(1, width // 2)), mode="area")
    steps = step[:, None].expand(-1, count).reshape(-1)
    luma = _quantise(luma.flatten(0, 1)[:, None], steps)
    half = _quantise(half, 3 * steps)
    colour = F.interpolate(half, (height, width), mode="bilinear", align_corners=False)
    luma, b, r = luma[:, 0], colour[:, 0], colour[:, 1]
    g = -(LUMINANCE[0] * r + LUMINANCE[2] * b) / LUMINANCE[1]
    return torch.stack([luma + r, luma + g, luma + b], 1).view(batch, count, 3, height, width)


def _quantise(image: Tensor, step: Tensor) -> Tensor:
    """Blocks of images [N, C, H, W] rounded to steps [N]."""
    number, channels, height, width = image.shape
    down, right = -height % BLOCK, -width % BLOCK
    wide = F.pad(image, (0, right, 0, down), mode="replicate") if down or right else image
    rows, columns = wide.shape[-2] // BLOCK, wide.shape[-1] // BLOCK
    matrix = _transform(image.device)
    blocks = wide.reshape(number, channels, rows, BLOCK, columns, BLOCK)
    at = torch.arange(BLOCK, device=image.device, dtype=torch.float32)
    table = (1 + 0.6 * (at[:, None] + at[None])) * step[:, None, None]
    table = table[:, None, None, :, None, :]
    found = torch.einsum("ij,ncrjdk,lk->ncridl", matrix, blocks, matrix)
    found = (found / table).round_() * table
    back = torch.einsum("ij,ncridl,lk->ncrjdk", matrix, found, matrix)
    return back.reshape(number, channels, rows * BLOCK, columns * BLOCK)[..., :height, :width]
