"""Colour templates sampled on grids, and their alignment with a frame in torch: Lucas-Kanade, inverse compositional.

A template follows its point through rotation, scale and shear: the warp found in one frame initialises the next, while
the pixels always are those of the query frame, so that nothing drifts.
Formulas: Baker, Matthews, Lucas-Kanade 20 Years On (IJCV 2004), with gain and bias removed and robust weights.
`templates` has the grey, numpy counterpart that is used without a network.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trackime.geometry import sample
from trackime.patches.descriptors import inverse2, square_grid

CROP = 33
"""Side of the stored crops in pixels."""


@dataclass(frozen=True)
class SampleGrid:
    """Samples of a patch: (2 radius + 1)^2 of them, `step` px apart in the query frame; sigma px of their weights."""

    radius: int
    step: int
    sigma: float


WIDE = SampleGrid(7, 2, 7.0)
CLOSE = SampleGrid(5, 1, 3.0)


@dataclass(frozen=True)
class GridTemplates:
    """Templates, in the query frame's own pixels. Channels come first: sums over a patch run over contiguous numbers.

    Attributes:
        values: [C, N, P].
        slope: two [C, N, P], derivatives by x and y.
        offsets: [P, 2] places of the samples around the point.
        weight: [N, P] how much each counts.
    """

    values: Tensor
    slope: tuple[Tensor, Tensor]
    offsets: Tensor
    weight: Tensor


@dataclass(frozen=True)
class GridAlignment:
    """Where templates fit.

    Attributes:
        xy: [N, 2] pixels.
        warp: [N, 2, 2].
        correlation: [N] weighted zero-mean normalised correlation of lightness and colour, in [-1, 1].
        residual: [N] weighted mean absolute difference after gain and bias, units of the image.
        colour: [N] weighted difference of mean colour, units of the image.
        fits: [N, P] in [0, 1], how well each sample fits: 1 perfectly, 1/4 at twice the patch's mean error.
    """

    xy: Tensor
    warp: Tensor
    correlation: Tensor
    residual: Tensor
    colour: Tensor
    fits: Tensor


def crop_templates(image: Tensor, xy: Tensor) -> Tensor:
    """Crops [N, C + 1, CROP, CROP] of an image [1, C, h, w] around points [N, 2]; the last channel is 1 inside."""
    n, (c, h, w) = len(xy), image.shape[1:]
    places = xy[:, None] + square_grid(CROP // 2, 1, xy)
    values = sample(image, places.reshape(1, -1, 2))[0].reshape(n, -1, c)
    inside = ((places >= 0).all(-1) & (places[..., 0] <= w) & (places[..., 1] <= h)).to(values.dtype)
    both = torch.cat([values, inside[..., None]], -1)
    return both.transpose(1, 2).reshape(n, c + 1, CROP, CROP).contiguous()


def sample_templates(crops: Tensor, grid: SampleGrid, trust: Tensor) -> GridTemplates:
    """Templates on one grid.

    Args:
        crops: [N, C + 1, CROP, CROP] from `crop_templates`.
        grid: which samples.
        trust: [N, P] factor of the weights, in [0, 1] (from `support_weights` at first).
    """
    middle, reach, step = CROP // 2, (grid.radius + 1) * grid.step, grid.step
    cut = slice(middle - reach, middle + reach + 1, step)
    values = crops[:, :, cut, cut].transpose(0, 1)
    inside, values = values[-1], values[:-1]  # [N, S, S], [C, N, S, S]
    inner = slice(1, -1)
    by_x = (values[..., inner, 2:] - values[..., inner, :-2]).flatten(2) / (2 * step)
    by_y = (values[..., 2:, inner] - values[..., :-2, inner]).flatten(2) / (2 * step)
    offsets = square_grid(grid.radius, step, crops)
    near = torch.exp(-0.5 * offsets.square().sum(-1) / grid.sigma**2)
    weight = near * trust * (inside[:, inner, inner].flatten(1) > 0.99)
    return GridTemplates(values[..., inner, inner].flatten(2), (by_x, by_y), offsets, weight)


def support_weights(crops: Tensor, grid: SampleGrid) -> Tensor:
    """First trust [N, P] in samples of templates: those coloured like the point are likely to move with it.

    Adaptive support weights (Yoon, Kweon, PAMI 2006), for differences in the image's units of colour.
    """
    middle, reach = CROP // 2, grid.radius * grid.step
    cut = slice(middle - reach, middle + reach + 1, grid.step)
    colour = crops[:, :-1, cut, cut].flatten(2)
    centre = crops[:, :-1, middle - 1 : middle + 2, middle - 1 : middle + 2].mean((2, 3))
    return 0.1 + 0.9 * torch.exp(-(colour - centre[:, :, None]).norm(dim=1) / 10)


def align_grid(
    image: Tensor,  # [1, C, h, w]
    patches: GridTemplates,
    xy: Tensor,  # [N, 2] where to start
    warp: Tensor,  # [N, 2, 2] query frame to this frame, to start with
    iterations: int,
    affine: int = 0,
    reach: float = 4.0,
) -> GridAlignment:
    """Move (and deform) templates to fit the image.

    Each step solves  min sum_i w_i |I(x + W u_i) - T(u_i) - g_i (M u_i + d)|^2  for the displacement d and the
    deformation M, then W <- W (I + M)^-1 and x <- x - W d; residuals are weighed by Geman and McClure's function.

    Args:
        iterations: steps of the displacement alone.
        affine: steps, after those, of displacement and deformation.
        reach: pixels a point may go from where it starts; beyond, it stays.
    """
    start = xy
    gx, gy = patches.slope
    gram = torch.stack([(gx * gx).sum(0), (gx * gy).sum(0), (gy * gy).sum(0)], 1)  # [N, 3, P]
    gain = torch.ones_like(xy[:, 0])
    for turn in range(iterations + affine):
        found, weight = _look(image, patches, xy, warp)
        if turn in (0, iterations):
            gain = _gain(patches.values, found, weight)
        error = _error(patches.values, found, weight, gain)
        robust = weight * _fits(error, weight)
        right = torch.stack([(gx * error).sum(0), (gy * error).sum(0)], 1) * robust[:, None]  # [N, 2, P]
        if turn < iterations:
            move = _solve_shift((gram * robust[:, None]).sum(2), right.sum(2))
        else:
            move, deform = _solve_affine(gram * robust[:, None], right, patches.offsets)
            warp = sane_warps(warp @ inverse2(deform), warp)
        xy = xy - (warp @ move[:, :, None])[:, :, 0].clamp(-2, 2)
        gone = (xy - start).norm(dim=-1, keepdim=True) > reach
        xy = torch.where(gone, start, xy)
    found, weight = _look(image, patches, xy, warp)
    error = _error(patches.values, found, weight, _gain(patches.values, found, weight))
    return GridAlignment(xy, warp, *_agreement(patches, error, weight, found), _fits(error, weight))


def sane_warps(warp: Tensor, fallback: Tensor) -> Tensor:
    """Warps [N, 2, 2] that stretch by a factor of 0.4 to 2.5 at most; the fallback for others."""
    square = warp.square().sum((-1, -2))
    determinant = warp[:, 0, 0] * warp[:, 1, 1] - warp[:, 0, 1] * warp[:, 1, 0]
    spread = (square.square() - 4 * determinant.square()).clamp(min=0).sqrt()
    largest, smallest = (square + spread) / 2, (square - spread) / 2  # squared singular values
    good = (determinant > 0) & (largest < 6.25) & (smallest > 0.16)
    return torch.where(good[:, None, None], warp, fallback)


def _look(image: Tensor, patches: GridTemplates, xy: Tensor, warp: Tensor) -> tuple[Tensor, Tensor]:
    """Values [C, N, P] of the image under warped templates, and weights [N, P] that sum to 1 where any is inside."""
    h, w = image.shape[-2:]
    # Points and warps in grid_sample's units first: they are fewer than the samples.
    unit = 2 / xy.new_tensor([w, h])
    grid = torch.baddbmm((xy * unit - 1)[:, None], patches.offsets.expand(len(xy), -1, -1), (warp * unit[:, None]).mT)
    found = F.grid_sample(image, grid[None], padding_mode="border", align_corners=False)[0]
    weight = patches.weight * (grid.abs().amax(-1) <= 1)
    return found, weight / weight.sum(1, keepdim=True).clamp(min=1e-6)


def _gain(values: Tensor, found: Tensor, weight: Tensor) -> Tensor:
    """Factor [N] that gives the values found the template's contrast of lightness, within 0.6 .. 1.6."""

    def spread(lightness: Tensor) -> Tensor:
        mean = (weight * lightness).sum(1, keepdim=True)
        return (weight * (lightness - mean).square()).sum(1).sqrt() + 1.0  # noise of a flat patch is not blown up

    return (spread(values[0]) / spread(found[0])).clamp(0.6, 1.6)


def _error(values: Tensor, found: Tensor, weight: Tensor, gain: Tensor) -> Tensor:
    """What the image [C, N, P] differs by from templates after gain and bias."""
    error = found * gain[:, None] - values
    bias = (weight * error).sum(2)
    return error.sub_(bias[:, :, None])


def _fits(error: Tensor, weight: Tensor) -> Tensor:
    """Geman-McClure weights [N, P], whose scale is twice the weighted mean error of each patch (2 at least)."""
    size = error.square().sum(0)
    scale = (weight * size.sqrt()).sum(1, keepdim=True).square() * 4 + 4.0
    return (scale / (scale + size)).square()


DAMPING = 0.1
"""A gradient of 0.3 L a pixel is as strong as the damping of displacements: flat directions stay where they are."""
DAMPING_AFFINE = 10.0


def _solve_shift(gram: Tensor, right: Tensor) -> Tensor:
    """Displacements [N, 2] from [N, 3] (xx, xy, yy) and [N, 2]."""
    a, b, d = gram[:, 0] + DAMPING, gram[:, 1], gram[:, 2] + DAMPING
    x, y = right[:, 0], right[:, 1]
    return torch.stack([d * x - b * y, a * y - b * x], -1) / (a * d - b * b)[:, None]


def _solve_affine(gram: Tensor, right: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Displacements [N, 2] and I + M [N, 2, 2] from [N, 3, P] and [N, 2, P].

    Unknowns are ordered (row of M's image, power): with b = (1, u_x, u_y), entry (i a, j c) of the normal equations
    is sum_p w g_i g_j b_a b_c. Sums rather than matrix products: BLAS rounds by where in memory a matrix lies, hence
    by its neighbours.
    """
    n, (ux, uy) = len(gram), offsets.unbind(1)
    by_x, by_y = gram * ux, gram * uy
    sums = [gram.sum(2), by_x.sum(2), by_y.sum(2), (by_x * ux).sum(2), (by_x * uy).sum(2), (by_y * uy).sum(2)]
    xx, xy, yy = torch.stack([sums[k] for k in (0, 1, 2, 1, 3, 4, 2, 4, 5)], 2).view(n, 3, 3, 3).unbind(1)
    hessian = torch.cat([torch.cat([xx, xy], 2), torch.cat([xy, yy], 2)], 1)
    right = torch.stack([right.sum(2), (right * ux).sum(2), (right * uy).sum(2)], 2).view(n, 6)
    damping = torch.tensor([DAMPING, DAMPING_AFFINE, DAMPING_AFFINE] * 2, device=gram.device, dtype=gram.dtype)
    solution = solve_positive(hessian + torch.diag(damping), right).view(n, 2, 3)
    return solution[:, :, 0], solution[:, :, 1:] + torch.eye(2, device=gram.device, dtype=gram.dtype)


def solve_positive(matrix: Tensor, right: Tensor) -> Tensor:
    """Solution [N, K] of symmetric positive definite systems [N, K, K], [N, K] by Gauss-Jordan without pivots.

    Written out because LAPACK's rounding of a small system depends on where in memory it lies, hence on its neighbours.
    """
    table = torch.cat([matrix, right[:, :, None]], 2)
    for k in range(matrix.shape[1]):
        row = table[:, k] / table[:, k, k, None]
        table = table - table[:, :, k, None] * row[:, None]
        table[:, k] = row
    return table[:, :, -1]


def _agreement(patches: GridTemplates, error: Tensor, weight: Tensor, found: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Correlation, residual and colour [N] of `GridAlignment`."""
    mean_t = (weight * patches.values).sum(2, keepdim=True)
    mean_f = (weight * found).sum(2, keepdim=True)
    t, f = patches.values - mean_t, found - mean_f
    # The variance of noise (1 L) is added to all three, so that flat patches correlate with flat ones.
    cross = (weight * t * f).sum((0, 2)) + 1.0
    own = ((weight * t * t).sum((0, 2)) + 1.0) * ((weight * f * f).sum((0, 2)) + 1.0)
    return cross / own.sqrt(), (weight * error.abs()).sum((0, 2)), (mean_t - mean_f)[..., 0].norm(dim=0)
