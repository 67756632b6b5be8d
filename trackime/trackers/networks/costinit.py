"""Where a point may be in each frame by itself: similarity to the whole frame, and the place that stands out.

The cost volume of TAP-Net and TAPIR (InstaTAP, section 3.2), at stride 8. Every frame is searched whole, so that a
point is found again wherever it comes out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trackime.trackers.networks._softargmax import soft_argmax

_WIDTH = 16
"""Channels between the two convolutions over a cost map."""
STRIDE = 8
"""Pixels a cell of the cost map."""


class SearchStart(NamedTuple):
    """What the cost volume says of P points of single frames."""

    xy: Tensor  # [P, 2] pixels
    logits: Tensor  # [P, h, w] of the cost map
    peak: Tensor  # [P, 2] the logit there, and its log-probability


class CostInit(nn.Module):
    """Cost maps from the correlations of three levels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTH, 3, padding=1)
        self.conv2 = nn.Conv2d(_WIDTH, 1, 3, padding=1)
        self.sharpness = nn.Parameter(torch.tensor([5.0, 10.0, 5.0]))

    def forward(self, volumes: list[Tensor], prior: Tensor | None = None) -> SearchStart:
        """Search.

        Args:
            volumes: correlations [P, h, w] with the maps of strides 4, 8 and 16.
            prior: [P, h, w] logits of stride 8 that places are chosen by besides; no part of the result's logits.
        """
        fine, middle, coarse = (volume[:, None] for volume in volumes)
        stack = torch.cat([F.max_pool2d(fine, 2), middle, F.interpolate(coarse, middle.shape[-2:], mode="bilinear")], 1)
        refined = self.conv2(F.relu(self.conv1(stack)))[:, 0].float()
        logits = refined + (stack.float() * self.sharpness[:, None, None]).sum(1)
        with torch.no_grad():
            xy = soft_argmax(logits if prior is None else logits + prior) * STRIDE
        flat = logits.flatten(1)
        peak = flat.max(1).values
        return SearchStart(xy, logits, torch.stack([peak, peak - flat.logsumexp(1)], -1))
