"""Conjugate gradients on the frames' part of the normal equations, preconditioned on two levels.

One level solves each frame by itself, the other the poses and one scale per frame of the whole video together: the
first level corrects drift along the video slowly, the second quickly (Toselli, Widlund, Domain
decomposition methods, 2005, chapter 2; the two are added).
"""

from __future__ import annotations

import torch

from ._cholesky import BlockCholesky, Elimination, NotPositiveError
from ._normal_equations import NormalEquations

GROUP = 16
"""Consecutive frames that make one block of the second level: small ones cost more than their arithmetic."""


class TwoLevel:
    """The preconditioner.

    Args:
        system: damped.
        basis: float64 [F, m, c], the unknowns of the second level: columns span what frames share with each other.

    Raises:
        NotPositiveError: a block is not positive definite.
    """

    def __init__(self, system: NormalEquations, basis: torch.Tensor) -> None:
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
        self._coarse = _grouped(own, links, system.low, system.high)

    def __call__(self, r: torch.Tensor) -> torch.Tensor:
        """[F, m, k] to the same."""
        coarse = self.basis.mT @ r
        frames, c, k = coarse.shape
        groups = -(-frames // GROUP)
        padded = coarse.new_zeros(groups * GROUP, c, k)
        padded[:frames] = coarse
        solved = self._coarse.solve(padded.view(groups, GROUP * c, k)).reshape(-1, c, k)[:frames]
        return (r.mT.contiguous() @ self._inverse).mT + self.basis @ solved


def _grouped(own: torch.Tensor, links: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> BlockCholesky:
    """The factor of a matrix with blocks own [F, c, c] and links [U, c, c] (row low, column high), `GROUP` frames to a
    block; the last one is filled up with ones on the diagonal."""
    frames, c = own.shape[:2]
    groups = -(-frames // GROUP)
    every = torch.arange(groups * GROUP, device=own.device)
    blocks = own.new_zeros(groups, GROUP, GROUP, c, c)
    blocks[every // GROUP, every % GROUP, every % GROUP] = torch.eye(c, dtype=own.dtype, device=own.device)
    f = every[:frames]
    blocks[f // GROUP, f % GROUP, f % GROUP] = own
    rows, columns = low // GROUP, high // GROUP
    same = rows == columns
    blocks[rows[same], low[same] % GROUP, high[same] % GROUP] = links[same]
    blocks[rows[same], high[same] % GROUP, low[same] % GROUP] = links[same].mT
    pairs, pair = torch.unique((rows * groups + columns)[~same], return_inverse=True)
    across = own.new_zeros(len(pairs), GROUP, GROUP, c, c)
    across[pair, low[~same] % GROUP, high[~same] % GROUP] = links[~same]
    diagonal, off = (b.transpose(2, 3).reshape(len(b), GROUP * c, GROUP * c) for b in (blocks, across))
    return BlockCholesky(Elimination.of(groups, pairs // groups, pairs % groups), diagonal, off)


def conjugate_gradients(
    system: NormalEquations, b: torch.Tensor, precondition: TwoLevel, share: float, most: int
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
