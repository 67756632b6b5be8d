"""The result of the solver of consistent depth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.spatial.transform import Rotation, Slerp

from trackime.errors import InputError, ShapeError

from ._levenberg import StageTrace
from ._state import SolverState
from .handles import Grid


@dataclass(frozen=True, eq=False)
class Solution:
    """Cameras and the correction of depth of every frame.

    Attributes:
        poses: float64 [F, 4, 4], camera-to-world, OpenCV axes; the world is the first camera.
        focal: float64 [F] pixels; the principal point is (W/2, H/2).
        theta: float64 [F, ny, nx], logarithms of the factors on depth at the handles.
        shift: added to the initial disparity; 0 where the backend gives depth.
        component: int64 [F], the first of the frames that matches join a frame with. Poses of different components
            are unrelated. A frame without any match is its own; its camera is interpolated.
        traces: a stage each.
        grid: where the handles are.
        disparity: the initial depth has a shift in disparity.
    """

    poses: torch.Tensor
    focal: torch.Tensor
    theta: torch.Tensor
    shift: float
    component: torch.Tensor
    traces: tuple[StageTrace, ...]
    grid: Grid
    disparity: bool

    @property
    def cost(self) -> float:
        """The robust cost at the end."""
        return self.traces[-1].costs[-1] if self.traces else 0.0

    @property
    def dropped(self) -> int:
        """Matches behind the camera, or beyond infinity, at the end."""
        return self.traces[-1].dropped[-1] if self.traces else 0

    def depth(self, frame: int, initial: torch.Tensor) -> torch.Tensor:
        """The corrected depth map of a frame, in units of the cameras.

        Args:
            frame: its index.
            initial: floating [h, w], the backend's depth over the whole frame at any resolution; where the backend
                gives disparity, 1 / disparity. 0, NaN and negative: unknown.

        Returns:
            float [h, w] of the same type; 0 where the depth is unknown, or beyond infinity once shifted.
        """
        if not 0 <= frame < len(self.focal):
            raise InputError(f"frame: expected 0 .. {len(self.focal) - 1}, got {frame}")
        if initial.ndim != 2 or not initial.is_floating_point():
            raise ShapeError("initial", "[h, w], floating", initial.shape)
        theta = self.theta[frame].reshape(-1).to(initial.device, initial.dtype)
        factor = self.grid.maps(theta, *initial.shape).exp()
        if self.disparity:
            disparity = initial.reciprocal() + self.shift
            good = (initial > 0) & (disparity > 0)
            return torch.where(good, factor / torch.where(good, disparity, 1), 0)
        good = (initial > 0) & torch.isfinite(initial)
        return torch.where(good, factor * torch.where(good, initial, 0), 0)

    @classmethod
    def of(cls, state: SolverState, component: torch.Tensor, traces: list[StageTrace], disparity: bool) -> Solution:
        """From the solver's unknowns: on the CPU, the world moved to the first camera."""
        rotation, center, theta = (v.cpu() for v in (state.rotation, state.center, state.theta))
        rotation, center, theta = _bridge(rotation, center, theta, component)
        first = rotation[0].T
        poses = torch.eye(4, dtype=torch.float64).repeat(len(rotation), 1, 1)
        poses[:, :3, :3] = first @ rotation
        poses[:, :3, 3] = (center - center[0]) @ first.T
        grid = state.grid
        theta = theta.reshape(-1, grid.ny, grid.nx)
        focal = state.log_focal.cpu().exp()
        return cls(poses, focal, theta, float(state.shift), component, tuple(traces), grid, disparity)


def _bridge(
    rotation: torch.Tensor, center: torch.Tensor, theta: torch.Tensor, component: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Frames that no match joins to another get the camera and the scale between those of the frames around them."""
    every = torch.arange(len(component))
    alone = torch.bincount(component, minlength=len(component))[component] == 1
    known = every[~alone]
    if not len(known) or not bool(alone.any()):
        return rotation, center, theta
    rotation, center, theta = rotation.clone(), center.clone(), theta.clone()
    for k in every[alone].tolist():
        before, after = known[known < k], known[known > k]
        a = int(before[-1]) if len(before) else int(after[0])
        b = int(after[0]) if len(after) else a
        if component[a] != component[b]:  # nothing is known of the way from one to the other
            b = a
        part = (k - a) / (b - a) if b != a else 0.0
        between = Slerp([0, 1], Rotation.from_matrix(rotation[[a, b]].numpy()))
        rotation[k] = torch.from_numpy(between(part).as_matrix())
        center[k] = (1 - part) * center[a] + part * center[b]
        theta[k] = (1 - part) * theta[a] + part * theta[b]
    return rotation, center, theta
