"""One damped step: the frames' unknowns by conjugate gradients or block Cholesky, the globals last (Schur)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .cholesky import BlockCholesky, Elimination, NotPositiveError
from .gradients import TwoLevel, conjugate_gradients
from .system import System

MEMORY = 2**30
"""Bytes of a factor above which `auto` takes conjugate gradients."""
OPERATIONS = 60.0
"""Operations a frame, in cubes of its unknowns, above which `auto` takes conjugate gradients."""


@dataclass(frozen=True)
class Linear:
    """How steps of one stage are solved for.

    Attributes:
        plan: the elimination.
        exact: block Cholesky; otherwise conjugate gradients.
        share: of the residual at which conjugate gradients end.
        most: their iterations.
    """

    plan: Elimination
    exact: bool
    share: float = 1e-3
    most: int = 500

    @classmethod
    def choose(cls, name: str, plan: Elimination, block: int, share: float) -> Linear:
        """By name: "pcg", "cholesky", or "auto": Cholesky where the order of elimination keeps it cheap."""
        few = plan.operations(block) <= OPERATIONS * block**3 * len(plan.order) and plan.memory(block) <= MEMORY
        return cls(plan, name == "cholesky" or (name == "auto" and few), share)

    def solve(self, system: System, basis: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
        """The step [F, m] and [g] of a damped system, and iterations taken.

        Raises:
            NotPositiveError: more damping is needed.
        """
        right = torch.cat((-system.slope[..., None], system.border), 2)  # [F, m, 1 + g]
        taken = 0
        if self.exact:
            factor = BlockCholesky(self.plan, system.diagonal, system.links)
            solved = factor.solve(right)
        else:
            solved, taken = conjugate_gradients(
                system, right, TwoLevel(system, basis, self.plan), self.share, self.most
            )
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
