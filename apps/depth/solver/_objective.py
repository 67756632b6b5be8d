"""From matches to the cost and the normal equations, in chunks: memory follows the frames, not the matches.

A match touches the handles around its two ends, at most four each, and the relative motion of its pair. So it adds to
small sums (by pair; by pair and handle; by pair of handles), which are turned into blocks of the frames' unknowns once,
a pair at a time, by the map from both poses to the relative motion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from trackime.arrays import blocks

from ._frame_pairs import FramePairs
from ._normal_equations import NormalEquations
from ._residuals import MatchResiduals, RelativeMotions, ResidualSettings
from ._state import Layout, SolverState


@dataclass(frozen=True)
class RobustCost:
    """A cost and what it counts.

    Attributes:
        value: of the robust data term and the regularisers.
        dropped: matches behind the camera or beyond infinity.
        fitting: share of the weight whose point is within six expected errors and 2 % of the longer side.
    """

    value: float
    dropped: int
    fitting: float


class Objective:
    """RobustCost of one stage as a function of the unknowns.

    Args:
        pairs: sorted matches on the device that computes.
        settings: a frame's size, config, the loss's scale.
        layout: of the unknowns.
        log_focal: its prior's mean.
        sigma_shift: of the shift's prior, whose mean is 0; per unit of depth.
    """

    def __init__(
        self,
        pairs: FramePairs,
        settings: ResidualSettings,
        layout: Layout,
        log_focal: float,
        sigma_shift: float = 1.0,
    ) -> None:
        self.pairs, self.settings, self.layout = pairs, settings, layout
        self.log_focal, self.sigma_shift = log_focal, sigma_shift
        self.chunk = 2**13 if pairs.pair.device.type == "cpu" else 2**18
        self._matches_a_frame = float(pairs.matches.weight.sum()) / layout.frames
        self._weight = max(float(pairs.matches.weight.sum()), 1e-300)

    def _chunks(self, view: RelativeMotions) -> Iterator[tuple[slice, MatchResiduals]]:
        for where in blocks(len(self.pairs.pair), self.chunk):
            yield where, MatchResiduals(view, self.pairs, where, self.settings)

    def cost(self, state: SolverState) -> RobustCost:
        """The cost at `state`."""
        view = RelativeMotions(state, self.pairs)
        value, dropped, fitting = self.regularisers(state), state.theta.new_zeros(()), state.theta.new_zeros(())
        coarse = 0.02 * max(self.settings.width, self.settings.height)
        matches = self.pairs.matches
        for where, points in self._chunks(view):
            value = value + points.loss.sum()
            dropped += (~points.good).sum()
            near = points.off[0].square() + points.off[1].square() < (coarse + 6 * matches.sigma[where]).square()
            fitting += (matches.weight[where] * (near & points.good)).sum()
        return RobustCost(float(value), int(dropped), float(fitting) / self._weight)

    def regularisers(self, state: SolverState) -> torch.Tensor:
        """Half the squares of: neighbouring handles' differences, the mean of a frame's, the priors."""
        config, theta = self.settings.config, state.theta
        bumps = torch.einsum("fa,ab,fb->", theta, state.grid.laplacian(theta), theta)
        value = 0.5 * self._stiffness * bumps
        value = value + 0.5 * self._keep**2 * theta.mean(1).square().sum()
        focal = state.log_focal - self.log_focal
        if self.layout.shared_focal:
            focal = focal[:1]
        if self.layout.free_focal or self.layout.shared_focal:
            value = value + 0.5 * focal.square().sum() / config.sigma_focal**2
        if self.layout.shift:
            value = value + 0.5 * (state.shift / self.sigma_shift).square()
        return value

    @property
    def _stiffness(self) -> float:
        return self.settings.config.smooth**2 * self._matches_a_frame

    @property
    def _keep(self) -> float:
        # The median's gauge fixes every frame's scale itself.
        return self.settings.config.mean if self.settings.config.gauge == "first" else 0.0

    def linearise(self, state: SolverState) -> NormalEquations:
        """The reweighted normal equations at `state`: gradient of the cost, and Gauss-Newton's Hessian with the Cauchy
        weights rho' (its negative second-order part left out, as in Triggs et al. 1999, section 4.3, made convex)."""
        layout, view = self.layout, RelativeMotions(state, self.pairs)
        sums = _Sums(layout, self.pairs, state)
        for where, points in self._chunks(view):
            sums.add(points, self.pairs.pair[where], where)
        system = sums.system(view.twists())
        self._regularise(system, state)
        return system

    def _regularise(self, system: NormalEquations, state: SolverState) -> None:
        layout, config, theta = self.layout, self.settings.config, state.theta
        p, n = layout.header, layout.handles
        stiff = self._stiffness * state.grid.laplacian(theta) + self._keep**2 / n**2
        system.diagonal[:, p:, p:] += stiff
        system.slope[:, p:] += theta @ stiff
        pull = (state.log_focal - self.log_focal) / config.sigma_focal**2
        if layout.free_focal:
            system.diagonal[:, 6, 6] += 1 / config.sigma_focal**2
            system.slope[:, 6] += pull
        elif layout.shared_focal:
            system.corner[0, 0] += 1 / config.sigma_focal**2
            system.slope_top[0] += pull[0]
        if layout.shift:
            system.corner[-1, -1] += self.sigma_shift**-2
            system.slope_top[-1] += state.shift / self.sigma_shift**2


class _Sums:
    """Sums over matches: by pair, by pair and handle; between handles straight into the blocks."""

    def __init__(self, layout: Layout, pairs: FramePairs, state: SolverState) -> None:
        self.layout, self.pairs = layout, pairs
        like, m, n, count = state.theta, layout.block, layout.handles, len(pairs.i)
        self.base = 6 + (2 if layout.free_focal else int(layout.shared_focal)) + int(layout.shift)
        self.pair = like.new_zeros((self.base + 1) ** 2, count)
        self.at_i, self.at_j = (like.new_zeros(self.base + 1, count * n) for _ in range(2))
        self.diagonal = like.new_zeros(layout.frames, m, m)
        self.links = like.new_zeros(len(pairs.low), m, m)
        # Columns of the Jacobian that belong to the pair as a whole: all but the two handles'.
        self.columns = torch.tensor([*range(self.base), self.base + 2], device=like.device)

    def add(self, points: MatchResiduals, pair: torch.Tensor, where: slice) -> None:
        """The matches of one chunk."""
        j = points.jacobian(self.layout)  # [3, base + 3, m]
        whole = j[:, self.columns]
        wide = whole * points.weights[:, None]
        theta_i, theta_j = j[:, self.base], j[:, self.base + 1]
        square = wide[0][:, None] * whole[0][None]
        square.addcmul_(wide[1][:, None], whole[1][None]).addcmul_(wide[2][:, None], whole[2][None])
        square = square.reshape(-1, len(pair))
        self.pair.scatter_add_(1, pair.expand(len(square), -1), square)
        n, m, p = self.layout.handles, self.layout.block, self.layout.header
        cross_i = (wide * theta_i[:, None]).sum(0)  # [base + 1, m]
        cross_j = wide[2] * theta_j[2]  # theta_j moves the depth residual alone
        for sums, cross, handles, weights in (
            (self.at_i, cross_i, points.handles_i, points.weights_i),
            (self.at_j, cross_j, points.handles_j, points.weights_j),
        ):
            place = (handles + pair * n).reshape(1, -1).expand(len(cross), -1)
            sums.scatter_add_(1, place, (cross[:, None] * weights).reshape(len(cross), -1))
        weighted = points.weights * theta_i
        h_ii, h_jj = (weighted * theta_i).sum(0), points.weights[2] * theta_j[2].square()
        h_ij = weighted[2] * theta_j[2]
        blocks = self.diagonal.view(-1)
        for frame, handles, weights, h in (
            (self.pairs.i[pair], points.handles_i, points.weights_i, h_ii),
            (self.pairs.j[pair], points.handles_j, points.weights_j, h_jj),
        ):
            rows = (handles + (frame * m + p)) * m + p
            place = rows[:, None] + handles[None]
            values = (weights * h)[:, None] * weights[None]
            blocks.scatter_add_(0, place.reshape(-1), values.reshape(-1))
        turned = self.pairs.turned[pair]
        stride_i, stride_j = torch.where(turned, 1, m), torch.where(turned, m, 1)
        start = self.pairs.link[pair] * (m * m) + p * m + p
        place = (points.handles_i * stride_i + start)[:, None] + (points.handles_j * stride_j)[None]
        values = (points.weights_i * h_ij)[:, None] * points.weights_j[None]
        self.links.view(-1).scatter_add_(0, place.reshape(-1), values.reshape(-1))

    def system(self, twists: torch.Tensor) -> NormalEquations:
        """Blocks of the frames' unknowns from the sums, given the twists [P, 6, 12] of the pairs."""
        layout, pairs = self.layout, self.pairs
        p, n, g, count, base = layout.header, layout.handles, layout.globals, len(pairs.i), self.base
        # [P, base + 1, q]: columns of the pair by header of i, header of j, globals, and the residual last.
        out = twists.new_zeros(count, base + 1, 2 * p + g + 1)
        out[:, :6, :6], out[:, :6, p : p + 6] = twists[..., :6], twists[..., 6:]
        if layout.free_focal:
            out[:, 6, 6] = out[:, 7, p + 6] = 1
        elif layout.shared_focal:
            out[:, 6, 2 * p] = 1
        if layout.shift:
            out[:, base - 1, 2 * p + g - 1] = 1
        out[:, base, -1] = 1
        pair = out.mT @ self.pair.T.reshape(count, base + 1, base + 1) @ out  # [P, q, q]
        at_i, at_j = (
            out.mT @ sums.view(base + 1, count, n).transpose(0, 1) for sums in (self.at_i, self.at_j)
        )  # [P, q, n]
        i, j, link, turned = pairs.i, pairs.j, pairs.link, pairs.turned
        diagonal, links = self.diagonal, self.links
        border = twists.new_zeros(layout.frames, layout.block, g + 1)  # the slope is its last column
        diagonal[:, :p, :p].index_add_(0, i, pair[:, :p, :p]).index_add_(0, j, pair[:, p : 2 * p, p : 2 * p])
        diagonal[:, :p, p:].index_add_(0, i, at_i[:, :p]).index_add_(0, j, at_j[:, p : 2 * p])
        diagonal[:, p:, :p] = diagonal[:, :p, p:].mT
        border[:, :p].index_add_(0, i, pair[:, :p, 2 * p :]).index_add_(0, j, pair[:, p : 2 * p, 2 * p :])
        border[:, p:].index_add_(0, i, at_i[:, 2 * p :].mT).index_add_(0, j, at_j[:, 2 * p :].mT)
        for which in (False, True):
            chosen = turned == which
            u, heads, own, other = link[chosen], pair[chosen][:, :p, p : 2 * p], at_i[chosen], at_j[chosen]
            below, right = own[:, p : 2 * p].mT, other[:, :p]  # (theta_i, header_j), (header_i, theta_j)
            if which:
                heads, below, right = heads.mT, right.mT, below.mT
            links[:, :p, :p].index_add_(0, u, heads)
            links[:, p:, :p].index_add_(0, u, below)
            links[:, :p, p:].index_add_(0, u, right)
        top = pair[:, 2 * p : 2 * p + g, 2 * p :].sum(0)
        return NormalEquations(
            diagonal, links, pairs.low, pairs.high, border[..., :g].contiguous(), top[:, :g].contiguous(),
            border[..., g].contiguous(), top[:, g].contiguous(), p,
        )  # fmt: skip
