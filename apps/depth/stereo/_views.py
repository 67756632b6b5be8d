"""Views with cameras, and how the pixels of one project into another."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class PosedMap:
    """A map of a frame whose camera is known.

    Attributes:
        values: float32 [h, w]: grey values in [0, 1], or inverse depth 1 / z, NaN where unknown.
        intrinsics: float64 [3, 3] of the map, the centre of the top-left pixel at (0.5, 0.5).
        pose: float64 [4, 4], camera-to-world.
    """

    values: torch.Tensor
    intrinsics: torch.Tensor
    pose: torch.Tensor


def relate(reference: PosedMap, source: PosedMap) -> tuple[torch.Tensor, torch.Tensor]:
    """A [3, 3], b [3]: a pixel x = (x, y, 1) of the reference at inverse depth q is seen in the source at A x + q b.

    Homogeneous, the third coordinate is z there times q; from K_s (R K_r^-1 x / q + t) times q (Hartley and Zisserman,
    section 13.1).
    """
    turn = source.pose[:3, :3].T @ reference.pose[:3, :3]
    shift = source.pose[:3, :3].T @ (reference.pose[:3, 3] - source.pose[:3, 3])
    return source.intrinsics @ turn @ torch.linalg.inv(reference.intrinsics), source.intrinsics @ shift


def pixels_of(image: torch.Tensor) -> torch.Tensor:
    """The pixels (x, y, 1) [3, h, w] of an image [h, w], of its type and on its device."""
    h, w = image.shape
    y, x = (torch.arange(n, dtype=image.dtype, device=image.device) + 0.5 for n in (h, w))
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((x, y, torch.ones_like(x)))
