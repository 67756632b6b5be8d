"""Conjugate gradients on the frames' part of the normal equations, preconditioned on two levels.

One level solves each frame by itself, the other the poses and one scale a frame of the whole video together: drift
along the video is slow to travel from frame to frame, and quick on the second level (Toselli, Widlund, Domain
decomposition methods, 2005, chapter 2; the two are added).
"""

from __future__ import annotations

import torch

from .cholesky import BlockCholesky, Elimination, NotPositiveError
from .system import System

DENSE = 3000
"""Unknowns of the second level up to which it is solved as one dense matrix."""


class TwoLevel:
    """The preconditioner.

    Args:
        system: damped.
        basis: float64 [F, m, c], the unknowns of the second level: columns span what frames share with each other.
        plan: order of elimination of the frames.

    Raises:
        NotPositiveError: a block is not positive definite.
    """

    def __init__(self, system: System, basis: torch.Tensor, plan: Elimination) -> None:
        self.basis = basis
        factors, failed = torch.linalg.cholesky_ex(system.diagonal)
        if bool(failed.any()):
            raise NotPositiveError
        # As a preconditioner an inverse is accurate enough, and products with it are twice as fast as two triangles.
        self._inverse = torch.cholesky_inverse(factors)
        own = basis.mT @ system.diagonal @ basis
        links = basis[system.low].mT @ system.links @ basis[system.high]
        empty = own.diagonal(dim1=1, dim2=2) <= 0  # unknowns that are fixed
        own.diagonal(dim1=1, dim2=2).add_(empty.to(own.dtype))
        frames, c = own.shape[:2]
        self._sparse: BlockCholesky | None = None
        if frames * c > DENSE:
            self._sparse = BlockCholesky(plan, own, links)
            return
        full = own.new_zeros(frames, frames, c, c)
        every = torch.arange(frames, device=own.device)
        full[every, every] = own
        full[system.low, system.high] = links
        full[system.high, system.low] = links.mT
        self._dense, failed = torch.linalg.cholesky_ex(full.transpose(1, 2).reshape(frames * c, frames * c))
        if int(failed):
            raise NotPositiveError

    def __call__(self, r: torch.Tensor) -> torch.Tensor:
        """[F, m, k] to the same."""
        coarse = self.basis.mT @ r
        if self._sparse is not None:
            coarse = self._sparse.solve(coarse)
        else:
            flat = coarse.reshape(-1, r.shape[-1])
            coarse = torch.cholesky_solve(flat, self._dense).view_as(coarse)
        return (r.mT.contiguous() @ self._inverse).mT + self.basis @ coarse


def conjugate_gradients(
    system: System, b: torch.Tensor, precondition: TwoLevel, share: float, most: int
) -> tuple[torch.Tensor, int]:
    """x [F, m, k] with A x = b, each column by itself, and the iterations taken.

    Args:
        system: A is the frames' part of it.
        b: float64 [F, m, k].
        precondition: see `TwoLevel`.
        share: of a column's first residual, in the preconditioner's norm, at which it ends.
        most: iterations.
    """
    x, r = torch.zeros_like(b), b.clone()
    z = precondition(r)
    d = z.clone()
    size = (r * z).sum((0, 1))
    end = size * share**2
    taken = 0
    for _ in range(most):
        if bool((size <= end).all()):
            break
        taken += 1
        product = system.times(d)
        bend = (d * product).sum((0, 1))
        # Columns that have ended stay as they are.
        alpha = torch.where((size > end) & (bend > 0), size / bend.clamp(min=1e-300), 0)
        x += alpha * d
        r -= alpha * product
        z = precondition(r)
        after = (r * z).sum((0, 1))
        beta = torch.where(size > 0, after / size.clamp(min=1e-300), 0)
        d = z + beta * d
        size = after
    return x, taken
