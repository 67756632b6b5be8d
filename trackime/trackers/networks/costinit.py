"""The search for a point in each frame independently: similarity to the whole frame, and its peak.

The cost volume of TAP-Net and TAPIR (InstaTAP, section 3.2), at stride 8. `CostInit.forward` searches every frame
whole, so that a lost point is found again wherever it reappears.
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
"""Pixels per cell of the cost map."""


class SearchStart(NamedTuple):
    """Result of the search for P points, one frame each."""

    xy: Tensor  # [P, 2] pixels
    logits: Tensor  # [P, h, w] of the cost map
    peak: Tensor  # [P, 2] the logit there, and its log-probability


class CostInit(nn.Module):
    """The cost map: correlations of three levels, combined."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTH, 3, padding=1)
        self.conv2 = nn.Conv2d(_WIDTH, 1, 3, padding=1)
        self.sharpness = nn.Parameter(torch.tensor([5.0, 10.0, 5.0]))

    def forward(self, volumes: list[Tensor], prior: Tensor | None = None) -> SearchStart:
        """Search.

        Args:
            volumes: correlations [P, h, w] with the maps of strides 4, 8 and 16.
            prior: [P, h, w] logits of stride 8, added for the choice of the position alone, not to the result's logits.
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
