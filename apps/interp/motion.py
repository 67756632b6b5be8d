"""What is known of the motion between two frames: the contract between those who estimate it and who uses it.

Coordinates and displacements are in pixels of the video. tau is the place of a new frame between frames i and j: 0 at
i, 1 at j.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True, eq=False)
class Side:
    """Where the pixels of one of the two frames go.

    Attributes:
        flow: float32 [2, H, W], (dx, dy) to the other frame.
        curve: float32 [2, H, W] or None (straight): a pixel x is at ``x + s flow + s (s - 1) curve`` at s, the part of
            the way to the other frame: half the acceleration for a frame distance of 1 (quadratic motion: Xu et al.,
            Quadratic video interpolation, 2019, equation 2).
        visibility: float32 [H, W], the probability that the pixel is seen in the other frame.
        order: float32 [H, W] or None: 0 (far) .. 1 (near) where layers are known to cover each other.
    """

    flow: torch.Tensor
    visibility: torch.Tensor
    curve: torch.Tensor | None = None
    order: torch.Tensor | None = None

    def to(self, s: float) -> torch.Tensor:
        """Displacements float32 [2, H, W] of the pixels at `s`, the part of the way to the other frame."""
        straight = self.flow * s
        return straight if self.curve is None else straight + self.curve * (s * (s - 1))


@dataclass(frozen=True, eq=False)
class Motion:
    """The motion between frames i and j.

    Attributes:
        forward: of the pixels of frame i, to j.
        backward: of the pixels of frame j, to i.
    """

    forward: Side
    backward: Side


class MotionSource(Protocol):
    """Estimates the motion between two frames of a video it was made for."""

    def between(self, i: int, j: int) -> Motion:
        """The motion between frames i < j. Called for increasing i; sources may keep what they need for the next."""
