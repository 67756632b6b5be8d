"""One damped step: the frames' unknowns by conjugate gradients or block Cholesky, the globals last (Schur)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ._cholesky import BlockCholesky, Elimination, NotPositiveError
from ._conjugate_gradients import TwoLevel, conjugate_gradients
from ._normal_equations import NormalEquations

MEMORY = 2**31
"""Bytes of a factor above which `auto` does not fall back on block Cholesky."""
PATIENCE = 200
"""Iterations of conjugate gradients after which `auto` does."""
MOST = 2000
"""Most iterations of "pcg", which has no fallback."""


@dataclass(frozen=True)
class LinearSolver:
    """The solver of the steps of one stage.

    Attributes:
        plan: the elimination.
        method: "pcg", "cholesky", or "auto": conjugate gradients, and block Cholesky for a step they do not end for.
        share: of the residual at which conjugate gradients end.
    """

    plan: Elimination
    method: str
    share: float = 1e-3

    def solve(self, system: NormalEquations, basis: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
        """The step [F, m] and [g] of a damped system, and iterations taken.

        Raises:
            NotPositiveError: more damping is needed.
        """
        right = torch.cat((-system.slope[..., None], system.border), 2)  # [F, m, 1 + g]
        taken, solved = 0, None
        if self.method != "cholesky":
            exact_next = self.method == "auto" and self.plan.memory(right.shape[1]) <= MEMORY
            most = PATIENCE if exact_next else MOST
            solved, taken = conjugate_gradients(system, right, TwoLevel(system, basis), self.share, most)
            if exact_next and taken == most:
                solved = None
        if solved is None:
            solved = BlockCholesky(self.plan, system.diagonal, system.links).solve(right)
        x, side = solved[..., 0], solved[..., 1:]
        if not system.corner.numel():
            return x, system.slope_top, taken
        schur = system.corner - torch.einsum("fma,fmb->ab", system.border, side)
        factor_top, failed = torch.linalg.cholesky_ex((schur + schur.T) / 2)
        if int(failed):
            raise NotPositiveError
        rest = -system.slope_top - torch.einsum("fma,fm->a", system.border, x)
        top = torch.cholesky_solve(rest[:, None], factor_top)[:, 0]
        return x - side @ top, top, taken
