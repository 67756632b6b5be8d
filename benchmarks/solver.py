"""Time and memory of the solver of consistent depth, and how they grow with the frames."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from benchmarks.memory import MIB, Sampler
from benchmarks.report import Report, status
from benchmarks.solver_scene import Scene, delta1, hierarchical, make_scene, position_error
from trackime_apps.depth.solver import Solution, SolverConfig, solve


def table(report: Report, frames: Sequence[int], matches: int, config: SolverConfig, device: str) -> None:
    """A row for each number of frames, `matches` of each frame; the exponent of time by frames where there are more.

    Scenes are `benchmarks.solver_scene`'s: depth spoiled by a scale per frame (sigma 0.3) and a deformation (20 %),
    positions by 0.3 pixels. Seconds are of the wall; seconds of the processor are all threads' together. Memory is the
    process's, the problem in it included.
    """
    wall, processor = [], []
    for count in frames:
        status(f"{count} frames, {matches} matches per frame")
        pairs = hierarchical(count)
        most = max(1, matches * count // len(pairs))
        scene = make_scene(count, 8 * most, noise=0.3, most=most, pairs=pairs)
        lean = replace(scene, initial=scene.initial[:, ::50], depth=scene.depth[:, ::50], xy=scene.xy[:, ::50],
                       seen=scene.seen[:, ::50])  # fmt: skip
        del scene
        start, used = time.perf_counter(), time.process_time()
        with Sampler() as sampler:
            solution = solve(lean.problem, config, device=device, progress=sampler.progress)
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
        peak = max(size for _, _, size in sampler.samples)
        if device.startswith("cuda"):
            peak = torch.cuda.max_memory_allocated()
            torch.cuda.reset_peak_memory_stats()
        report.add(
            frames=str(count),
            pairs=len(pairs),
            matches=len(lean.problem.matches),
            seconds=wall[-1],
            processor_s=processor[-1],
            peak_MiB=peak / MIB,
            steps=sum(len(t.costs) - 1 + t.rejected for t in solution.traces),
            gradients=sum(t.linear for t in solution.traces),
            position_percent=100 * position_error(solution.poses, lean.poses),
            delta1_percent=100 * _delta1(lean, solution),
        )
        report.details.setdefault("stages", {})[str(count)] = [
            {"stage": t.stage, "costs": t.costs, "rejected": t.rejected, "ended": t.ended} for t in solution.traces
        ]
    if len(frames) > 1:
        report.add(frames="exponent", seconds=exponent(frames, wall), processor_s=exponent(frames, processor))


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of a straight line through the logarithms (least squares)."""
    x, y = [math.log(v) for v in sizes], [math.log(v) for v in values]
    a, b = sum(x) / len(x), sum(y) / len(y)
    return sum((p - a) * (q - b) for p, q in zip(x, y, strict=True)) / sum((p - a) ** 2 for p in x)


def _delta1(scene: Scene, solution: Solution) -> float:
    places = zip(solution.theta, scene.xy, strict=True)
    theta = torch.stack([solution.grid.sample(t.reshape(-1), x) for t, x in places])
    depth = theta.exp() / (scene.initial.reciprocal() + solution.shift)
    return delta1(depth[scene.seen], scene.depth[scene.seen])
