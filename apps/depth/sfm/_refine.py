"""Refines camera poses, and points, to the least robust reprojection error: many small problems at once.

A pose with its points held fixed is a problem of 6 unknowns, a point with its cameras held fixed one of 3, and none
depends on another. One Levenberg-Marquardt with a damping and a decision of its own for each problem solves them all;
bundle adjustment is the same iteration on a single problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from trackime.arrays import BoolArray, Float64, Int64

from ._reprojection import Observations, Views, gathering, jacobians, losses, roots, summed

_DAMPING, _MOST, _LEAST = 1e-4, 1e10, 1e-9
"""Damping: initial; largest, beyond which a problem ends; smallest."""

T = TypeVar("T")


@dataclass(frozen=True)
class LeastSquares(Generic[T]):
    """B independent problems over the same views.

    Attributes:
        cost: float64 [B] of views.
        linearise: the normal equations at views.
        step: views after the steps for views, normal equations and damping [B]; may raise LinAlgError.
        merge: views that take the problems bool [B] from the first views, the others from the second.
    """

    cost: Callable[[Views], Float64]
    linearise: Callable[[Views], T]
    step: Callable[[Views, T, Float64], Views]
    merge: Callable[[BoolArray, Views, Views], Views]


def levenberg_marquardt(
    problem: LeastSquares[T], views: Views, iterations: int, tolerance: float, damping: float = _DAMPING
) -> tuple[Views, Float64]:
    """The views of the least cost near these, and the costs [B]; no problem's cost rises.

    Args:
        problem: what is minimised.
        views: where to start.
        iterations: steps tried at most.
        tolerance: a problem is solved when a step lowers its cost by a smaller share.
        damping: of the first step.
    """
    value = problem.cost(views)
    damp, solved = np.full(len(value), damping), np.zeros(len(value), bool)
    equations: T | None = None
    for _ in range(iterations):
        equations = problem.linearise(views) if equations is None else equations
        try:
            trial = problem.step(views, equations, damp)
            after = problem.cost(trial)
        except np.linalg.LinAlgError:
            trial, after = views, np.full(len(value), np.inf)
        better = after < value
        solved |= np.where(better, value - after <= tolerance * after, damp > _MOST)
        if better.any():
            views, equations = problem.merge(better, trial, views), None
        value = np.where(better, after, value)
        damp = np.where(better, np.maximum(damp / 4, _LEAST), damp * 10)
        if solved.all():
            break
    return views, value


def _normal_equations(
    by_step: Float64, off: Float64, root: Float64, index: Int64, size: int
) -> tuple[Float64, Float64]:
    """J'J [B, n, n] and J'r [B, n] of derivatives [K, 2, n] (overwritten) and residuals [K, 2], both times `root` [K],
    summed by the problems [K] that they belong to."""
    gather = gathering(index, size)
    by_step *= root[:, None, None]
    off = off * root[:, None]
    matrix = summed(gather, by_step.transpose(0, 2, 1) @ by_step)
    return matrix, summed(gather, np.einsum("kij,ki->kj", by_step, off))


def _steps(matrix: Float64, slope: Float64, damping: Float64) -> Float64:
    """The damped steps [B, n]."""
    eye = np.eye(matrix.shape[1])
    floor = 1e-12 * (1 + np.trace(matrix, axis1=1, axis2=2))
    matrix = matrix + damping[:, None, None] * matrix * eye + floor[:, None, None] * eye
    return np.asarray(-np.linalg.solve(matrix, slope[..., None])[..., 0])


def refine_poses(views: Views, seen: Observations, iterations: int = 15) -> Views:
    """The cameras of the least robust cost, each by itself; points and focal length stay as they are."""
    m = len(views.rotation)

    def linearise(views: Views) -> tuple[Float64, Float64]:
        by_camera, _, _, off = jacobians(views, seen)
        return _normal_equations(by_camera, off, roots(off, seen.weight), seen.camera, m)

    problem = LeastSquares(
        cost=lambda v: np.asarray(np.bincount(seen.camera, losses(v, seen), m), np.float64),
        linearise=linearise,
        step=lambda v, equations, damping: v.moved(_steps(*equations, damping)),
        merge=lambda better, new, old: replace(
            old,
            rotation=np.where(better[:, None, None], new.rotation, old.rotation),
            shift=np.where(better[:, None], new.shift, old.shift),
        ),
    )
    return levenberg_marquardt(problem, views, iterations, 1e-6)[0]


def refine_points(
    views: Views, seen: Observations, iterations: int, bend: float | Float64 = np.inf, hold: float | Float64 = 0.0
) -> Float64:
    """Points [P, 3] of the least cost, each by itself; cameras stay as they are.

    Args:
        views: where to start.
        seen: the observations.
        iterations: steps tried at most.
        bend: of Huber's loss, in weighted pixels, of all observations or [K]; infinite: least squares.
        hold: half of this times the squared distance from the start is added to the cost; of all points or [P].
    """
    start, p = views.points, len(views.points)
    stiff = np.broadcast_to(hold, p)[:, None]

    def linearise(views: Views) -> tuple[Float64, Float64]:
        _, by_point, _, off = jacobians(views, seen)
        matrix, slope = _normal_equations(by_point, off, roots(off, seen.weight, bend), seen.point, p)
        return matrix + stiff[..., None] * np.eye(3), slope + stiff * (views.points - start)

    def cost(views: Views) -> Float64:
        held = 0.5 * (stiff * (views.points - start) ** 2).sum(1)
        return np.asarray(np.bincount(seen.point, losses(views, seen, bend), p) + held, np.float64)

    problem = LeastSquares(
        cost=cost,
        linearise=linearise,
        step=lambda v, equations, damping: replace(v, points=v.points + _steps(*equations, damping)),
        merge=lambda better, new, old: replace(old, points=np.where(better[:, None], new.points, old.points)),
    )
    return levenberg_marquardt(problem, views, iterations, 1e-6, damping=1e-6)[0].points
