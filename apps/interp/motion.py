"""The motion between two frames, between its estimation (`MotionSource`) and its use (`Synthesis`).

Coordinates and displacements are in pixels of the video. tau is the time of a new frame between frames i and j: 0 at
i, 1 at j.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True, eq=False)
class FrameMotion:
    """The motion of the pixels of one of the two frames towards the other.

    Attributes:
        flow: float32 [2, H, W], (dx, dy) to the other frame.
        visibility: float32 [H, W], the probability that the pixel is visible in the other frame.
        quadratic: float32 [2, H, W] or None (straight paths): a pixel x is at ``x + s flow + s (s - 1) quadratic``
            after the part s of the time to the other frame: half the acceleration for a frame distance of 1 (quadratic
            motion: Xu et al., Quadratic video interpolation, NeurIPS 2019, equation 2).
        order: float32 [H, W] or None: 0 (far) .. 1 (near) where it is known which layers cover which.
    """

    flow: torch.Tensor
    visibility: torch.Tensor
    quadratic: torch.Tensor | None = None
    order: torch.Tensor | None = None

    def displacement(self, s: float) -> torch.Tensor:
        """Displacements float32 [2, H, W] of the pixels after the part `s` of the time to the other frame."""
        straight = self.flow * s
        return straight if self.quadratic is None else straight + self.quadratic * (s * (s - 1))

    def to(self, device: torch.device) -> FrameMotion:
        """The same on another device."""
        fields = (self.flow, self.visibility, self.quadratic, self.order)
        return FrameMotion(*(None if field is None else field.to(device) for field in fields))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class PairMotion:
    """The motion between frames i and j.

    Attributes:
        forward: of the pixels of frame i, to j.
        backward: of the pixels of frame j, to i.
    """

    forward: FrameMotion
    backward: FrameMotion


class MotionSource(Protocol):
    """Estimates the motion between two frames of the video it was made for."""

    def between(self, i: int, j: int) -> PairMotion:
        """The motion between frames i < j. Called for increasing i; sources may keep what they need for the next."""
