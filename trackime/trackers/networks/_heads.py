"""From a feature to a position in each frame independently: TAP-Net's heads on a cost volume.

Doersch et al., TAP-Vid (2022), section 4; TAPIR (2023), section 3.1, adds the estimate of the position's error.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trackime.trackers.networks._softargmax import soft_argmax

SLICE = {"cpu": 128}
"""Maps processed at once, so that memory does not grow with points x frames."""
SLICE_ELSEWHERE = 2**12


class CostVolumeHeads(nn.Module):
    """Position, occlusion and uncertainty from maps of similarity."""

    def __init__(self) -> None:
        super().__init__()
        self.hid1 = nn.Conv2d(1, 16, 3, padding=1)
        self.hid2 = nn.Conv2d(16, 1, 3, padding=1)
        self.hid3 = nn.Conv2d(16, 32, 3, 2)
        self.hid4 = nn.Linear(32, 16)
        self.occ_out = nn.Linear(16, 2)

    def forward(
        self,
        features: Tensor,  # [B, N, C] of unit length
        grid: Tensor,  # [B, T, h, w, C] of unit length
        temperature: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """xy [B, N, T, 2] in map pixels (centres at half-integers), logits of occlusion and distance [B, N, T]."""
        b, t, h, w, c = grid.shape
        n = features.shape[1]
        maps = grid.reshape(b, t * h * w, c)
        # In slices of points: the whole volume is never in memory.
        step = max(1, SLICE.get(grid.device.type, SLICE_ELSEWHERE) // (b * t))
        parts = [features.new_zeros(b, 0, t, 4)]
        for i in range(0, n, step):
            volume = features[:, i : i + step] @ maps.transpose(1, 2)  # [B, n, T h w]
            parts.append(self._heads(volume.reshape(-1, 1, h, w), temperature).reshape(b, -1, t, 4))
        out = torch.cat(parts, 1)
        return out[..., :2], out[..., 2], out[..., 3]

    def _heads(self, cost: Tensor, temperature: float) -> Tensor:
        """[M, 1, h, w] to [M, 4]: x, y, occlusion, distance."""
        hidden = F.relu(self.hid1(cost))
        xy = soft_argmax(self.hid2(hidden)[:, 0] * temperature)
        hidden = F.relu(self.hid3(F.pad(hidden, (0, 2, 0, 2)))).mean((-2, -1))
        return torch.cat([xy, self.occ_out(F.relu(self.hid4(hidden)))], -1)
