"""The sums of `splat` as one fused Triton kernel for CUDA. Importing it needs triton, which comes with torch for CUDA.

One program takes a block of source pixels, reads their flow, weight and values once and adds to the four targets by
atomic additions: order, and so the last bits, differ from run to run. Gradients are those of `splat.gradients`.

The kernel is tested in Triton's interpreter, and `faster` measures whether it pays on a GPU.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor

_log = logging.getLogger(__name__)

BLOCK = 256
"""Source pixels of a program."""

_RUNS = 5
"""How often `faster` runs each implementation; the fastest run counts."""

Sums = Callable[[Tensor, Tensor | None, Tensor, bool], Tensor]

_measured: dict[tuple[object, ...], bool] = {}


def sums_triton(values: Tensor, weight: Tensor | None, flow: Tensor, denominators: bool) -> Tensor:
    """As `splat.sums_torch`: values [B, C, H, W], weight [B, 1, H, W] or None, flow [B, 2, H, W]; contiguous sums."""
    values, flow = values.contiguous(), flow.contiguous()
    batch, channels, height, width = values.shape
    sums = values.new_zeros(batch, channels + denominators, height, width)
    if batch == 0:
        return sums
    weighted = weight is not None
    weight = values if weight is None else weight.contiguous()  # never read where there is none
    grid = (triton.cdiv(height * width, BLOCK), batch)
    _kernel[grid](values, weight, flow, sums, height, width, channels, weighted, denominators, BLOCK)
    return sums


def faster(values: Tensor, flow: Tensor, sums_torch: Sums) -> bool:
    """Whether the kernel beats plain torch, `sums_torch`, on these tensors' device, measured once per shape and type.

    It times sums with denominators of random values along this flow, a few runs each after one to compile. A kernel
    that does not compile, or whose sums differ by more than 1e-5 of the largest, is not faster, which is logged.
    """
    key = (str(values.device), values.dtype, flow.dtype, tuple(values.shape))
    if key not in _measured:
        _measured[key] = _measure(torch.rand_like(values), flow.detach(), sums_torch)
    return _measured[key]


def _measure(values: Tensor, flow: Tensor, sums_torch: Sums) -> bool:
    try:
        ours, theirs = sums_triton(values, None, flow, True), sums_torch(values, None, flow, True)
    except Exception as error:  # compilers and drivers fail in many ways, and torch can do the same
        _log.warning("splatting uses torch: triton failed: %s", str(error).splitlines()[0] if str(error) else error)
        return False
    scale = float(theirs.abs().max().clamp(min=1))
    if not torch.allclose(ours, theirs, rtol=0, atol=1e-5 * scale, equal_nan=True):
        _log.warning("splatting uses torch: triton's sums differ by %g", float((ours - theirs).abs().max()))
        return False
    return _seconds(lambda: sums_triton(values, None, flow, True), values.device) < _seconds(
        lambda: sums_torch(values, None, flow, True), values.device
    )


def _seconds(call: Callable[[], Tensor], device: torch.device) -> float:
    wait = (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)
    best = float("inf")
    for _ in range(_RUNS):
        wait()
        start = time.perf_counter()
        call()
        wait()
        best = min(best, time.perf_counter() - start)
    return best


@triton.jit
def _kernel(  # type: ignore[no-untyped-def]
    values,
    weight,
    flow,
    sums,
    height,
    width,
    CHANNELS: tl.constexpr,
    WEIGHTED: tl.constexpr,
    DENOMINATORS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    b = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = pixel < height * width
    dx = tl.load(flow + b * 2 * height * width + pixel, mask=real, other=0.0)
    dy = tl.load(flow + (b * 2 + 1) * height * width + pixel, mask=real, other=0.0)
    # Farther than 1e9 px is outside of every frame; a NaN is not near either.
    near = real & (tl.abs(dx) < 1e9) & (tl.abs(dy) < 1e9)
    dx = tl.where(near, dx, 0.0)
    dy = tl.where(near, dy, 0.0)
    wx = tl.floor(dx)
    wy = tl.floor(dy)
    x = pixel % width + wx.to(tl.int32)
    y = pixel // width + wy.to(tl.int32)
    fx = (dx - wx).to(values.dtype.element_ty)
    fy = (dy - wy).to(values.dtype.element_ty)
    b00 = (1 - fx) * (1 - fy)
    b01 = fx * (1 - fy)
    b10 = (1 - fx) * fy
    b11 = fx * fy
    left = near & (x >= 0) & (x < width)
    right = near & (x >= -1) & (x < width - 1)
    above = (y >= 0) & (y < height)
    below = (y >= -1) & (y < height - 1)
    target = y.to(tl.int64) * width + x
    w = tl.full((BLOCK,), 1.0, values.dtype.element_ty)
    if WEIGHTED:
        w = tl.load(weight + b * height * width + pixel, mask=real, other=0.0)
    planes = CHANNELS + 1 if DENOMINATORS else CHANNELS
    for c in range(0, CHANNELS):
        v = tl.load(values + (b * CHANNELS + c) * height * width + pixel, mask=real, other=0.0) * w
        out = sums + (b * planes + c) * height * width + target
        tl.atomic_add(out, v * b00, mask=left & above, sem="relaxed")
        tl.atomic_add(out + 1, v * b01, mask=right & above, sem="relaxed")
        tl.atomic_add(out + width, v * b10, mask=left & below, sem="relaxed")
        tl.atomic_add(out + width + 1, v * b11, mask=right & below, sem="relaxed")
    if DENOMINATORS:
        out = sums + (b * planes + CHANNELS) * height * width + target
        tl.atomic_add(out, w * b00, mask=left & above, sem="relaxed")
        tl.atomic_add(out + 1, w * b01, mask=right & above, sem="relaxed")
        tl.atomic_add(out + width, w * b10, mask=left & below, sem="relaxed")
        tl.atomic_add(out + width + 1, w * b11, mask=right & below, sem="relaxed")
