"""Screened Poisson systems on an image: (C + L) v = r with a diagonal C and the weighted Laplacian L of its pixels.

Conjugate gradients (scipy) with a multigrid cycle as preconditioner: blocks of 2 x 2 pixels become one of the next
level, whose links are those between the blocks (Briggs, Henson and McCormick 2000, "A multigrid tutorial", chapters 3
and 8).
"""

from __future__ import annotations

import numpy as np

from trackime.arrays import Float32, FloatArray

DAMPING = 0.8
"""Damping of the Jacobi smoothing."""
SMOOTHINGS = 2
"""Smoothing steps before and after each correction."""
SMALLEST = 64
"""Pixels of the coarsest level, at most."""


class ScreenedPoisson:
    """The system of one image.

    Args:
        diagonal: float32 [H, W], 0 or more, above 0 somewhere.
        across, down: float32 [H, W - 1] and [H - 1, W], links above 0.
    """

    def __init__(self, diagonal: Float32, across: Float32, down: Float32) -> None:
        self.levels = [_Level(diagonal, across, down)]
        while self.levels[-1].diagonal.size > SMALLEST:
            self.levels.append(self.levels[-1].coarsened())

    def solve(self, right: Float32, start: Float32 | None = None, tolerance: float = 1e-4, most: int = 60) -> Float32:
        """v float32 [H, W], until the residual is `tolerance` of the right side, or `most` iterations.

        Without a start it is that of full multigrid.
        """
        from scipy.sparse.linalg import LinearOperator, cg

        shape, n = right.shape, right.size
        first = self.full_multigrid(right) if start is None else start
        system, cycle = (
            LinearOperator((n, n), matvec=lambda x, f=f: f(x.reshape(shape)).ravel(), dtype=np.float32)
            for f in (self.levels[0].apply, self.v_cycle)
        )
        found, _ = cg(system, right.ravel(), x0=first.ravel(), rtol=tolerance, maxiter=most, M=cycle)
        return np.asarray(found, np.float32).reshape(shape)

    def full_multigrid(self, right: Float32) -> Float32:
        """A start: from the coarsest level up, two cycles per level (full multigrid)."""
        rights = [right]
        for level in self.levels[:-1]:
            rights.append(level.restrict(rights[-1]))
        x: Float32 = np.zeros(rights[-1].shape, np.float32)
        for depth in range(len(self.levels) - 1, -1, -1):
            level = self.levels[depth]
            if depth < len(self.levels) - 1:
                x = level.prolong(x)
            x += self.v_cycle(rights[depth] - level.apply(x), depth)
        return x

    def v_cycle(self, right: Float32, depth: int = 0) -> Float32:
        """An approximate solution: one V-cycle from 0, symmetric, so that conjugate gradients may use it."""
        level = self.levels[depth]
        if depth == len(self.levels) - 1:
            return level.solve_directly(right)
        x: Float32 = level.jacobi * right
        for _ in range(SMOOTHINGS - 1):
            x += level.jacobi * (right - level.apply(x))
        x += level.prolong(self.v_cycle(level.restrict(right - level.apply(x)), depth + 1))
        for _ in range(SMOOTHINGS):
            x += level.jacobi * (right - level.apply(x))
        return x


class _Level:
    def __init__(self, diagonal: Float32, across: Float32, down: Float32) -> None:
        self.diagonal, self.across, self.down = diagonal, across, down
        whole = diagonal.copy()
        whole[:, 1:] += across
        whole[:, :-1] += across
        whole[1:] += down
        whole[:-1] += down
        self.whole = np.maximum(whole, np.float32(1e-20))
        self.jacobi: Float32 = np.asarray(np.float32(DAMPING) / self.whole, np.float32)
        self._inverse: FloatArray | None = None

    def apply(self, x: Float32) -> Float32:
        """The system times [h, w]."""
        out: Float32 = self.diagonal * x
        flow = self.across * (x[:, 1:] - x[:, :-1])
        out[:, 1:] += flow
        out[:, :-1] -= flow
        flow = self.down * (x[1:] - x[:-1])
        out[1:] += flow
        out[:-1] -= flow
        return out

    def coarsened(self) -> _Level:
        """Blocks of 2 x 2. Half the sum of the links: a step between blocks is two pixels long."""
        across = _pairs(self.across[:, 1::2], 0) / 2
        down = _pairs(self.down[1::2], 1) / 2
        return _Level(self.restrict(self.diagonal), across.astype(np.float32), down.astype(np.float32))

    def restrict(self, x: Float32) -> Float32:
        """Sums over the blocks."""
        return _pairs(_pairs(x, 0), 1)

    def prolong(self, x: Float32) -> Float32:
        """A block's value in each of its pixels."""
        h, w = self.diagonal.shape
        return x.repeat(2, 0)[:h].repeat(2, 1)[:, :w]

    def solve_directly(self, right: Float32) -> Float32:
        """The solution on few pixels, by the inverse."""
        inverse = self._inverse
        if inverse is None:
            n = self.diagonal.size
            columns = np.eye(n, dtype=np.float32).reshape(n, *self.diagonal.shape)
            matrix = np.stack([self.apply(column).ravel() for column in columns]).astype(np.float64)
            inverse = self._inverse = np.linalg.pinv((matrix + matrix.T) / 2, hermitian=True)
        return np.asarray(inverse @ right.ravel(), np.float32).reshape(right.shape)


def _pairs(x: Float32, axis: int) -> Float32:
    """Sums of neighbours 2k and 2k + 1; an odd last one stays alone."""
    even = x[::2] if axis == 0 else x[:, ::2]
    odd = x[1::2] if axis == 0 else x[:, 1::2]
    out: Float32 = even.copy()
    if axis == 0:
        out[: len(odd)] += odd
    else:
        out[:, : odd.shape[1]] += odd
    return out
