"""The motion features of CoTracker3 and LocoTrack (Karaev et al., arXiv 2410.11831, section 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

OCTAVES = 10
"""Frequencies 1, 2, 4, ... of the encoding."""
MOTION = 4 * (1 + 2 * OCTAVES)
"""Channels that `encode_motion` makes."""


def encode_motion(xy: Tensor, unit: Tensor) -> Tensor:
    """Displacements to the next and from the previous frame, with their sines and cosines.

    Args:
        xy: [B, N, T, 2].
        unit: [2] that distances are divided by.

    Returns:
        [B, N, T, MOTION]: x and y to the next frame (negative; 0 in the last one), x and y from the last one (0 in
        the first), then sines of these at OCTAVES frequencies, then cosines.
    """
    step = xy.diff(dim=2) / unit
    motion = torch.cat([F.pad(-step, (0, 0, 0, 1)), F.pad(step, (0, 0, 1, 0))], -1)
    octaves = 2.0 ** torch.arange(OCTAVES, device=xy.device, dtype=xy.dtype)
    angle = (motion[..., None, :] * octaves[:, None]).flatten(-2)
    return torch.cat([motion, angle.sin(), angle.cos()], -1)
