"""Left-right check between several views: where their depth maps agree, a surface was measured and not guessed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ._views import PosedMap, pixels_of, relate

TOLERANCE = 0.03
"""Relative difference of depth up to which two views agree."""
BEHIND = 0.06
"""Relative difference of depth from which on a view that sees farther contradicts (free space is violated)."""
PIXELS = 1.0
"""Distance between a pixel and its return by way of the other view's depth up to which two views agree."""


@dataclass(frozen=True, eq=False)
class ConsistencyVotes:
    """Counts of views that confirm or contradict the depth of each pixel.

    Attributes:
        seen: int64 [h, w], views with a depth at the place.
        consistent: int64 [h, w], those that see the same surface.
        violations: int64 [h, w], those that see something farther by more than `BEHIND`, through where the surface
            would be.
        inverse: float32 [h, w], the mean of the inverse depths of the reference and those that agree.
    """

    seen: torch.Tensor
    consistent: torch.Tensor
    violations: torch.Tensor
    inverse: torch.Tensor


def left_right_check(
    reference: PosedMap, others: list[PosedMap], tolerance: float = TOLERANCE, pixels: float = PIXELS
) -> ConsistencyVotes:
    """Check the inverse depth of each pixel of one view against others.

    A pixel is projected into the other view, and back by the depth found there: depths have to agree on the way there,
    pixels on the way back.
    """
    inverse = reference.values
    known, count, violations = (torch.zeros_like(inverse, dtype=torch.int64) for _ in range(3))
    total = inverse.clone()
    pixel = pixels_of(inverse)
    for other in others:
        there, shift = (part.to(inverse) for part in relate(reference, other))
        back, shift_back = (part.to(inverse) for part in relate(other, reference))
        seen = torch.einsum("ij,jhw->ihw", there, pixel) + shift[:, None, None] * inverse  # times 1 / z
        depth = seen[2] / inverse
        at = seen[:2] / seen[2].clamp(min=1e-6)
        found = _sample(other.values, at)
        ahead = (seen[2] > 1e-6) & (found > 0)
        returned = torch.einsum("ij,jhw->ihw", back, torch.cat((at, torch.ones_like(at[:1]))))
        returned = returned + shift_back[:, None, None] * found
        off = (returned[:2] / returned[2].clamp(min=1e-6) - pixel[:2]).square().sum(0)
        good = ahead & ((depth * found - 1).abs() <= tolerance) & (off <= pixels**2)
        count += good
        known += ahead
        violations += ahead & (depth * found < 1 / (1 + BEHIND))
        total += torch.where(good, found / returned[2].clamp(min=1e-6), torch.zeros_like(total))
    return ConsistencyVotes(known, count, violations, total / (count + 1))


def _sample(values: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """[h, w] bilinear at pixels [2, h, w]; NaN outside, and where a value of the four is unknown."""
    height, width = values.shape
    size = torch.tensor([width, height], dtype=at.dtype, device=at.device)
    grid = at.permute(1, 2, 0) / size * 2 - 1
    inside = (grid.abs() <= 1).all(-1)
    grid = torch.where(inside[..., None], grid, torch.zeros_like(grid))
    out = F.grid_sample(values[None, None], grid[None], padding_mode="border", align_corners=False)[0, 0]
    return torch.where(inside, out, torch.full_like(out, torch.nan))
