"""Levenberg-Marquardt with reweighting: the robust cost itself never rises on an accepted step.

Each step solves (H + damping diag H) x = -g with the Cauchy weights of where it starts. It is accepted only where the
true robust cost falls; the damping follows the ratio of that fall to the model's (Nielsen, Damping parameter in
Marquardt's method, 1999). A stage ends when an accepted step, or the step that the model proposes, lowers the cost by
less than `tolerance` of it (a hundredth of that where proposed); when damping leaves no step that lowers it; or after
`iterations`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from trackime.errors import SolveError
from trackime.progress import Report, silent

from ._cholesky import NotPositiveError
from ._gauge import ScaleGauge
from ._linear_solver import LinearSolver
from ._objective import Objective, RobustCost
from ._state import SolverState

START = 1e-4
"""Damping a stage starts with."""
MOST = 1e12
"""Damping beyond which no step is left."""


@dataclass(frozen=True)
class SolverStage:
    """One minimisation: its name, handles, whether focal and shift are solved for, the loss's scale."""

    name: str
    grid: str
    whole: bool
    widen: float
    tolerance: float


@dataclass
class StageTrace:
    """The record of one stage.

    Attributes:
        stage: its name.
        costs: before the first step and after each accepted one: never rising.
        dropped: matches behind the camera or beyond infinity, likewise.
        rejected: steps that were not accepted.
        linear: iterations of conjugate gradients, all steps together; 0: block Cholesky.
        ended: why it did: "converged", "stalled" (no step left that lowers the cost) or "iterations".
        last: the cost at its end.
    """

    stage: str
    costs: list[float] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    rejected: int = 0
    linear: int = 0
    ended: str = "iterations"
    last: RobustCost = field(default_factory=lambda: RobustCost(0.0, 0, 1.0))


def minimise(
    objective: Objective,
    state: SolverState,
    scale: ScaleGauge,
    linear: LinearSolver,
    stage: SolverStage,
    iterations: int,
    progress: Report = silent,
) -> tuple[SolverState, StageTrace]:
    """The unknowns of the least cost near `state`, and how they were found.

    Raises:
        SolveError: the cost or the equations are not finite, or cannot be solved at any damping.
    """
    name, tolerance = stage.name, stage.tolerance
    trace = StageTrace(name)
    state = scale.settle(state)
    cost = objective.cost(state)
    _finite(name, cost.value)
    trace.costs.append(cost.value)
    trace.dropped.append(cost.dropped)
    damping, growth = START, 2.0
    for done in range(iterations):
        progress(name, done, iterations)
        system = objective.linearise(state)
        gauge = scale.gauge(state)
        gauge.apply(system)
        _finite(name, float(system.slope.abs().sum() + system.slope_top.abs().sum()))
        basis = gauge.basis(objective.layout)
        moved, first = None, True
        while moved is None:
            try:
                step, top, taken = linear.solve(system.damped(damping), basis)
            except NotPositiveError:
                step = None
            if step is not None:
                trace.linear += taken
                promised = system.decrease(step, top)
                if not promised > tolerance * 1e-2 * cost.value:
                    trace.ended = "converged" if first else "stalled"
                    break
                first = False
                trial = scale.settle(state.moved(objective.layout, gauge.back(step), top))
                after = objective.cost(trial) if trial.finite() else None
                if after is not None and after.value < cost.value:
                    moved = trial
                    continue
                trace.rejected += 1
            damping, growth = damping * growth, growth * 2
            if damping > MOST:
                if step is None:
                    raise SolveError(f"depth solver, {name}: the equations of a step cannot be solved")
                trace.ended = "stalled"
                break
        if moved is None or after is None:
            break
        fall = cost.value - after.value
        ratio = fall / promised
        damping = max(1e-12, damping * max(1 / 3, 1 - (2 * ratio - 1) ** 3))
        growth, state = 2.0, moved
        ended = fall <= tolerance * cost.value
        cost = after
        trace.costs.append(cost.value)
        trace.dropped.append(cost.dropped)
        if ended:
            trace.ended = "converged"
            break
    trace.last = cost
    progress(name, iterations, iterations)
    return state, trace


def _finite(stage: str, value: float) -> None:
    if not math.isfinite(value):
        raise SolveError(f"depth solver, {stage}: expected a finite cost, got {value:g}; depths or poses are too large")
