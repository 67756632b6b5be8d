"""Consistent depth and cameras from matches: stages from one scale per frame to the finest grid of handles.

The objective is that of Kopf, Rong, Huang, Robust consistent video depth estimation, CVPR 2021, fed by tracks. Solved
jointly from the start it fails: first come the poses and one scale per frame, with a loss that narrows to its final
scale (graduated non-convexity: Blake, Zisserman 1987), then focal and shift, then the grids, coarse to fine, jointly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trackime.devices import resolve_device
from trackime.errors import SolveError
from trackime.progress import Report, silent

from ._cholesky import Elimination
from ._frame_pairs import FramePairs, components
from ._gauge import FirstScale, MedianScale, ScaleGauge
from ._levenberg import SolverStage, StageTrace, minimise
from ._linear_solver import LinearSolver
from ._objective import Objective
from ._residuals import ResidualSettings
from ._state import Layout, SolverState
from .config import GRIDS, SolverConfig, check_gauge
from .handles import Grid
from .problem import Problem
from .solution import Solution

WIDE = (64.0, 16.0, 4.0)
"""Scales of the loss before its own while poses are first found."""
DROPPED, FITTING = 0.5, 0.1
"""A result with a larger share of its matches dropped, or a smaller share of their weight fitting, is an error."""
FACTOR = 10.0
"""A focal length that changed by a larger factor is an error."""
SPREAD = 1e4
"""A frame whose scale differs from the first's by more has diverged."""


def stages(config: SolverConfig) -> list[SolverStage]:
    """The stages of a solve, in order."""
    wide = WIDE if config.residual == "default" else ()
    loose = max(config.tolerance, 1e-3)
    out = [SolverStage(f"poses, loss x{w:g}", "1x1", False, w, loose) for w in wide]
    out.append(SolverStage("poses", "1x1", False, 1.0, loose))
    grids = GRIDS[: GRIDS.index(config.grid) + 1]
    for grid in grids:
        tolerance = config.tolerance if grid == config.grid else loose
        out.append(SolverStage(f"cameras and depth {grid}", grid, True, 1.0, tolerance))
    return out


def solve(
    problem: Problem, config: SolverConfig | None = None, *, device: str | torch.device = "cpu",
    progress: Report = silent,
) -> Solution:  # fmt: skip
    """Cameras and depth of a video.

    Args:
        problem: frames, matches, what to start from.
        config: switches.
        device: cpu or cuda; float64 throughout (mps has none: the CPU computes in its place).
        progress: called with the stage, steps done and the most steps of the stage.

    Raises:
        SolveError: the solve diverged.
        InputError: switches that exclude each other.
    """
    config = config or SolverConfig()
    place = resolve_device(device)
    if place.type == "mps":
        place = torch.device("cpu")
    with _one_thread(place):
        return _Solver(problem, config, place).run(progress)


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """On the CPU one thread computes: the arrays are small enough to stay in a core's cache, so that more threads gain
    little, and where other programs keep the cores busy their waiting for each other costs twenty times the work."""
    threads = torch.get_num_threads()
    try:
        if device.type == "cpu":
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)


class _Solver:
    def __init__(self, problem: Problem, config: SolverConfig, device: torch.device) -> None:
        self.problem, self.config, self.device = problem, config, device
        check_gauge(config, problem.disparity)
        self.pairs = FramePairs.of(problem.matches.to(device), problem.frames)
        self.component = components(problem.frames, self.pairs.low, self.pairs.high)
        self.plan = Elimination.of(problem.frames, self.pairs.low, self.pairs.high)
        disparity = torch.cat((self.pairs.matches.d_i, self.pairs.matches.d_j)).reciprocal()
        self.sigma_shift = config.sigma_shift * float(disparity.median().clamp(min=1e-12)) if len(disparity) else 1.0

    def start(self) -> SolverState:
        """Initial unknowns: identical cameras unless poses are given, depth unchanged."""
        frames = self.problem.frames
        poses = torch.eye(4, dtype=torch.float64, device=self.device).repeat(frames, 1, 1)
        if self.problem.poses is not None:
            given = self.problem.poses.to(self.device, torch.float64)
            poses = torch.linalg.inv(given[0]) @ given
        grid = Grid.named("1x1", self.problem.width, self.problem.height)
        return SolverState(
            poses[:, :3, :3], poses[:, :3, 3], poses.new_zeros(frames, 1),
            poses.new_full((frames,), math.log(self.problem.focal)), poses.new_zeros(()), grid,
        )  # fmt: skip

    def run(self, progress: Report) -> Solution:
        """All stages."""
        state, traces = self.start(), list[StageTrace]()
        if not len(self.pairs.pair):
            return Solution.of(state, self.component, traces, self.problem.disparity)
        few = FramePairs.of(self.pairs.thinned(self.config.coarse), self.problem.frames)
        for stage in stages(self.config):
            pairs = self.pairs if stage.grid == self.config.grid else few
            state = state.refined(Grid.named(stage.grid, self.problem.width, self.problem.height))
            state, trace = self._stage(state, stage, pairs, progress)
            traces.append(trace)
            self._check(state, trace)
        self._check_fit(traces[-1])
        return Solution.of(state, self.component, traces, self.problem.disparity)

    def _stage(
        self, state: SolverState, stage: SolverStage, pairs: FramePairs, progress: Report
    ) -> tuple[SolverState, StageTrace]:
        config, problem = self.config, self.problem
        whole = stage.whole
        layout = Layout(
            problem.frames, state.grid.count, whole and config.focal == "free", whole and config.focal == "shared",
            whole and problem.disparity,
        )  # fmt: skip
        settings = ResidualSettings(problem.width, problem.height, problem.disparity, config, stage.widen)
        objective = Objective(pairs, settings, layout, math.log(problem.focal), self.sigma_shift)
        anchors = torch.unique(self.component).to(self.device)
        scale: ScaleGauge = FirstScale(layout, anchors)
        if config.gauge == "median":
            scale = MedianScale(layout, anchors, pairs)
        linear = LinearSolver(self.plan, config.linear, config.forcing)
        return minimise(objective, state, scale, linear, stage, config.iterations, progress)

    def _check(self, state: SolverState, trace: StageTrace) -> None:
        """Raise SolveError where the unknowns of a stage cannot be right."""
        where = f"depth solver, {trace.stage}: diverged"
        if not state.finite():
            raise SolveError(f"{where}: expected finite cameras and depth")
        change = float((state.log_focal - math.log(self.problem.focal)).abs().max())
        if change > math.log(FACTOR):
            focal = float(state.log_focal[0].exp())
            raise SolveError(f"{where}: the focal length went from {self.problem.focal:.0f} to {focal:.3g} pixels")
        means = state.theta.mean(1)
        spread = float((means - means[self.component.to(means.device)]).abs().max())
        if spread > math.log(SPREAD) and self.config.gauge == "first":
            raise SolveError(
                f"{where}: the scale of a frame differs {math.exp(min(spread, 700)):.1g} times from the first's"
            )

    def _check_fit(self, trace: StageTrace) -> None:
        """Raise SolveError where the last stage's matches do not fit its cameras: those before it may not fit yet."""
        where = f"depth solver, {trace.stage}: diverged"
        if trace.last.dropped > DROPPED * len(self.pairs.pair):
            share = 100 * trace.last.dropped / len(self.pairs.pair)
            raise SolveError(f"{where}: {share:.0f} % of the matches lie behind the camera; at most 50 % may")
        if trace.last.fitting < FITTING:
            share = 100 * trace.last.fitting
            raise SolveError(f"{where}: {share:.1f} % of the matches fit the cameras; at least 10 % must")
