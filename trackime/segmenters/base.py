"""The contract of point-prompted segmenters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from trackime.errors import InputError, ShapeError


class PointSegmenter(ABC):
    """Segments the object that a prompt of points, a box or a prior mask indicates.

    Attributes:
        name: in the registry.
        shares_masks: masks are costly, so a caller with many points should reuse a point's mask for the points in it.
        device: of the results.
    """

    name: str = ""
    shares_masks: bool = False
    device: torch.device = torch.device("cpu")

    @abstractmethod
    def encode(self, frame: Tensor) -> Any:
        """The embedding of a frame, which all of its prompts share; opaque.

        Args:
            frame: float [3, H, W] RGB in [0, 1].

        Raises:
            ShapeError: not [3, H, W].
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
        """One mask for each prompt.

        A prompt without a positive point, a box or a prior yields an empty mask and score 0.

        Args:
            embedding: of the frame, from `encode`.
            points: [P, K, 2] (x, y) pixels of the frame, the centre of the top-left one at (0.5, 0.5).
            labels: [P, K] 1 on the object, 0 off it, -1 padding (the point is ignored).
            boxes: [P, 4] (x0, y0, x1, y1) pixels around the object, or None.
            prior: [P, H, W] logits of an expected mask (0 everywhere is none), or None.

        Returns:
            logits [P, H, W], the object where they are above 0, and score [P] in [0, 1], the expected quality.

        Raises:
            ShapeError: arrays that do not fit each other or the frame.
            InputError: labels other than 1, 0 and -1; points, boxes or priors that are not finite.
        """


def check_prompts(
    size: tuple[int, int], points: Tensor, labels: Tensor, boxes: Tensor | None, prior: Tensor | None
) -> None:
    """Check the prompts of `PointSegmenter.decode` for a frame of `size` (H, W), and raise as it says."""
    if points.ndim != 3 or points.shape[2] != 2:
        raise ShapeError("points", "[P, K, 2]", points.shape)
    count = len(points)
    if labels.shape != points.shape[:2]:
        raise ShapeError("labels", f"[{count}, {points.shape[1]}]", labels.shape)
    if boxes is not None and boxes.shape != (count, 4):
        raise ShapeError("boxes", f"[{count}, 4]", boxes.shape)
    if prior is not None and prior.shape != (count, *size):
        raise ShapeError("prior", f"[{count}, {size[0]}, {size[1]}]", prior.shape)
    if not bool(((labels == 1) | (labels == 0) | (labels == -1)).all()):
        raise InputError("labels: expected 1 on the object, 0 off it or -1 for padding, got other numbers")
    given = {"points": points[labels >= 0], "boxes": boxes, "prior": prior}
    for what, values in given.items():
        if values is not None and not bool(torch.isfinite(values).all()):
            raise InputError(f"{what}: expected finite numbers, got NaN or infinity")
