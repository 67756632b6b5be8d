"""The solver of consistent depth against Ceres on the same residuals; skipped where pyceres is not installed."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.solver_scene import make_scene
from tests.apps.depth.reference import Reference
from trackime_apps.depth.solver import Grid, SolverConfig, solve
from trackime_apps.depth.solver._state import Layout, SolverState

pyceres = pytest.importorskip("pyceres")


class Rows:
    """Residuals of all matches and regularisers in a row, and their derivatives, by autograd, made once a point.

    Ceres moves y; the unknowns are basis @ y.
    """

    def __init__(self, reference: Reference, basis: torch.Tensor) -> None:
        self.reference, self.basis = reference, basis
        self._at: bytes = b""
        self._value: np.ndarray | None = None
        self._slope: np.ndarray | None = None

    def _rows(self, y: torch.Tensor) -> torch.Tensor:
        p = self.basis @ y
        return torch.cat((self.reference.residuals(p).reshape(-1), self.reference.plain(p)))

    def value(self, y: np.ndarray) -> np.ndarray:
        if self._at != y.tobytes() or self._value is None:
            self._at, self._slope = y.tobytes(), None
            self._value = self._rows(torch.from_numpy(y.copy())).numpy()
        return self._value

    def slope(self, y: np.ndarray) -> np.ndarray:
        self.value(y)
        if self._slope is None:
            at = torch.from_numpy(y.copy())
            self._slope = torch.autograd.functional.jacobian(self._rows, at, vectorize=True).numpy()
        return self._slope


class Part(pyceres.CostFunction):
    """Some of the rows, as one residual block."""

    def __init__(self, rows: Rows, which: slice, size: int) -> None:
        super().__init__()
        self.rows, self.which = rows, which
        self.set_num_residuals(which.stop - which.start)
        self.set_parameter_block_sizes([size])

    def Evaluate(self, parameters: Any, residuals: Any, jacobians: Any) -> bool:  # the name is pyceres's
        y = np.asarray(parameters[0])
        residuals[:] = self.rows.value(y)[self.which]
        if jacobians is not None:
            jacobians[0][:] = self.rows.slope(y)[self.which].reshape(-1)
        return True


def free(layout: Layout) -> torch.Tensor:
    """[unknowns, y]: the first frame's pose stays, and the sum of its handles."""
    size, p, n = layout.frames * layout.block + layout.globals, layout.header, layout.handles
    eye = torch.eye(size, dtype=torch.float64)
    balanced = torch.linalg.qr(torch.cat((torch.ones(n, 1), torch.eye(n)[:, 1:]), 1).double())[0][:, 1:]
    first = torch.zeros(size, n - 1, dtype=torch.float64)
    first[p : p + n] = balanced
    return torch.cat((first, eye[:, layout.block :]), 1)


@pytest.mark.parametrize("residual", ["default", "rcvd"])
def test_the_same_cost(residual: str) -> None:
    scene = make_scene(3, 60, noise=0.5, scale=0.1, seed=7)
    config = SolverConfig(residual=residual, grid="6x4", tolerance=1e-12, iterations=300)
    problem = replace(scene.problem, poses=scene.poses, focal=scene.focal)
    ours = solve(problem, config)

    grid = Grid.named("6x4", problem.width, problem.height)
    layout = Layout(3, grid.count, False, True, False)
    like = scene.poses.new_zeros
    focal = torch.full((3,), math.log(problem.focal), dtype=torch.float64)
    start = SolverState(scene.poses[:, :3, :3], scene.poses[:, :3, 3], like(3, grid.count), focal, like(()), grid)
    basis = free(layout)
    rows = Rows(Reference(problem, config, start, layout, 1.0), basis)
    y, count = np.zeros(basis.shape[1]), len(problem.matches)
    ceres, parts = pyceres.Problem(), []
    scale = config.robust if residual == "default" else 0.5
    cuts = (0, 2, 3) if residual == "default" else (0, 3)
    for k in range(count):
        for a, b in itertools.pairwise(cuts):
            parts.append(Part(rows, slice(3 * k + a, 3 * k + b), len(y)))
            ceres.add_residual_block(parts[-1], pyceres.CauchyLoss(scale), [y])
    parts.append(Part(rows, slice(3 * count, len(rows.value(y))), len(y)))
    ceres.add_residual_block(parts[-1], None, [y])
    options, summary = pyceres.SolverOptions(), pyceres.SolverSummary()
    options.max_num_iterations, options.function_tolerance = 300, 1e-12
    options.linear_solver_type = pyceres.LinearSolverType.DENSE_QR
    pyceres.solve(options, ceres, summary)
    assert summary.final_cost < 0.9 * summary.initial_cost
    assert ours.cost == pytest.approx(summary.final_cost, rel=1e-6)
