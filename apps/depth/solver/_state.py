"""The unknowns of the solver, and how a step changes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ._rotations import exp_rotation, orthonormal
from .handles import Grid


@dataclass(frozen=True)
class Layout:
    """The order of the unknowns: a block per frame (pose, focal where free, handles), then the globals.

    A frame's block: rotation 0 .. 2, position 3 .. 5, logarithm of the focal 6 where it is free, then handles.

    Attributes:
        frames: F.
        handles: of a frame.
        free_focal, shared_focal: at most one of them.
        shift: one shift of the disparity.
    """

    frames: int
    handles: int
    free_focal: bool
    shared_focal: bool
    shift: bool

    @property
    def header(self) -> int:
        """Unknowns of a frame before its handles."""
        return 7 if self.free_focal else 6

    @property
    def block(self) -> int:
        """Unknowns of a frame."""
        return self.header + self.handles

    @property
    def globals(self) -> int:
        """Unknowns of the whole video: the focal, then the shift."""
        return int(self.shared_focal) + int(self.shift)


@dataclass(frozen=True, eq=False)
class SolverState:
    """Values of the unknowns.

    Attributes:
        rotation: float64 [F, 3, 3], camera to world.
        center: float64 [F, 3], positions of the cameras in the world.
        theta: float64 [F, n], handles of `grid`.
        log_focal: float64 [F], of pixels; all the same where it is shared.
        shift: float64 [], added to the initial disparity.
        grid: the handles' places.
    """

    rotation: torch.Tensor
    center: torch.Tensor
    theta: torch.Tensor
    log_focal: torch.Tensor
    shift: torch.Tensor
    grid: Grid

    @property
    def frames(self) -> int:
        """F."""
        return self.rotation.shape[0]

    def moved(self, layout: Layout, step: torch.Tensor, top: torch.Tensor) -> SolverState:
        """After a step float64 [F, block] of the frames and [globals] of the rest: R exp(delta), the others added."""
        log_focal = self.log_focal
        if layout.free_focal:
            log_focal = log_focal + step[:, 6]
        elif layout.shared_focal:
            log_focal = log_focal + top[0]
        return SolverState(
            orthonormal(self.rotation @ exp_rotation(step[:, :3])),
            self.center + step[:, 3:6],
            self.theta + step[:, layout.header :],
            log_focal,
            self.shift + top[-1] if layout.shift else self.shift,
            self.grid,
        )

    def refined(self, grid: Grid) -> SolverState:
        """The same depth on a finer grid."""
        return replace(self, theta=self.grid.upsampled(self.theta, grid), grid=grid)

    def finite(self) -> bool:
        """No NaN, no infinity."""
        values = (self.rotation, self.center, self.theta, self.log_focal, self.shift)
        return all(bool(torch.isfinite(v).all()) for v in values)
