"""Pixel centres, and sensor noise."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trackime.arrays import UInt8


def pixel_centres(box: tuple[int, int, int, int], device: str | torch.device) -> Tensor:
    """Centres (x, y) of the pixels of x0, y0, x1, y1: float32 [h, w, 2]."""
    x0, y0, x1, y1 = box
    y, x = torch.meshgrid(
        torch.arange(y0, y1, dtype=torch.float32, device=device) + 0.5,
        torch.arange(x0, x1, dtype=torch.float32, device=device) + 0.5,
        indexing="ij",
    )
    return torch.stack([x, y], -1)


def develop(frame: Tensor, seed: int, t: int, noise: float) -> UInt8:
    """A frame [3, H, W] in about [0, 1] with sensor noise of standard deviation `noise`: uint8 [H, W, 3]."""
    if noise > 0:
        # The noise of a frame depends on the seed and its number alone, not on which frames were rendered before.
        state = int(np.random.SeedSequence([seed, 7, t]).generate_state(1)[0])
        generator = torch.Generator().manual_seed(state)
        frame = frame + noise * torch.randn(frame.shape, generator=generator).to(frame.device)
    out: UInt8 = (frame * 255 + 0.5).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    return out
