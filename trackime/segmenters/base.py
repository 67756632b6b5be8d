"""The contract every point-prompted segmenter meets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor


class PointSegmenter(ABC):
    """Cuts what a prompt points at out of a frame.

    Attributes:
        name: its name in the registry.
        shares_masks: masks are costly here, so a caller with many points should reuse the mask of one for the
            points inside it, instead of asking for each.
        device: where it computes.
    """

    name: str = ""
    shares_masks: bool = False
    device: torch.device = torch.device("cpu")

    @abstractmethod
    def encode(self, frame: Tensor) -> Any:
        """What all prompts of one frame share.

        Args:
            frame: float [3, H, W] in [0, 1].
        """

    @abstractmethod
    def decode(
        self,
        embedding: Any,
        points: Tensor,
        labels: Tensor,
        boxes: Tensor | None = None,
        prior: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One mask a prompt.

        Args:
            embedding: of the frame, from `encode`.
            points: [P, K, 2] (x, y) pixels of the frame.
            labels: [P, K] 1 on the object, 0 off it, -1 padding (the point is ignored).
            boxes: [P, 4] (x0, y0, x1, y1) pixels around the object, or None.
            prior: [P, H, W] logits of a mask expected here (0 is no opinion), or None.

        Returns:
            logits [P, H, W], the object where they are above 0, and score [P] in [0, 1]: how sure the mask is.
        """
