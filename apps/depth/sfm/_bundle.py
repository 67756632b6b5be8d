"""Bundle adjustment: cameras, points and a shared focal length of the least robust reprojection error.

Residuals are pixels times the weight of an observation, the loss is Huber's with a bend at 1. The points are eliminated
first (the Schur complement: Triggs et al., Bundle adjustment - a modern synthesis, 2000, section 6), which leaves a
dense system of 6 unknowns per camera and 1 for the focal length. Cameras and their steps are those of `_reprojection`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.transform import Rotation

from trackime.arrays import BoolArray, Float64, Int64

from ._refine import LeastSquares, levenberg_marquardt
from ._reprojection import Observations, Views, gathering, jacobians, losses, roots, summed

_CHUNK = 96
"""Points eliminated in one dense product: those of a chunk are seen by neighbouring cameras."""


@dataclass(frozen=True)
class Prior:
    """log focal is log(`focal`) within `sigma`; `count` is what it weighs in observations of one pixel."""

    focal: float
    sigma: float
    count: float


def _cost(views: Views, seen: Observations, prior: Prior | None = None) -> float:
    """The robust cost."""
    return float(losses(views, seen).sum()) + _prior_terms(views, prior)[0]


def _prior_terms(views: Views, prior: Prior | None) -> tuple[float, float, float]:
    """The prior's cost, slope and curvature in log focal."""
    if prior is None:
        return 0.0, 0.0, 0.0
    stiff = prior.count / prior.sigma**2
    off = float(np.log(views.focal / prior.focal))
    return 0.5 * stiff * off * off, stiff * off, stiff


@dataclass(eq=False)
class _NormalEquations:
    """The normal equations, by kind of unknown; `cross` couples an observation's camera and point, all before damping.

    H = [[cameras, column, cross], [., ff, points_focal], [., ., points]], gradient (slope_c, slope_f, slope_p).
    """

    cameras: Float64  # [M, 6, 6]
    slope_c: Float64  # [M, 6]
    points: Float64  # [P, 3, 3]
    slope_p: Float64  # [P, 3]
    cross: Float64  # [K, 6, 3]
    column: Float64  # [M, 6]
    points_focal: Float64  # [P, 3]
    ff: float
    slope_f: float


def _linearise(views: Views, seen: Observations, prior: Prior | None = None) -> _NormalEquations:
    """The normal equations of the reweighted problem; their gradient is that of `_cost`."""
    by_camera, by_point, by_focal, off = jacobians(views, seen)
    root = roots(off, seen.weight)[:, None]
    off, by_focal = off * root, by_focal * root
    by_camera, by_point = by_camera * root[..., None], by_point * root[..., None]
    across, down = by_camera.transpose(0, 2, 1), by_point.transpose(0, 2, 1)
    to_camera = gathering(seen.camera, len(views.rotation))
    to_point = gathering(seen.point, len(views.points))
    _, slope, curve = _prior_terms(views, prior)
    return _NormalEquations(
        cameras=summed(to_camera, across @ by_camera),
        slope_c=summed(to_camera, np.einsum("kij,ki->kj", by_camera, off)),
        points=summed(to_point, down @ by_point),
        slope_p=summed(to_point, np.einsum("kij,ki->kj", by_point, off)),
        cross=across @ by_point,
        column=summed(to_camera, np.einsum("kij,ki->kj", by_camera, by_focal)),
        points_focal=summed(to_point, np.einsum("kij,ki->kj", by_point, by_focal)),
        ff=float((by_focal**2).sum()) + curve,
        slope_f=float((by_focal * off).sum()) + slope,
    )


def _step(
    system: _NormalEquations, seen: Observations, free: BoolArray, focal: bool, damping: float
) -> tuple[Float64, Float64, float]:  # fmt: skip
    """The damped Gauss-Newton step: cameras [M, 6] (zero where not free), points [P, 3], log focal.

    `seen` must be in order of point.

    Raises:
        LinAlgError: the reduced system is not positive definite.
    """
    m, more = int(free.sum()), int(focal)
    place = np.cumsum(free) - 1  # of each free camera
    lower, z = _halves(system, damping)
    rows = free[seen.camera]
    spot, whose = place[seen.camera[rows]], seen.point[rows]
    half = system.cross[rows] @ lower[whose].transpose(0, 2, 1)  # [K', 6, 3]: cross C^-T with points = C C^T
    gather = gathering(spot, m)
    blocks = system.cameras[free]
    blocks = blocks + damping * blocks * np.eye(6) + 1e-12 * np.eye(6)
    reduced = np.zeros((m, 6, m, 6))
    reduced[np.arange(m), :, np.arange(m)] = blocks
    _eliminate(reduced, half, spot, whose)
    size = 6 * m + more
    matrix, right = np.zeros((size, size)), np.zeros(size)
    matrix[: 6 * m, : 6 * m] = reduced.reshape(6 * m, 6 * m)
    right[: 6 * m] = (summed(gather, np.einsum("kij,kj->ki", half, z[whose])) - system.slope_c[free]).reshape(-1)
    if focal:
        line = np.einsum("pij,pj->pi", lower, system.points_focal)
        column = system.column[free] - summed(gather, np.einsum("kij,kj->ki", half, line[whose]))
        matrix[-1, : 6 * m] = matrix[: 6 * m, -1] = column.reshape(-1)
        matrix[-1, -1] = system.ff * (1 + damping) - (line**2).sum()
        right[-1] = float((line * z).sum()) - system.slope_f
    found = cho_solve(cho_factor(matrix, lower=True, check_finite=False), right, check_finite=False)
    cameras = np.zeros((len(free), 6))
    cameras[free] = found[: 6 * m].reshape(m, 6)
    by_focal = float(found[-1]) if focal else 0.0
    back = -system.slope_p - system.points_focal * by_focal
    back -= summed(gathering(whose, len(z)), np.einsum("kij,ki->kj", system.cross[rows], cameras[seen.camera[rows]]))
    points = np.einsum("pji,pj->pi", lower, np.einsum("pij,pj->pi", lower, back))
    return cameras, points, by_focal


def _halves(system: _NormalEquations, damping: float) -> tuple[Float64, Float64]:
    """C^-1 [P, 3, 3] of the damped points' blocks C C^T, and C^-1 times their slope [P, 3]."""
    eye = np.eye(3)
    # The floor keeps a point that nothing pins where it is.
    floor = 1e-12 * (1 + np.trace(system.points, axis1=1, axis2=2))[:, None, None]
    factor = np.linalg.cholesky(system.points + damping * system.points * eye + floor * eye)
    lower = np.linalg.inv(factor)
    return lower, np.einsum("pij,pj->pi", lower, system.slope_p)


def _eliminate(reduced: Float64, half: Float64, spot: Int64, whose: Int64) -> None:
    """reduced [m, 6, m, 6] -= sum over points of half half^T, by dense products over chunks of points."""
    if not len(whose):
        return
    change = np.flatnonzero(np.diff(whose)) + 1
    starts = np.concatenate(([0], change))  # of each point's rows
    ends = np.concatenate((change, [len(whose)]))
    low, high = np.minimum.reduceat(spot, starts), np.maximum.reduceat(spot, starts)
    order = np.lexsort((high, low))
    for at in range(0, len(order), _CHUNK):
        chosen = order[at : at + _CHUNK]
        count = ends[chosen] - starts[chosen]
        number = np.repeat(np.arange(len(chosen)), count)
        rows = np.arange(len(number)) + np.repeat(starts[chosen] - (np.cumsum(count) - count), count)
        first, last = low[chosen].min(), high[chosen].max() + 1
        dense = np.zeros((last - first, 6, len(chosen), 3))
        dense[spot[rows] - first, :, number, :] = half[rows]
        flat = dense.reshape(6 * (last - first), -1)
        reduced[first:last, :, first:last] -= (flat @ flat.T).reshape(last - first, 6, last - first, 6)


def _moved(views: Views, cameras: Float64, points: Float64, log_focal: float) -> Views:
    """The views after a step."""
    focal = views.focal * float(np.exp(np.clip(log_focal, -1, 1)))
    return replace(views.moved(cameras), points=views.points + points, focal=focal)


def adjust(
    views: Views, seen: Observations, *, free: BoolArray, prior: Prior | None = None, focal: bool = False,
    iterations: int = 20, tolerance: float = 1e-4,
) -> tuple[Views, float]:  # fmt: skip
    """The views of the least cost near these, and that cost.

    Args:
        views: where to start.
        seen: the observations, in any order.
        free: bool [M], the cameras that may move. One that may not keeps world and scale where they are.
        prior: of the focal length.
        focal: whether the focal length is solved for.
        iterations: steps tried at most.
        tolerance: the share of the cost below which a step's fall ends it.
    """
    seen = seen.take(np.lexsort((seen.camera, seen.point)))
    problem = LeastSquares(
        cost=lambda v: np.array([_cost(v, seen, prior)]),
        linearise=lambda v: _linearise(v, seen, prior),
        step=lambda v, equations, damping: _moved(v, *_step(equations, seen, free, focal, float(damping[0]))),
        merge=lambda better, new, old: new,
    )
    views, value = levenberg_marquardt(problem, views, iterations, tolerance)
    turn = Rotation.from_matrix(views.rotation).as_matrix()  # rounding does not add up
    return replace(views, rotation=turn), float(value[0])
