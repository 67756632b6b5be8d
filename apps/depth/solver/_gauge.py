"""The gauge: conditions on what the cost leaves free, the pose of the world and its scale.

Every set of frames that matches join has its first frame's pose fixed. The scale: the mean of that frame's handles
keeps its value; or, as the published method has it, every frame's median depth is 1. A mean or a median is one linear
condition c'theta = const on the step of a frame, and a reflection that takes c to an axis makes it a fixed unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ._frame_pairs import FramePairs
from ._normal_equations import NormalEquations
from ._state import Layout, SolverState


@dataclass(frozen=True, eq=False)
class Gauge:
    """Conditions on a step.

    Attributes:
        frames: int64 [S], whose scale is fixed.
        normal: float64 [S, m], of their reflections.
        fixed: bool [F, m], unknowns that do not move once reflected.
    """

    frames: torch.Tensor
    normal: torch.Tensor
    fixed: torch.Tensor

    @classmethod
    def of(cls, layout: Layout, anchors: torch.Tensor, frames: torch.Tensor, condition: torch.Tensor) -> Gauge:
        """Poses of `anchors` fixed, and of `frames` [S] the sum of handles weighted by `condition` [S, n]."""
        fixed = torch.zeros(layout.frames, layout.block, dtype=torch.bool, device=condition.device)
        fixed[anchors, :6] = True
        fixed[frames, layout.header] = True
        unit = condition / condition.norm(dim=1, keepdim=True)
        unit[:, 0] -= 1
        size = unit.norm(dim=1, keepdim=True)
        unit = torch.where(size > 1e-12, unit / size.clamp(min=1e-12), 0)
        normal = condition.new_zeros(len(frames), layout.block)
        normal[:, layout.header :] = unit
        return cls(frames, normal, fixed)

    def apply(self, system: NormalEquations) -> None:
        """Put the conditions into the equations, in place."""
        system.reflect(self.frames, self.normal)
        system.fix(self.fixed)

    def back(self, step: torch.Tensor) -> torch.Tensor:
        """A step [F, m, ...] of the conditioned equations as a step of the unknowns (and the other way round)."""
        step = step.clone()
        part = step[self.frames].reshape(len(self.frames), self.normal.shape[1], -1)
        part = part - 2 * self.normal[..., None] * (self.normal[:, None, :] @ part)
        step[self.frames] = part.view_as(step[self.frames])
        return step

    def basis(self, layout: Layout) -> torch.Tensor:
        """[F, m, c]: pose (and free focal) and scale of each frame, in the conditioned equations."""
        p = layout.header
        basis = self.normal.new_zeros(layout.frames, layout.block, p + 1)
        head = torch.arange(p, device=basis.device)
        basis[:, head, head] = 1
        basis[:, p:, p] = 1
        return self.back(basis) * (~self.fixed)[..., None]


class FirstScale:
    """The mean of the anchors' handles keeps its value."""

    def __init__(self, layout: Layout, anchors: torch.Tensor) -> None:
        self.layout, self.anchors = layout, anchors

    def gauge(self, state: SolverState) -> Gauge:
        """The conditions at `state`."""
        condition = state.theta.new_ones(len(self.anchors), self.layout.handles)
        return Gauge.of(self.layout, self.anchors, self.anchors, condition)

    def settle(self, state: SolverState) -> SolverState:
        """`state` as it is: a linear condition holds by itself."""
        return state


class MedianScale:
    """The median depth of every frame, over its matches' ends, is 1."""

    def __init__(self, layout: Layout, anchors: torch.Tensor, pairs: FramePairs) -> None:
        self.layout, self.anchors = layout, anchors
        m = pairs.matches
        frame = torch.cat((m.i, m.j))
        order = torch.argsort(frame, stable=True)
        self._frame, self._x = frame[order], torch.cat((m.x_i, m.x_j))[order]
        self._log_d = torch.cat((m.d_i, m.d_j))[order].log()
        self._count = torch.bincount(frame, minlength=layout.frames)
        self._seen = (self._count > 0).nonzero()[:, 0]

    def _medians(self, state: SolverState) -> tuple[torch.Tensor, torch.Tensor]:
        """The place [F'] among the samples, and the log of the depth, of the median sample of each frame seen."""
        handles, weights = state.grid.place(self._x)
        theta = state.theta.reshape(-1)[handles + self._frame * self.layout.handles]
        depth = (theta * weights).sum(0) + self._log_d
        by_depth = torch.argsort(depth, stable=True)
        order = by_depth[torch.argsort(self._frame[by_depth], stable=True)]
        first = torch.cumsum(self._count, 0) - self._count
        middle = order[(first + (self._count - 1).clamp(min=0) // 2)[self._seen]]
        return middle, depth[middle]

    def gauge(self, state: SolverState) -> Gauge:
        """The conditions at `state`: the median sample stays where it is."""
        middle, _ = self._medians(state)
        handles, weights = state.grid.place(self._x[middle])
        condition = state.theta.new_zeros(len(middle), self.layout.handles)
        condition.scatter_add_(1, handles.T, weights.T)
        return Gauge.of(self.layout, self.anchors, self._seen, condition)

    def settle(self, state: SolverState) -> SolverState:
        """`state` with every frame's depth scaled to a median of 1."""
        _, depth = self._medians(state)
        shift = state.theta.new_zeros(state.frames)
        shift[self._seen] = depth
        return replace(state, theta=state.theta - shift[:, None])


ScaleGauge = FirstScale | MedianScale
