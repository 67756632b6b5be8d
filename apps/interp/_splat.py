"""Forward warping: every pixel is distributed around its new position (Niklaus and Liu, Softmax splatting, CVPR 2020).

A value at pixel (x, y) with flow (dx, dy) goes to (x + dx, y + dy), distributed over the four pixels around it
with bilinear weights b. With a weight w for each source pixel s, a target pixel t receives

    N(t) = sum_s b(t, s) w(s) v(s),    D(t) = sum_s b(t, s) w(s)    (equations 5 to 8 of the paper)

    sum        N, with w = 1
    average    N / D, with w = 1
    linear     N / D, with w = metric
    softmax    N / D, with w = exp(metric)

Pixels that land outside the frame or whose flow is not finite are dropped. exp is not clipped: a metric above 88
overflows float32; the caller, who knows its range, has to clip it.

A flow is a displacement, so no pixel convention is involved: flow 0 leaves a frame unchanged.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trackime.errors import InputError, ShapeError, UnknownNameError

Mode = Literal["sum", "average", "linear", "softmax"]
_Eps = Literal["add", "zero", "clip"]
Kernel = Literal["auto", "torch", "triton"]

MODES: tuple[Mode, ...] = get_args(Mode)
_EPS: tuple[_Eps, ...] = get_args(_Eps)
_KERNELS: tuple[Kernel, ...] = get_args(Kernel)

_SMALLEST = 1e-7
"""Added to a denominator by `divide`, or its lower limit."""

_KERNEL_VARIABLE = "TRACKIME_SPLAT"
"""Environment variable that decides for ``kernel="auto"``: auto, torch or triton."""

_RING = 2
"""Pixels of padding around the frame that take dropped values, so that no target has to be masked."""

_FAR = 1e9
"""A displacement in pixels that is outside of every frame."""

_CHUNK = 1 << 14
"""Source pixels processed at once on a CPU: intermediate results stay in the cache, which halves the time at 1080p."""


def splat(
    values: Tensor,
    flow: Tensor,
    mode: Mode,
    metric: Tensor | None = None,
    eps: _Eps = "add",
    kernel: Kernel = "auto",
) -> Tensor:
    """Values moved along a flow. Differentiable (once) in values, flow and metric.

    Args:
        values: floating [B, C, H, W].
        flow: floating [B, 2, H, W], (dx, dy) in pixels.
        mode: sum, average, linear or softmax; see the module.
        metric: floating [B, 1, H, W], larger is more important; for linear and softmax only.
        eps: how division by zero is avoided; see `divide`. Ignored in mode sum.
        kernel: the implementation; see `chosen_kernel`.

    Returns:
        [B, C, H, W] of the type of `values`; 0 where nothing lands. Sums are in float32, in float64 where a value or
        metric is float64. On a CPU the same input gives the same bits; on CUDA sums are atomic additions, whose
        order, and with it the last bits, differ from run to run (not under
        ``torch.use_deterministic_algorithms``, slower, and only with kernel auto or torch).

    Raises:
        InputError: an unknown mode, eps or kernel, a metric that is missing or not expected, a type that is not
            floating, tensors on different devices.
    """
    if eps not in _EPS:
        raise UnknownNameError("eps", str(eps), _EPS)
    weight = _weight(values, flow, mode, metric)
    sums = _sums(values, flow, weight, mode != "sum", kernel)
    channels = values.shape[1]
    moved = sums.contiguous() if mode == "sum" else divide(sums[:, :channels], sums[:, channels:], eps)
    return moved.to(values.dtype)


def splat_sums(
    values: Tensor, flow: Tensor, mode: Mode, metric: Tensor | None = None, kernel: Kernel = "auto"
) -> tuple[Tensor, Tensor]:
    """N and D of the module's formula in one pass, to be blended with those of other frames before dividing.

    Args:
        values, flow, mode, metric, kernel: as for `splat`.

    Returns:
        Numerators [B, C, H, W] and denominators [B, 1, H, W] in float32 or float64; both may be views that are not
        contiguous. Modes sum and average give the same: D is then the weight that landed there.

    Raises:
        InputError: as `splat`.
    """
    sums = _sums(values, flow, _weight(values, flow, mode, metric), True, kernel)
    return sums[:, : values.shape[1]], sums[:, values.shape[1] :]


def divide(numerators: Tensor, denominators: Tensor, eps: _Eps = "add") -> Tensor:
    """N / D where D may be zero.

    Args:
        numerators: [B, C, H, W].
        denominators: [B, 1, H, W].
        eps: ``add`` divides by D + 1e-7 (which shows where D itself is tiny), ``zero`` by 1 where D is exactly 0,
            ``clip`` by D but at least 1e-7. All three are in use with published weights: a network trained with one
            wants that one.
    """
    if eps == "add":
        return numerators / (denominators + _SMALLEST)
    if eps == "zero":
        return numerators / torch.where(denominators == 0, torch.ones_like(denominators), denominators)
    if eps == "clip":
        return numerators / denominators.clamp(min=_SMALLEST)
    raise UnknownNameError("eps", str(eps), _EPS)


def chosen_kernel(values: Tensor, flow: Tensor, kernel: Kernel = "auto") -> Literal["torch", "triton"]:
    """The implementation for these tensors.

    ``torch`` runs everywhere. ``triton`` is one fused kernel for CUDA; requested by name it is used or refused.
    ``auto`` is the value of the environment variable TRACKIME_SPLAT, and without it: torch for tensors that are not on
    CUDA, where triton is not installed, and under ``torch.use_deterministic_algorithms``, which torch obeys; otherwise
    whichever was faster when both were timed, once per process, shape and device (`_splat_triton.faster`).

    Raises:
        InputError: triton was requested by name and is not installed, or the tensors are not on CUDA.
    """
    if kernel == "auto":
        kernel = cast(Kernel, os.environ.get(_KERNEL_VARIABLE, "auto"))
    if kernel not in _KERNELS:
        raise UnknownNameError("splatting kernel", str(kernel), _KERNELS)
    if kernel == "torch":
        return "torch"
    usable = values.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"
    if kernel == "triton":
        if find_spec("triton") is None:
            raise InputError("kernel triton: expected the package triton, which is not installed; allowed: auto, torch")
        if not usable:
            raise InputError(f"kernel triton: expected tensors on CUDA, got {values.device}; allowed: auto, torch")
        return "triton"
    if not values.is_cuda or torch.are_deterministic_algorithms_enabled() or find_spec("triton") is None:
        return "torch"
    from ._splat_triton import faster

    return "triton" if faster(values, flow, sums_torch) else "torch"


def sums_torch(values: Tensor, weight: Tensor | None, flow: Tensor, denominators: bool) -> Tensor:
    """The sums in plain torch: values [B, C, H, W], weight [B, 1, H, W] or None (1), flow [B, 2, H, W].

    Returns:
        [B, C, H, W], and with `denominators` [B, C + 1, H, W], the last channel D; a view into a frame with a ring.
    """
    batch, channels, height, width = values.shape
    wide = width + 2 * _RING
    sums = values.new_zeros(batch, channels + denominators, height + 2 * _RING, wide)
    for b in range(batch):
        whole = flow[b].floor()  # at once: torch distributes even small ones over threads, and waiting for them is slow
        for rows in _chunks(values):
            corner, fx, fy = _targets(flow[b, :, rows], whole[:, rows], rows.start, height, width)
            shares = tuple(zip(_offsets(wide), _bilinear(fx.to(values.dtype), fy.to(values.dtype)), strict=True))
            w = None if weight is None else weight[b, 0, rows].reshape(-1)
            # A channel at a time: on so little work threads gain nothing, and wait for each other on a busy machine.
            for c in range(channels):
                value = values[b, c, rows].reshape(-1)
                _add(sums[b, c], corner, shares, value if w is None else value * w)
            if denominators:
                _add(sums[b, channels], corner, shares, w)
    return sums[:, :, _RING:-_RING, _RING:-_RING]


def _add(plane: Tensor, corner: Tensor, shares: tuple[tuple[int, Tensor], ...], source: Tensor | None) -> None:
    """Add a source [n], None for 1, to the four targets in a plane with a ring."""
    flat = plane.view(-1)
    for offset, b_k in shares:
        flat[offset:].scatter_add_(0, corner, b_k if source is None else source * b_k)


def gradients(
    grad: Tensor, values: Tensor, weight: Tensor | None, flow: Tensor, denominators: bool
) -> tuple[Tensor, Tensor | None, Tensor]:
    """The gradients of values, weight and flow from that of `sums_torch`, [B, C (+ 1), H, W].

    A source pixel gathers the gradients of its four targets. At whole displacements, where bilinear weights are
    not differentiable, it is the derivative from the right.
    """
    batch, channels, height, width = values.shape
    wide = width + 2 * _RING
    padded = torch.nn.functional.pad(grad, (_RING,) * 4)
    to_values, to_flow = torch.empty_like(values), torch.empty_like(flow)
    to_weight = None if weight is None else torch.empty_like(weight)
    for b in range(batch):
        whole = flow[b].floor()
        for rows in _chunks(values):
            corner, fx, fy = _targets(flow[b, :, rows], whole[:, rows], rows.start, height, width)
            fx, fy = fx.to(values.dtype), fy.to(values.dtype)
            w = None if weight is None else weight[b, 0, rows].reshape(-1)
            # Gradients of what a pixel contributes: with respect to its amount, and to its position.
            amount, dx, dy = (torch.zeros_like(fx) for _ in range(3))
            for c in range(channels + denominators):
                value = values[b, c, rows].reshape(-1) if c < channels else None  # the denominator's is 1
                plane = padded[b, c].reshape(-1)
                a00, a01, a10, a11 = (plane[offset:].index_select(0, corner) for offset in _offsets(wide))
                top, bottom = a01 - a00, a11 - a10
                slope_x = top + (bottom - top) * fy
                left = a00 + (a10 - a00) * fy
                gathered = left + slope_x * fx
                slope_y = (a10 - a00) + (bottom - top) * fx
                for total, part in ((amount, gathered), (dx, slope_x), (dy, slope_y)):
                    total += part if value is None else part * value
                if value is not None:
                    to_values[b, c, rows] = (gathered if w is None else gathered * w).view(-1, width)
            if to_weight is not None:
                to_weight[b, 0, rows] = amount.view(-1, width)
            for axis, slope in enumerate((dx, dy)):
                to_flow[b, axis, rows] = (slope if w is None else slope * w).view(-1, width)
    return to_values, to_weight, to_flow


class _Sums(torch.autograd.Function):
    """The sums with their gradient; only the input is kept for it."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor | None, flow: Tensor, denominators: bool, kernel: Kernel
    ) -> Tensor:
        ctx.save_for_backward(values, weight, flow)
        ctx.denominators = denominators
        if chosen_kernel(values, flow, kernel) == "triton":
            from ._splat_triton import sums_triton

            return sums_triton(values, weight, flow, denominators)
        return sums_torch(values, weight, flow, denominators)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, flow = ctx.saved_tensors
        return *gradients(grads[0], values, weight, flow, ctx.denominators), None, None


def _sums(values: Tensor, flow: Tensor, weight: Tensor | None, denominators: bool, kernel: Kernel) -> Tensor:
    kind = _wide(values.dtype if weight is None else torch.promote_types(values.dtype, weight.dtype))
    weight = None if weight is None else weight.to(kind)
    flow = flow.to(torch.promote_types(flow.dtype, kind))
    return cast(Tensor, _Sums.apply(values.to(kind), weight, flow, denominators, kernel))


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _weight(values: Tensor, flow: Tensor, mode: Mode, metric: Tensor | None) -> Tensor | None:
    """w of the module's formula in float32 or wider, None for 1. Raises on what cannot be splatted."""
    if mode not in MODES:
        raise UnknownNameError("splatting mode", str(mode), MODES)
    if values.ndim != 4 or 0 in values.shape[2:]:
        raise ShapeError("values", "[B, C, H, W] with H, W >= 1", values.shape)
    batch, _, height, width = values.shape
    if flow.shape != (batch, 2, height, width):
        raise ShapeError("flow", f"[{batch}, 2, {height}, {width}], as values are {list(values.shape)}", flow.shape)
    if metric is None and mode in ("linear", "softmax"):
        raise InputError(f"metric: expected [{batch}, 1, {height}, {width}] for mode {mode}, got none")
    if metric is not None and mode in ("sum", "average"):
        raise InputError(f"metric: expected none for mode {mode}, which has no weights; allowed: linear, softmax")
    if metric is not None and metric.shape != (batch, 1, height, width):
        raise ShapeError("metric", f"[{batch}, 1, {height}, {width}]", metric.shape)
    for name, tensor in (("values", values), ("flow", flow), ("metric", metric)):
        if tensor is not None and not tensor.is_floating_point():
            raise InputError(f"{name}: expected a floating type, got {tensor.dtype}")
        if tensor is not None and tensor.device != values.device:
            raise InputError(f"{name}: expected on {values.device} as the values, got {tensor.device}")
    if metric is None:
        return None
    metric = metric.to(_wide(metric.dtype))
    return metric.exp() if mode == "softmax" else metric


def _chunks(values: Tensor) -> list[slice]:
    """Rows processed at once: all of them, but on a CPU no more than stay in its cache."""
    height, width = values.shape[2:]
    rows = max(1, _CHUNK // width) if values.device.type == "cpu" else height
    return [slice(y, min(y + rows, height)) for y in range(0, height, rows)]


def _targets(flow: Tensor, whole: Tensor, y0: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """The targets of the rows from y0 on, from their flow [2, h, W] and its floor.

    Returns:
        int64 [h W], the upper left of the four targets in a padded frame, flattened; and the fractions towards the
        lower right one along x and y, [h W] each. A displacement is split before the pixel's position is added, so
        that accuracy does not depend on the position.
    """
    part = (flow - whole).nan_to_num(nan=0.0)
    whole = whole.nan_to_num(nan=_FAR, posinf=_FAR, neginf=-_FAR)
    ys = torch.arange(y0, y0 + flow.shape[1], dtype=flow.dtype, device=flow.device)[:, None]
    xs = torch.arange(width, dtype=flow.dtype, device=flow.device)
    x = (whole[0] + xs).clamp(-_RING, width).long()
    y = (whole[1] + ys).clamp(-_RING, height).long()
    corner = (y + _RING) * (width + 2 * _RING) + (x + _RING)
    return corner.reshape(-1), part[0].reshape(-1), part[1].reshape(-1)


def _offsets(wide: int) -> tuple[int, int, int, int]:
    """From the upper left target to each of the four, in a flattened frame of that width."""
    return 0, 1, wide, wide + 1


def _bilinear(fx: Tensor, fy: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of the four targets, in the order of `_offsets`."""
    gx, gy = 1 - fx, 1 - fy
    return gx * gy, fx * gy, gx * fy, fx * fy
