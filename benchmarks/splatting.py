"""Splatting: seconds of every mode against the time to copy the same bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import Tensor

from benchmarks.report import Report, status
from trackime_apps.interp import MODES, Kernel, splat, splat_sums

MOTION = 15.0
"""Standard deviation in pixels of the smooth part of the motion."""

GRAIN = 0.3
"""Standard deviation in pixels of the independent motion of every pixel."""


def compare(report: Report, size: tuple[int, int], channels: int, threads: int, runs: int, device: str) -> None:
    """A row for every mode, for the sums that are blended, and for a gradient; on CUDA for both kernels.

    bytes: values, flow and metric read once and the result written once, a lower bound of any implementation; floor:
    the time of those bytes at the bandwidth of `copy`. `plain`: the same sums by `plain`, a reference for machines of
    varying speed.
    """
    with _threads(threads):
        values, flow, metric = scene(size, channels, device)
        copied = 2 * values.nbytes
        seconds = _best(lambda: values.clone(), runs, device)
        bandwidth = copied / seconds
        report.add(what="copy", kernel="", seconds=seconds, MB=copied / 1e6, GB_per_s=bandwidth / 1e9)
        moved = 2 * values.nbytes + flow.nbytes
        _add(report, "plain sum", "", _best(lambda: plain(values, flow), max(1, runs // 2), device), moved, bandwidth)
        kernels: list[Kernel] = ["torch"]
        if device.startswith("cuda") and find_spec("triton") is not None:
            kernels.append("triton")
        for kernel in kernels:
            for mode in MODES:
                given = metric if mode in ("linear", "softmax") else None
                moved = 2 * values.nbytes + flow.nbytes + (0 if given is None else given.nbytes)
                status(f"{mode}, {kernel}")
                took = _best(lambda m=mode, w=given, k=kernel: splat(values, flow, m, w, kernel=k), runs, device)
                _add(report, mode, kernel, took, moved, bandwidth)
            moved = 2 * values.nbytes + flow.nbytes + 2 * metric.nbytes
            took = _best(lambda k=kernel: splat_sums(values, flow, "softmax", metric, k), runs, device)
            _add(report, "softmax, sums", kernel, took, moved, bandwidth)
            status(f"gradient, {kernel}")
            took = _best(lambda k=kernel: _gradient(values, flow, metric, k), max(1, runs // 4), device)
            report.add(what="softmax, there and back", kernel=kernel, seconds=took)
    report.details.update(size=list(size), channels=channels, threads=threads, runs=runs)


def scene(size: tuple[int, int], channels: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Values [1, C, H, W], flow [1, 2, H, W] and metric [1, 1, H, W]: smooth motion with some grain."""
    width, height = size
    random = torch.Generator().manual_seed(0)
    values = torch.rand(1, channels, height, width, generator=random)
    coarse = torch.randn(1, 2, height // 64 + 2, width // 64 + 2, generator=random) * MOTION
    flow = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)
    flow += torch.randn(1, 2, height, width, generator=random) * GRAIN
    metric = torch.randn(1, 1, height, width, generator=random)
    return values.to(device), flow.to(device), metric.to(device)


def plain(values: Tensor, flow: Tensor) -> Tensor:
    """Mode sum in the simplest way: the whole frame at once, a mask for each corner."""
    _, channels, height, width = values.shape
    ys, xs = (torch.arange(n, device=values.device) for n in (height, width))
    x, y = flow[0, 0] + xs, flow[0, 1] + ys[:, None]
    out = values.new_zeros(channels, height * width)
    for cy in (y.floor(), y.floor() + 1):
        for cx in (x.floor(), x.floor() + 1):
            inside = (cx >= 0) & (cx < width) & (cy >= 0) & (cy < height)
            share = (1 - (x - cx).abs()) * (1 - (y - cy).abs())
            out.index_add_(1, (cy.long() * width + cx.long())[inside], (values[0] * share)[:, inside])
    return out.view(1, channels, height, width)


def _add(report: Report, what: str, kernel: str, seconds: float, moved: int, bandwidth: float) -> None:
    floor = moved / bandwidth
    report.add(
        what=what,
        kernel=kernel,
        seconds=seconds,
        MB=moved / 1e6,
        GB_per_s=moved / seconds / 1e9,
        floor_seconds=floor,
        times_floor=seconds / floor,
    )


def _gradient(values: Tensor, flow: Tensor, metric: Tensor, kernel: Kernel) -> Tensor:
    tensors = [t.detach().requires_grad_() for t in (values, flow, metric)]
    splat(tensors[0], tensors[1], "softmax", tensors[2], kernel=kernel).sum().backward()
    assert tensors[1].grad is not None
    return tensors[1].grad


def _best(call: Callable[[], object], runs: int, device: str) -> float:
    """The fastest of some runs after one that does not count, so that other load matters little."""
    best = float("inf")
    for k in range(runs + 1):
        _wait(device)
        start = time.perf_counter()
        call()
        _wait(device)
        best = min(best, time.perf_counter() - start) if k else best
    return best


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
