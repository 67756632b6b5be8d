"""How the pixels of one view are seen in another."""

from __future__ import annotations

from typing import Protocol

import torch


class Posed(Protocol):
    """A view whose camera is known.

    Attributes:
        intrinsics: float64 [3, 3], the centre of the top-left pixel at (0.5, 0.5).
        pose: float64 [4, 4], camera-to-world.
    """

    @property
    def intrinsics(self) -> torch.Tensor: ...

    @property
    def pose(self) -> torch.Tensor: ...


def relate(reference: Posed, source: Posed) -> tuple[torch.Tensor, torch.Tensor]:
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
