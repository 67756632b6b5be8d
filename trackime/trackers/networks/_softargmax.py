"""The peak of a similarity map (Doersch et al., TAP-Vid, 2022, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor

REACH = 5
"""Pixels of the map nearer than this to the peak are averaged."""


def soft_argmax(heat: Tensor) -> Tensor:
    """Mean position near the peak, weighted by the softmax.

    Args:
        heat: [P, h, w] logits.

    Returns:
        [P, 2] (x, y) in pixels of `heat`, the centre of the first at (0.5, 0.5).
    """
    h, w = heat.shape[1:]
    flat = heat.flatten(1)
    peak, index = flat.max(1, keepdim=True)
    steps = torch.arange(1 - REACH, REACH, device=heat.device)
    x, y = index % w + steps, index // w + steps  # [P, 2 REACH - 1]
    near = steps[:, None] ** 2 + steps**2 < REACH**2
    near = near & ((y >= 0) & (y < h))[:, :, None] & ((x >= 0) & (x < w))[:, None]
    places = y.clamp(0, h - 1)[:, :, None] * w + x.clamp(0, w - 1)[:, None]
    # Relative to the peak: the softmax's denominator cancels, and nothing overflows.
    weights = (flat.gather(1, places.flatten(1)) - peak).exp().view_as(places) * near
    sums = torch.stack([(weights * (x[:, None] + 0.5)).sum((1, 2)), (weights * (y[:, :, None] + 0.5)).sum((1, 2))], -1)
    return sums / weights.sum((1, 2))[:, None]
