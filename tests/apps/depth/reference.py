"""The cost of consistent depth, written out plainly: slow, obviously right, differentiable by autograd."""

from __future__ import annotations

import math

import torch

from trackime_apps.depth.solver import Grid, Problem, SolverConfig
from trackime_apps.depth.solver._normal_equations import NormalEquations
from trackime_apps.depth.solver._state import Layout, SolverState


def theta_at(theta: torch.Tensor, grid: Grid, x: torch.Tensor) -> torch.Tensor:
    """Bilinear interpolation of handles [n] at one point [2]."""
    if grid.count == 1:
        return theta[0]
    table = theta.reshape(grid.ny, grid.nx)
    px, py = float(x[0]) * (grid.nx - 1) / grid.width, float(x[1]) * (grid.ny - 1) / grid.height
    px, py = min(max(px, 0), grid.nx - 1), min(max(py, 0), grid.ny - 1)
    c, r = min(int(px), grid.nx - 2), min(int(py), grid.ny - 2)
    fx, fy = px - c, py - r
    top = (1 - fx) * table[r, c] + fx * table[r, c + 1]
    low = (1 - fx) * table[r + 1, c] + fx * table[r + 1, c + 1]
    return (1 - fy) * top + fy * low


class Reference:
    """Residuals and cost as functions of a step p [F block + globals] from `state`."""

    def __init__(
        self, problem: Problem, config: SolverConfig, state: SolverState, layout: Layout, sigma_shift: float
    ) -> None:
        self.problem, self.config, self.state, self.layout = problem, config, state, layout
        self.sigma_shift = sigma_shift
        unit, m = torch.eye(layout.handles, dtype=torch.float64), problem.matches
        self.weights_i, self.weights_j = (  # [M, handles]
            torch.stack([torch.stack([theta_at(e, state.grid, x) for e in unit]) for x in side])
            for side in (m.x_i, m.x_j)
        )
        self.size = layout.frames * layout.block + layout.globals

    def unknowns(self, p: torch.Tensor):
        frames, block = self.layout.frames, self.layout.block
        step, top = p[: frames * block].reshape(frames, block), p[frames * block :]
        spin = []
        for d in step[:, :3]:
            zero = torch.zeros_like(d[0])
            spin.append(torch.stack((zero, -d[2], d[1], d[2], zero, -d[0], -d[1], d[0], zero)).reshape(3, 3))
        rotation = self.state.rotation @ torch.linalg.matrix_exp(torch.stack(spin))
        log_focal = self.state.log_focal
        if self.layout.free_focal:
            log_focal = log_focal + step[:, 6]
        if self.layout.shared_focal:
            log_focal = log_focal + top[0]
        shift = self.state.shift + top[-1] if self.layout.shift else self.state.shift
        return (
            rotation,
            self.state.center + step[:, 3:6],
            self.state.theta + step[:, self.layout.header :],
            log_focal,
            shift,
        )

    def residuals(self, p: torch.Tensor) -> torch.Tensor:
        """[M, 3], not robust, not weighted."""
        rotation, center, theta, log_focal, shift = self.unknowns(p)
        m, depths = self.problem.matches, []
        middle = torch.tensor([self.problem.width / 2, self.problem.height / 2], dtype=torch.float64)
        for f, weights, d in ((m.i, self.weights_i, m.d_i), (m.j, self.weights_j, m.d_j)):
            base = 1 / (1 / d + shift) if self.problem.disparity else d
            depths.append(torch.exp((weights * theta[f]).sum(1)) * base)
        ray = torch.cat(((m.x_i - middle) / torch.exp(log_focal[m.i])[:, None], torch.ones_like(m.d_i)[:, None]), 1)
        world = torch.einsum("mab,mb->ma", rotation[m.i], ray * depths[0][:, None]) + center[m.i]
        y = torch.einsum("mba,mb->ma", rotation[m.j], world - center[m.j])
        off = y[:, :2] / y[:, 2:] * torch.exp(log_focal[m.j])[:, None] + middle - m.x_j
        if self.config.residual == "default":
            far = (torch.log(y[:, 2]) - torch.log(depths[1])) / self.config.sigma_z
            return torch.cat((off / m.sigma[:, None], far[:, None]), 1)
        return torch.cat((off / middle, (1 / y[:, 2] - 1 / depths[1])[:, None]), 1)

    def squares(self, r: torch.Tensor) -> list[torch.Tensor]:
        """The robust loss's arguments |r|^2 / a^2, a [M] a part."""
        if self.config.residual == "default":
            a = self.config.robust
            return [(r[:, 0] ** 2 + r[:, 1] ** 2) / a**2, r[:, 2] ** 2 / a**2]
        return [(r**2).sum(1) / 0.5**2]

    def plain(self, p: torch.Tensor) -> torch.Tensor:
        """Residuals [R] of the regularisers: half their squares are added to the cost."""
        _, _, theta, log_focal, shift = self.unknowns(p)
        grid, out = self.state.grid, []
        root = math.sqrt(float(self.problem.matches.weight.sum()) / self.problem.frames) * self.config.smooth
        for table in theta.reshape(-1, grid.ny, grid.nx):
            out += [root * (table[1:] - table[:-1]).reshape(-1), root * (table[:, 1:] - table[:, :-1]).reshape(-1)]
            if self.config.gauge == "first":
                out.append(self.config.mean * table.mean()[None])
        prior = (log_focal - math.log(self.problem.focal)) / self.config.sigma_focal
        if self.layout.free_focal:
            out.append(prior)
        if self.layout.shared_focal:
            out.append(prior[:1])
        if self.layout.shift:
            out.append(shift[None] / self.sigma_shift)
        return torch.cat(out)

    def cost(self, p: torch.Tensor) -> torch.Tensor:
        a = self.config.robust if self.config.residual == "default" else 0.5
        parts = self.squares(self.residuals(p))
        data = sum((0.5 * a**2 * self.problem.matches.weight * torch.log(1 + s)).sum() for s in parts)
        return data + 0.5 * (self.plain(p) ** 2).sum()

    def gauss_newton(self) -> torch.Tensor:
        """J' rho' J [size, size] at the state."""
        zero = torch.zeros(self.size, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(self.residuals, zero, vectorize=True)
        parts = [1 / (1 + s) for s in self.squares(self.residuals(zero))]
        w = torch.stack((parts[0], parts[0], parts[-1]), 1) * self.problem.matches.weight[:, None]
        plain = torch.autograd.functional.jacobian(self.plain, zero, vectorize=True)
        flat = jacobian.reshape(-1, self.size)
        return flat.T @ (w.reshape(-1, 1) * flat) + plain.T @ plain


def dense(system: NormalEquations) -> tuple[torch.Tensor, torch.Tensor]:
    """H [F m + g, F m + g] and gradient [F m + g] of block-sparse normal equations."""
    f, m, g = system.border.shape
    full = torch.zeros(f, m, f, m, dtype=torch.float64)
    for k in range(f):
        full[k, :, k] = system.diagonal[k]
    for a, b, link in zip(system.low.tolist(), system.high.tolist(), system.links, strict=True):
        full[a, :, b], full[b, :, a] = link, link.T
    side = system.border.reshape(f * m, g)
    rows = torch.cat((full.reshape(f * m, f * m), side), 1)
    matrix = torch.cat((rows, torch.cat((side.T, system.corner), 1)))
    return matrix, torch.cat((system.slope.reshape(-1), system.slope_top))
