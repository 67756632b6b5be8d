"""Features with context: each patch attends to the 3 x 3 patches around it.

The contextual attention of "Leveraging Object Priors for Point Tracking" (arXiv 2409.05786): non-overlapping patches,
multi-head attention of each to its 3 x 3 neighbour patches, the result added to the features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 2
"""Cells per side of a patch."""
AROUND = 3
"""Patches per side that one attends to."""


class ContextAttention(nn.Module):
    """Attention of patches to their neighbours.

    Args:
        channels: of the features.
        heads: a divisor of `channels`.
    """

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.embed = nn.Conv2d(channels, channels, PATCH, PATCH)
        self.query, self.key, self.value = (nn.Conv2d(channels, channels, 1) for _ in range(3))
        self.out = nn.ConvTranspose2d(channels, channels, PATCH, PATCH)
        nn.init.zeros_(self.out.weight)  # begins as the identity
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[M, C, h, w] to the same; an odd last row or column makes a patch with zeros."""
        m, c, h, w = x.shape
        patches = F.relu(self.embed(F.pad(x, (0, w % PATCH, 0, h % PATCH))))
        rows, columns = patches.shape[-2:]

        def around(values: Tensor) -> Tensor:  # [M, heads, C / heads, AROUND ** 2, rows * columns]
            return F.unfold(values, AROUND, padding=AROUND // 2).view(m, self.heads, c // self.heads, AROUND**2, -1)

        query = self.query(patches).view(m, self.heads, c // self.heads, 1, -1)
        logits = (query * around(self.key(patches))).sum(2) * (c // self.heads) ** -0.5  # [M, heads, 9, P]
        beyond = around(torch.ones_like(patches))[:, :, 0] == 0  # patches beyond the border
        weights = logits.float().masked_fill(beyond, -torch.inf).softmax(2).to(x.dtype)
        mixed = (weights[:, :, None] * around(self.value(patches))).sum(3)
        return x + self.out(mixed.reshape(m, c, rows, columns))[..., :h, :w]
