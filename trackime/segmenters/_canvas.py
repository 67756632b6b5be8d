"""The square input of a network of the SAM family, and the conversion of frames, prompts and masks to it and back.

SAM keeps the frame's aspect ratio: the longer side fills the square, the rest is zero, to the right and below. SAM 2
stretches the frame over the square. Either way a point of the frame is at `xy * inner / size` of the canvas, with the
first pixel's centre at 0.5; the networks have integers at the centres, which is half a pixel less.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trackime.geometry import resize_frames, scale_points

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of RGB in [0, 1] over ImageNet, by which the whole family normalises."""

OUTSIDE = -10.0
"""Logit of a mask prompt outside the frame (SAM 2 encodes background as 20 * 0 - 10)."""

CLIP = 32.0
"""Limit of a mask prompt's logits, as in SAM 2's own predictor."""


@dataclass(frozen=True)
class Canvas:
    """A frame's place on a square.

    Attributes:
        size: (H, W) of the frame.
        side: of the square in pixels.
        stretched: the frame fills the square; else it keeps its aspect ratio and is padded.
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
        """Points [..., 2] of the frame in pixels of the square, integers at the pixels' centres."""
        return scale_points(xy, self.size, self.inner) - 0.5

    def boxes(self, boxes: Tensor) -> Tensor:
        """Boxes [..., 4] of the frame, as `points`."""
        return self.points(boxes.unflatten(-1, (2, 2))).flatten(-2)

    def mask(self, prior: Tensor, grid: int) -> Tensor:
        """The mask prompt [P, 1, grid, grid] of logits [P, H, W] of the frame.

        Logits keep their sign and scale, as the networks take their own logits for prompts; they are clipped to `CLIP`,
        and `OUTSIDE` where there is no frame.
        """
        logits = prior.clamp(-CLIP, CLIP)[:, None]
        if self.stretched:
            return _shrink(logits, (grid, grid))
        # Means over the cells of the mask; a cell on the frame's edge is the mean of its part in the frame.
        cell = self.side // grid
        h, w = self.inner
        cells = F.avg_pool2d(F.pad(_shrink(logits, self.inner), (0, -w % cell, 0, -h % cell), mode="replicate"), cell)
        return F.pad(cells, (0, grid - cells.shape[3], 0, grid - cells.shape[2]), value=OUTSIDE)

    def frame(self, logits: Tensor) -> Tensor:
        """Logits [P, M, H, W] of the frame from those [P, M, g, g] of the square."""
        if not self.stretched:
            # In two steps, as published: to the square, and from its part in the frame to the frame.
            logits = _enlarge(logits, (self.side, self.side))[..., : self.inner[0], : self.inner[1]]
        return _enlarge(logits, self.size)


def _shrink(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)


def _enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
