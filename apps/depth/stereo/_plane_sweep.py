"""Plane sweep: how well other views agree with one at each of many depths (Collins 1996).

Planes are parallel to the reference's image, evenly spaced in inverse depth. Views are compared by normalised cross
correlation over a small window, and of all views the better half counts: what hides a surface from some of them on one
side of an edge does not hide it from those on the other (Kang, Szeliski and Chai 2001, "Handling occlusions in dense
multi-view stereo").
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ._views import PosedMap, pixels_of, relate

RADIUS = 2
"""Radius of the correlation window in pixels of the sweep."""

NOISE = 1e-4
"""Variance of grey values (white is 1) that counts as no texture; such a window correlates with nothing."""

UNSEEN = 0.5
"""Cost in a view that does not see the point: below that of a mismatch, or surfaces that few views see would never
win."""

CHUNK = 2**19
"""Values per block: what fits a processor's cache."""


def plane_sweep(reference: PosedMap, sources: list[PosedMap], inverse: torch.Tensor) -> torch.Tensor:
    """Cost of every pixel of the reference at every inverse depth.

    Args:
        reference: grey values of the view whose pixels get costs.
        sources: one view at least, of any size.
        inverse: float32 [D], or [D, h, w] where each pixel has inverse depths of its own.

    Returns:
        float32 [D, h, w], 1 - correlation in [0, 1], the mean of the better half of the sources; a source that does
        not see the place counts `UNSEEN`, and all do where the reference has no texture.
    """
    h, w = reference.values.shape
    like = reference.values
    window = _ReferenceWindow(like)
    pixels = pixels_of(like)
    lines = []
    for source in sources:
        turn, shift = (part.to(like) for part in relate(reference, source))
        lines.append((torch.einsum("ij,jhw->ihw", turn, pixels), shift, source.values))
    keep = (len(sources) + 1) // 2
    planes = inverse if inverse.ndim == 3 else inverse[:, None, None]
    out = like.new_empty(len(planes), h, w)
    step = max(1, CHUNK // (h * w))
    for start in range(0, len(planes), step):
        part = planes[start : start + step]
        costs = [_cost(window, rays, shift, grey, part) for rays, shift, grey in lines]
        out[start : start + step] = mean_of_best(costs, keep)
    return out


def mean_of_best(values: list[torch.Tensor], keep: int) -> torch.Tensor:
    """Mean of the `keep` smallest of arrays of one shape, element by element; `torch.topk` takes six times as long."""
    rest = list(values)
    total = torch.zeros_like(rest[0])
    for _ in range(keep):
        # One pass of a bubble sort: the smallest ends up last, the others stay.
        for k in range(len(rest) - 1):
            rest[k], rest[k + 1] = torch.maximum(rest[k], rest[k + 1]), torch.minimum(rest[k], rest[k + 1])
        total += rest.pop()
    return total / keep


def _cost(
    window: _ReferenceWindow, rays: torch.Tensor, shift: torch.Tensor, grey: torch.Tensor, inverse: torch.Tensor
) -> torch.Tensor:
    """1 - correlation [d, h, w] with one source at inverse depths [d, 1, 1] or [d, h, w]."""
    height, width = grey.shape
    z = rays[2] + shift[2] * inverse
    ahead = z > 1e-6
    scale = 2 / z.clamp(min=1e-6)
    x = torch.addcmul(rays[0], shift[0], inverse).mul_(scale / width).sub_(1)
    y = torch.addcmul(rays[1], shift[1], inverse).mul_(scale / height).sub_(1)
    inside = (torch.maximum(x.abs(), y.abs()) <= 1) & ahead
    d, h, w = z.shape
    warped = F.grid_sample(
        grey[None, None], torch.stack((x, y), -1).reshape(1, d * h, w, 2), padding_mode="border", align_corners=False
    ).reshape(d, h, w)
    return torch.where(inside, window.cost(warped), UNSEEN)


class _ReferenceWindow:
    """The reference's side of the correlation."""

    def __init__(self, grey: torch.Tensor) -> None:
        # About the mean, so that float32 holds the difference of squares.
        self.middle = grey.mean()
        self.grey = grey - self.middle
        self.mean = box(self.grey)
        variance = (box(self.grey.square()) - self.mean.square()).clamp(min=0)
        self.deviation = (variance + NOISE).rsqrt()
        self.texture = variance / (variance + NOISE)

    def cost(self, warped: torch.Tensor) -> torch.Tensor:
        """1 - correlation, clamped to [0, 1], of the reference with [d, h, w]; `UNSEEN` without texture."""
        other = warped - self.middle
        mean = box(other)
        spread = (box(other * other) - mean * mean).clamp_(min=0).add_(NOISE).rsqrt_()
        together = box(other * self.grey) - mean * self.mean
        cost = (1 - together * spread * self.deviation).clamp_(0, 1)
        # A window without texture counts as a view that does not see the place.
        return (cost - UNSEEN) * self.texture + UNSEEN


def box(x: torch.Tensor) -> torch.Tensor:
    """Mean over the window of 5 x 5 about each pixel of [..., h, w]; the border is replicated.

    `avg_pool2d` takes more than ten times as long on a CPU.
    """
    lead = x.shape[:-2]
    padded = F.pad(x.reshape(1, -1, *x.shape[-2:]), (RADIUS,) * 4, mode="replicate")[0]
    # Sums of two, four and five: three additions per direction.
    y = padded[..., 1:] + padded[..., :-1]
    y = y[..., 2:] + y[..., :-2]
    y = y[..., :-1] + padded[..., 4:]
    z = y[..., 1:, :] + y[..., :-1, :]
    z = z[..., 2:, :] + z[..., :-2, :]
    z = z[..., :-1, :] + y[..., 4:, :]
    return (z / (2 * RADIUS + 1) ** 2).reshape(*lead, *z.shape[-2:])
