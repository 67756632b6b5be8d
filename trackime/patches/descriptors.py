"""Hand-made dense descriptors: gradient-orientation histograms pooled at three scales, and colour.

The layout is DAISY's (Tola, Lepetit, Fua: DAISY, PAMI 2010): histograms of a centre and of two rings around it,
each pooled by a Gaussian that grows with the ring. Only the pooled maps of a frame are stored; a descriptor at any
place, under any local affine warp, is a few bilinear samples of them. Nothing here is learned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trackime.geometry import sample

BINS = 8
"""Orientations of a histogram."""
_SIGMAS = (1.6, 3.0, 6.0)
"""Standard deviations of the pooling of centre, inner and outer ring; pixels of the resized frame."""
_RADII = (6.0, 14.0)
"""Radii of the two rings; pixels."""
_WEIGHTS = (0.5, 1.0, 0.8)
"""Weight of centre, inner and outer ring in the similarity."""
_COLOUR_WEIGHTS = (0.7, 0.5)
"""Weight of the fine and the coarse colour in the similarity."""
_FLOORS = (0.004, 0.010, 0.010)
"""Energy (sums of gradients of Lab / 100 a pixel) below which centre and rings fade out: noise has no direction."""
_CYCLES = (0.012, 0.030, 0.030)
"""Turns a unit of L, a and b makes on the circle that codes it; lightness is coarser, it follows the light."""
_RING = 8
"""Samples on a ring."""
SIZE = BINS * (1 + 2 * _RING) + 12
"""Length of a descriptor."""

_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.950456, 1.0, 1.088754)


@dataclass(frozen=True)
class DescriptorMaps:
    """What descriptors of B frames are sampled from.

    Attributes:
        centre: [B, 8, h/2, w/2] histograms under the narrowest Gaussian.
        inner: [B, 8, h/2, w/2] under the middle one.
        outer: [B, 8, h/4, w/4] under the widest.
        colour: [B, 6, h/2, w/2] Lab under a narrow and a wide Gaussian.
    """

    centre: Tensor
    inner: Tensor
    outer: Tensor
    colour: Tensor


def lab(rgb: Tensor) -> Tensor:
    """CIE Lab (D65) of sRGB in [0, 1]; [B, 3, h, w] both. L in [0, 100]."""
    linear = torch.where(rgb > 0.04045, ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = rgb.new_tensor(_XYZ) / rgb.new_tensor(_WHITE)[:, None]
    xyz = F.conv2d(linear, matrix[:, :, None, None])
    f = torch.where(xyz > 0.008856, xyz.clamp(min=0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def blur(maps: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of [B, C, h, w], separable, edges replicated."""
    radius = max(1, math.ceil(2.5 * sigma))
    grid = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-0.5 * (grid / sigma) ** 2)
    kernel = kernel / kernel.sum()
    b, c, h, w = maps.shape
    flat = maps.reshape(b * c, 1, h, w)
    flat = F.conv2d(F.pad(flat, (radius, radius, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    flat = F.conv2d(F.pad(flat, (0, 0, radius, radius), mode="replicate"), kernel.view(1, 1, -1, 1))
    return flat.view(b, c, h, w)


def _orientation_maps(image: Tensor) -> Tensor:
    """Gradient energy by direction, summed over channels.

    A gradient of magnitude m and direction phi adds m max(0, cos(phi - theta_k))^3 to direction
    theta_k = 2 pi k / 8: smooth in phi, so that a small rotation changes little.

    Args:
        image: [B, C, h, w].

    Returns:
        [B, 8, h, w].
    """
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    gx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    gy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    inverse = 1 / (gx * gx + gy * gy + 1e-10)
    half = []
    for k in range(BINS // 2):
        theta = 2 * math.pi * k / BINS
        along = gx * math.cos(theta) + gy * math.sin(theta)
        half.append(along * along * along * inverse)
    forward = torch.stack(half, 1)  # [B, 4, C, h, w]; the opposite directions are its negative part
    return torch.cat([forward.clamp(min=0).sum(2), (-forward).clamp(min=0).sum(2)], 1)


def describe_frames(image: Tensor) -> DescriptorMaps:
    """The pooled maps of Lab frames.

    Args:
        image: [B, 3, h, w] Lab; h and w multiples of 4.
    """
    energy = _orientation_maps(image * image.new_tensor([0.01, 0.01, 0.01])[:, None, None])
    # Halving is a box of variance 1/4 of its own pixels squared (px^2: 0.25 at 2, 1.25 at 4); Gaussians add the rest.
    half = F.avg_pool2d(energy, 2)
    centre = blur(half, math.sqrt(_SIGMAS[0] ** 2 - 0.25) / 2)
    inner = blur(centre, math.sqrt(_SIGMAS[1] ** 2 - _SIGMAS[0] ** 2) / 2)
    outer = blur(F.avg_pool2d(inner, 2), math.sqrt(_SIGMAS[2] ** 2 - _SIGMAS[1] ** 2 - 1.0) / 4)
    fine = blur(F.avg_pool2d(image, 2), 0.8)
    coarse = blur(fine, 2.4)
    return DescriptorMaps(centre, inner, outer, torch.cat([fine, coarse], 1))


def _ring_offsets(like: Tensor) -> Tensor:
    """[8, 2] unit vectors around the circle, in the order of the histograms' directions."""
    angle = torch.arange(_RING, device=like.device, dtype=like.dtype) * (2 * math.pi / _RING)
    return torch.stack([angle.cos(), angle.sin()], -1)


def _code_colour(colour: Tensor) -> Tensor:
    """Lab values [..., 6] as points on circles [..., 12]: dot products fall with the difference, and are bounded."""
    turns = colour.new_tensor(_CYCLES + _CYCLES) * (2 * math.pi)
    angle = colour * turns
    weight = colour.new_tensor([w / math.sqrt(3) for w in _COLOUR_WEIGHTS for _ in range(3)])
    return torch.cat([angle.cos() * weight, angle.sin() * weight], -1)


def _assemble(centre: Tensor, inner: Tensor, outer: Tensor, colour: Tensor) -> Tensor:
    """Descriptors of unit length at most from histograms [..., 8], [..., 64], [..., 64] and Lab [..., 6]."""
    parts = []
    for part, floor, weight in zip((centre, inner, outer), _FLOORS, _WEIGHTS, strict=True):
        # Hellinger kernel: strong edges do not drown the rest. Without the mean, only what differs between directions
        # and places counts: energy in all directions is what any two textures have in common.
        scaled = part.clamp(min=0).sqrt()
        scaled = scaled - scaled.mean(-1, keepdim=True)
        parts.append(scaled * (weight / (scaled.square().sum(-1, keepdim=True) + floor).sqrt()))
    total = math.sqrt(sum(w * w for w in _WEIGHTS + _COLOUR_WEIGHTS))
    return torch.cat([*parts, _code_colour(colour)], -1) / total


def describe(maps: DescriptorMaps, xy: Tensor) -> Tensor:
    """Descriptors of places of frames.

    Args:
        maps: of B frames of h x w.
        xy: [B, P, 2] pixels of those frames.

    Returns:
        [B, P, SIZE], dot products of which are similarities in [-1, 1].
    """
    b, p = xy.shape[:2]
    unit = _ring_offsets(xy)
    rings = []
    for grid, radius, stride in ((maps.inner, _RADII[0], 2), (maps.outer, _RADII[1], 4)):
        places = (xy[:, :, None] + unit * radius).reshape(b, p * _RING, 2) / stride
        rings.append(sample(grid, places).reshape(b, p, _RING * BINS))
    at = xy / 2
    return _assemble(sample(maps.centre, at), rings[0], rings[1], sample(maps.colour, at))


def describe_cells(maps: DescriptorMaps, stride: int = 4) -> Tensor:
    """Descriptors at the centres of a frame's cells of `stride` pixels: [B, h/stride * w/stride, SIZE], by rows."""
    h, w = (2 * s for s in maps.centre.shape[-2:])
    return describe(maps, cell_centres(h, w, stride, maps.centre).expand(len(maps.centre), -1, -1))


def cell_centres(h: int, w: int, stride: int, like: Tensor) -> Tensor:
    """[1, h/stride * w/stride, 2] centres (x, y) of cells in pixels, by rows."""
    y = (torch.arange(h // stride, device=like.device, dtype=like.dtype) + 0.5) * stride
    x = (torch.arange(w // stride, device=like.device, dtype=like.dtype) + 0.5) * stride
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).flip(-1)
    return grid.reshape(1, -1, 2)


def square_grid(radius: int, step: float, like: Tensor) -> Tensor:
    """[(2 radius + 1)^2, 2] offsets (x, y) of a square grid around 0, `step` apart, by rows."""
    axis = (torch.arange(2 * radius + 1, device=like.device, dtype=like.dtype) - radius) * step
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).flip(-1).reshape(-1, 2)


@dataclass(frozen=True)
class Surround:
    """What is kept of a place to describe it again under a warp: a few hundred numbers a point, no frame.

    Attributes:
        centre: [N, 8].
        colour: [N, 6].
        inner: [N, 8, K, K] crop of the inner ring's map around the point, 2 px apart.
        outer: [N, 8, K, K] crop of the outer ring's map, 4 px apart.
    """

    centre: Tensor
    colour: Tensor
    inner: Tensor
    outer: Tensor


CROP = 11
"""Samples on a side of the crops of `Surround`: rings may stretch by up to 1.5."""


def surround(maps: DescriptorMaps, xy: Tensor) -> Surround:
    """What `describe_warped` needs of points xy [N, 2] of one frame (maps of B = 1)."""
    n = len(xy)
    grid = square_grid(CROP // 2, 1, xy)
    crops = []
    for source, stride in ((maps.inner, 2), (maps.outer, 4)):
        places = (xy[:, None] / stride + grid).reshape(1, -1, 2)
        values = sample(source, places)[0].reshape(n, CROP, CROP, BINS)
        crops.append(values.permute(0, 3, 1, 2).contiguous())
    at = xy[None] / 2
    return Surround(sample(maps.centre, at)[0], sample(maps.colour, at)[0], crops[0], crops[1])


def describe_warped(points: Surround, warp: Tensor) -> Tensor:
    """Descriptors of places as they would look under local affine warps.

    Args:
        points: N places.
        warp: [N, 2, 2], takes offsets around the place to offsets in the frame to compare with.

    Returns:
        [N, SIZE].
    """
    n = len(warp)
    unit = _ring_offsets(warp)
    back = inverse2(warp)
    # Rotation part of the polar decomposition; directions turn by it, one bin is a turn of 2 pi / 8.
    shift = torch.atan2(warp[:, 1, 0] - warp[:, 0, 1], warp[:, 0, 0] + warp[:, 1, 1]) * (BINS / (2 * math.pi))
    rings = []
    for crop, radius, stride in ((points.inner, _RADII[0], 2), (points.outer, _RADII[1], 4)):
        places = unit @ back.transpose(1, 2) * (radius / stride) + CROP / 2
        rings.append(_turn_bins(sample(crop, places), shift[:, None]).reshape(n, -1))
    return _assemble(_turn_bins(points.centre, shift), rings[0], rings[1], points.colour)


def emphasis(maps: DescriptorMaps, xy: Tensor) -> Tensor:
    """How much each number of the descriptors of points counts in a comparison: less where a sample of a ring is of
    another colour than the point, as that is likely to be another surface.

    Args:
        maps: of one frame (B = 1).
        xy: [N, 2] pixels.

    Returns:
        [N, SIZE], a mean square of 1 over each ring.
    """
    n, unit = len(xy), _ring_offsets(xy)
    fine = maps.colour[:, :3]
    centre = sample(fine, xy[None] / 2)[0]
    parts = [torch.ones(n, BINS, device=xy.device)]
    for radius in _RADII:
        places = (xy[:, None] + unit * radius).reshape(1, -1, 2) / 2
        far = (sample(fine, places)[0].view(n, _RING, 3) - centre[:, None]).norm(dim=-1)
        weight = 0.3 + 0.7 * torch.exp(-far / 20)  # units of Lab
        weight = weight / weight.square().mean(1, keepdim=True).sqrt()
        parts.append(weight.repeat_interleave(BINS, 1))
    return torch.cat([*parts, torch.ones(n, SIZE - BINS * (1 + 2 * _RING), device=xy.device)], 1)


def _turn_bins(histogram: Tensor, shift: Tensor) -> Tensor:
    """Histograms [..., 8] turned by `shift` [...] bins, linear between bins."""
    index = torch.arange(BINS, device=histogram.device) - shift[..., None]
    low = index.floor()
    part = index - low
    first = low.long() % BINS
    shape = torch.broadcast_shapes(first.shape, histogram.shape)
    first, source = first.expand(shape), histogram.expand(shape)
    return source.gather(-1, first) * (1 - part) + source.gather(-1, (first + 1) % BINS) * part


def inverse2(matrix: Tensor) -> Tensor:
    """Inverse of [..., 2, 2], written out: a batch of small ones is slow through LAPACK."""
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    rows = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
    return rows / (a * d - b * c)[..., None, None]
