"""The square a SAM-like network sees a frame on, and the way there and back.

SAM keeps the frame's shape: the longer side fills the square, zeros fill the rest, right and below. SAM 2 stretches
the frame over the whole square. Either way a point of the frame lands at `xy * inner / size` of the canvas, in our
convention (first pixel's centre at 0.5); the networks count from the centre, and are given half a pixel less.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trackime.geometry import resize_frames, scale_points

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of RGB in [0, 1] over ImageNet, which all of the family is fed with."""

OUTSIDE = -10.0
"""Logit of a prior where the canvas lies outside the frame: surely not the object (SAM 2, 20 * 0 - 10)."""

CLIP = 32.0
"""Most that a mask prompt may say, in nats: what SAM 2's own predictor feeds back is clipped there."""


@dataclass(frozen=True)
class Canvas:
    """A frame on a square.

    Attributes:
        size: (H, W) of the frame.
        side: of the square.
        stretched: the frame fills the square; else it keeps its shape and is padded.
    """

    size: tuple[int, int]
    side: int
    stretched: bool = False

    @property
    def inner(self) -> tuple[int, int]:
        """(h, w) of the frame on the square."""
        if self.stretched:
            return self.side, self.side
        scale = self.side / max(self.size)
        return max(1, int(self.size[0] * scale + 0.5)), max(1, int(self.size[1] * scale + 0.5))

    def image(self, frame: Tensor) -> Tensor:
        """The network's input [1, 3, side, side] of a frame [3, H, W] in [0, 1]."""
        mean, std = (torch.tensor(v, device=frame.device)[:, None, None] for v in (MEAN, STD))
        inner = (resize_frames(frame, self.inner) - mean) / std
        return F.pad(inner, (0, self.side - inner.shape[2], 0, self.side - inner.shape[1]))[None]

    def points(self, xy: Tensor) -> Tensor:
        """Points [..., 2] of the frame in pixels of the square, whole numbers at the pixels' centres."""
        return scale_points(xy, self.size, self.inner) - 0.5

    def boxes(self, boxes: Tensor) -> Tensor:
        """Boxes [..., 4] of the frame, as `points`."""
        return self.points(boxes.unflatten(-1, (2, 2))).flatten(-2)

    def mask(self, prior: Tensor, grid: int) -> Tensor:
        """The mask prompt [P, 1, grid, grid] of logits [P, H, W] expected on the frame.

        Sign and scale stay (above 0 is the object, nats), as the networks are fed their own logits back; clipped
        to `CLIP`, and `OUTSIDE` where there is no frame.
        """
        logits = prior.clamp(-CLIP, CLIP)[:, None]
        if self.stretched:
            return _shrink(logits, (grid, grid))
        # Means over the cells of the mask; one that the frame's edge cuts is the mean of what lies in the frame.
        cell = self.side // grid
        h, w = self.inner
        cells = F.avg_pool2d(F.pad(_shrink(logits, self.inner), (0, -w % cell, 0, -h % cell), mode="replicate"), cell)
        return F.pad(cells, (0, grid - cells.shape[3], 0, grid - cells.shape[2]), value=OUTSIDE)

    def frame(self, logits: Tensor) -> Tensor:
        """Logits [P, M, g, g] of the square as ones [P, M, H, W] of the frame."""
        if not self.stretched:
            # In two steps, as published: whatever lies beyond the frame's edge must not bleed into it twice.
            logits = _enlarge(logits, (self.side, self.side))[..., : self.inner[0], : self.inner[1]]
        return _enlarge(logits, self.size)


def _shrink(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)


def _enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
