"""Residuals of matches, their robust cost, and their derivatives in closed form.

A match i -> j lifts x_i with the corrected depth d'_i, moves it into camera j and compares there:

    default    [(pi(Y) - x_j) / sigma_px, (log z - log d'_j) / sigma_z], a Cauchy loss on each of the two parts
    rcvd       [pi(Y) - x_j in [-1, 1] image coordinates, 1/z - 1/d'_j], a Cauchy loss of 0.5 on the whole
               (Kopf, Rong, Huang, CVPR 2021, equations 4 - 6)

The loss is a^2/2 log(1 + |r|^2 / a^2), times the weight of the match. d' = exp(theta(x)) d, or, for disparity with a
shift s, d' = exp(theta(x)) / (1/d + s). A match behind the camera (z <= 0) or beyond infinity (1/d + s <= 0) is
dropped: it has no derivatives and costs as much as an error of the frame's diagonal and ten times the depth, so that
moving points behind the camera never lowers the cost.

Derivatives are taken for a twist of the pair's relative motion, Y + omega x Y + v, instead of both poses: with
(u, v) = (x, y) / z, d(u, v) and d log z are the interaction matrix of visual servoing (Chaumette, Hutchinson 2006,
equation 11). `twists` maps the poses' updates to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ._frame_pairs import FramePairs
from ._rotations import cross_matrix
from ._state import Layout, SolverState
from .config import SolverConfig

RCVD_ROBUST = 0.5
"""Cauchy's scale of the published residual."""
PLANE = 1e-8
"""Share of the lifted depth in front of the camera below which a point counts as behind it."""


@dataclass(frozen=True)
class ResidualSettings:
    """Parameters of residuals besides matches and unknowns: a frame's size, the config, the loss's scale."""

    width: int
    height: int
    disparity: bool
    config: SolverConfig
    widen: float = 1.0

    @property
    def robust(self) -> float:
        """Cauchy's scale; `widen` makes the loss less robust while far from the solution."""
        return (self.config.robust if self.config.residual == "default" else RCVD_ROBUST) * self.widen


class RelativeMotions:
    """Unknowns as matches need them: relative motions and focals of directed pairs, handles in a row."""

    def __init__(self, state: SolverState, pairs: FramePairs) -> None:
        r_i, r_j = state.rotation[pairs.i], state.rotation[pairs.j]
        self.to_j = r_j.mT  # [P, 3, 3] world to camera j
        self.rotation = self.to_j @ r_i  # [P, 3, 3]
        self.translation = (self.to_j @ (state.center[pairs.i] - state.center[pairs.j])[..., None])[..., 0]
        focal = state.log_focal.exp()
        rows = torch.cat((self.rotation.reshape(-1, 9), self.translation), 1).T
        self.table = torch.cat((rows, focal[pairs.i][None], focal[pairs.j][None])).contiguous()  # [14, P]
        self.theta = state.theta.reshape(-1)
        self.grid, self.handles, self.shift = state.grid, state.theta.shape[1], state.shift

    def twists(self) -> torch.Tensor:
        """[P, 6, 12]: (omega, v) in camera j of the updates (delta_i, t_i, delta_j, t_j) of both poses."""
        out = self.rotation.new_zeros(len(self.rotation), 6, 12)
        out[:, :3, :3] = self.rotation
        out[:, :3, 6:9] = -torch.eye(3, dtype=out.dtype, device=out.device)
        out[:, 3:, :3] = cross_matrix(self.translation) @ self.rotation
        out[:, 3:, 3:6], out[:, 3:, 9:] = self.to_j, -self.to_j
        return out


class MatchResiduals:
    """Matches of one chunk at given unknowns: residuals, weights, and what their derivatives are made of.

    Attributes:
        residual: float64 [3, m].
        loss: float64 [m], half the robust cost times the weight.
        weights: float64 [3, m], of the squared residuals in the reweighted least squares; 0 where dropped.
        good: bool [m], not dropped.
    """

    def __init__(self, view: RelativeMotions, pairs: FramePairs, chunk: slice, settings: ResidualSettings) -> None:
        config, m = settings.config, pairs.matches
        pair = pairs.pair[chunk]
        (
            self.r00, self.r01, self.r02, self.r10, self.r11, self.r12, self.r20, self.r21, self.r22,
            tx, ty, tz, f_i, f_j,
        ) = view.table.index_select(1, pair)  # fmt: skip
        x_i, x_j, weight, sigma = m.x_i[chunk], m.x_j[chunk], m.weight[chunk], m.sigma[chunk]
        self.handles_i, self.weights_i = view.grid.place(x_i)
        self.handles_j, self.weights_j = view.grid.place(x_j)
        theta_i = (view.theta[self.handles_i + pairs.i[pair] * view.handles] * self.weights_i).sum(0)
        theta_j = (view.theta[self.handles_j + pairs.j[pair] * view.handles] * self.weights_j).sum(0)
        if settings.disparity:
            e_i, e_j = m.d_i[chunk].reciprocal() + view.shift, m.d_j[chunk].reciprocal() + view.shift
            near = (e_i > 0) & (e_j > 0)
            self.e_i, self.e_j = (torch.where(near, e, 1).reciprocal() for e in (e_i, e_j))
            log_i, log_j = theta_i + self.e_i.log(), theta_j + self.e_j.log()
        else:
            log_i, log_j = theta_i + m.d_i[chunk].log(), theta_j + m.d_j[chunk].log()
        d = log_i.exp()
        cx, cy = settings.width / 2, settings.height / 2
        px, py = (x_i[:, 0] - cx) / f_i * d, (x_i[:, 1] - cy) / f_i * d
        self.qx = self.r00 * px + self.r01 * py + self.r02 * d
        self.qy = self.r10 * px + self.r11 * py + self.r12 * d
        self.qz = self.r20 * px + self.r21 * py + self.r22 * d
        z = self.qz + tz
        self.good = z > PLANE * d
        if settings.disparity:
            self.good &= near
        z = torch.where(self.good, z, 1)
        if not bool(self.good.all()):  # nothing infinite may reach the sums, not even times zero
            self.qx, self.qy, self.qz, d = (torch.where(self.good, v, 0) for v in (self.qx, self.qy, self.qz, d))
        self.u, self.v, self.z, self.d, self.f_j = (self.qx + tx) / z, (self.qy + ty) / z, z, d, f_j
        ex, ey = f_j * self.u + (cx - x_j[:, 0]), f_j * self.v + (cy - x_j[:, 1])
        self.off = (ex, ey)
        a2 = settings.robust**2
        if config.residual == "default":
            self.sx = self.sy = sigma.reciprocal()
            self.residual = torch.stack((ex * self.sx, ey * self.sx, (z.log() - log_j) / config.sigma_z))
            self.along, self.other = 1 / config.sigma_z, -1 / config.sigma_z
            square = self.residual.square()
            parts = torch.stack((square[0] + square[1], square[2])) / a2
            loss = torch.log1p(parts).sum(0)
            w = (1 + parts).reciprocal() * (weight * self.good)
            self.weights = torch.stack((w[0], w[0], w[1]))
            diagonal = (settings.width**2 + settings.height**2) / a2 * self.sx.square()
            dropped = torch.log1p(diagonal) + math.log1p((math.log(10) / config.sigma_z) ** 2 / a2)
        else:
            self.sx, self.sy = torch.full_like(z, 2 / settings.width), torch.full_like(z, 2 / settings.height)
            inverse = torch.exp(-log_j)
            self.residual = torch.stack((ex * self.sx, ey * self.sy, z.reciprocal() - inverse))
            self.along, self.other = -z.reciprocal(), inverse  # type: ignore[assignment]
            part = self.residual.square().sum(0) / a2
            loss = torch.log1p(part)
            self.weights = ((1 + part).reciprocal() * (weight * self.good)).expand(3, -1)
            dropped = torch.full_like(z, math.log1p(9 / a2))
        self.loss = torch.where(self.good, loss, dropped) * weight * (a2 / 2)

    def jacobian(self, layout: Layout) -> torch.Tensor:
        """float64 [3, columns, m]: derivatives by the twist (6), focal (1 shared; 2 free: of i, of j), shift, theta at
        x_i, theta at x_j; the residual is the last column."""
        u, v, inverse = self.u, self.v, self.z.reciprocal()
        fx, fy, along = self.f_j * self.sx, self.f_j * self.sy, self.along
        focals = 2 if layout.free_focal else int(layout.shared_focal)
        base = 6 + focals + int(layout.shift)
        out = torch.zeros(3, base + 3, len(u), dtype=u.dtype, device=u.device)
        x, y, z = out
        uv = u * v
        x[0], x[1], x[2], x[3], x[5] = -fx * uv, fx * (1 + u * u), -fx * v, fx * inverse, -fx * u * inverse
        y[0], y[1], y[2], y[4], y[5] = -fy * (1 + v * v), fy * uv, fy * u, fy * inverse, -fy * v * inverse
        z[0], z[1], z[5] = along * v, -along * u, along * inverse
        self._moving(out[:, base], self.qx, self.qy, self.qz, inverse)
        z[base + 1] = self.other
        out[:, base + 2] = self.residual
        if focals:
            # A longer focal narrows the lifted ray (its x and y), and widens the projection.
            gx, gy, gz = self.r02 * self.d - self.qx, self.r12 * self.d - self.qy, self.r22 * self.d - self.qz
            self._moving(out[:, 6], gx, gy, gz, inverse)
            x[5 + focals] += fx * u
            y[5 + focals] += fy * v
        if layout.shift:
            out[:, base - 1] = -out[:, base] * self.e_i
            z[base - 1] -= self.other * self.e_j
        return out

    def _moving(
        self, out: torch.Tensor, qx: torch.Tensor, qy: torch.Tensor, qz: torch.Tensor, inverse: torch.Tensor
    ) -> None:
        """Derivatives [3, m] of the residual where Y moves by (qx, qy, qz)."""
        out[0] = self.f_j * self.sx * inverse * (qx - self.u * qz)
        out[1] = self.f_j * self.sy * inverse * (qy - self.v * qz)
        out[2] = self.along * inverse * qz
