"""The normal equations of a step: one block per frame, one per linked pair, and a border of globals."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

CACHE = 2**21
"""Bytes of blocks that are worked on at once."""


@dataclass(eq=False)
class NormalEquations:
    """H x = -g with H symmetric.

    Attributes:
        diagonal: float64 [F, m, m], a block per frame.
        links: float64 [U, m, m], rows of frame `low`, columns of frame `high`.
        low, high: int64 [U], low < high.
        border: float64 [F, m, g], frames against globals.
        corner: float64 [g, g].
        slope: float64 [F, m], the gradient of the frames' unknowns.
        slope_top: float64 [g], of the globals.
        header: unknowns of a frame before its handles.
    """

    diagonal: torch.Tensor
    links: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    border: torch.Tensor
    corner: torch.Tensor
    slope: torch.Tensor
    slope_top: torch.Tensor
    header: int

    def times(self, x: torch.Tensor) -> torch.Tensor:
        """The frames' part of H times [F, m, k]."""
        # Row vectors times blocks are what the BLAS does fastest; a few blocks at a time are read from memory once.
        rows = x.mT.contiguous()
        out = (rows @ self.diagonal).mT.contiguous()
        few = len(self.low) if x.is_cuda else max(1, CACHE // (8 * x.shape[1] ** 2))
        for start in range(0, len(self.low), max(1, few)):
            part = slice(start, start + few)
            low, high, links = self.low[part], self.high[part], self.links[part]
            out.index_add_(0, low, links @ x[high])
            out.index_add_(0, high, (rows[low] @ links).mT)
        return out

    def damped(self, damping: float) -> NormalEquations:
        """H + damping diag(H) (Marquardt); unknowns that nothing depends on get a floor."""
        own = self.diagonal.diagonal(dim1=1, dim2=2)
        floor = own.amax(0).clamp(min=1e-12) * 1e-8
        diagonal = self.diagonal.clone()
        diagonal.diagonal(dim1=1, dim2=2).add_(torch.maximum(own, floor) * damping)
        top = self.corner.diagonal()
        corner = self.corner + torch.diag(top.clamp(min=1e-12) * damping)
        return replace(self, diagonal=diagonal, corner=corner)

    def decrease(self, x: torch.Tensor, top: torch.Tensor) -> float:
        """The decrease of the quadratic model by a step [F, m] and [g]: -g'x - x'Hx/2."""
        product = self.times(x[..., None])[..., 0] + self.border @ top
        product_top = torch.einsum("fmg,fm->g", self.border, x) + self.corner @ top
        linear = (self.slope * x).sum() + (self.slope_top * top).sum()
        return float(-linear - 0.5 * ((x * product).sum() + (top * product_top).sum()))

    def reflect(self, frames: torch.Tensor, normal: torch.Tensor) -> None:
        """Reflect unknowns of chosen frames int64 [S] by I - 2 h h', h = normal [S, m] (unit, or zero: unchanged)."""
        self.diagonal[frames] = _right(_right(self.diagonal[frames], normal).mT, normal).mT
        where = torch.full((len(self.diagonal),), -1, dtype=torch.int64, device=frames.device)
        where[frames] = torch.arange(len(frames), device=frames.device)
        rows, columns = (where[side] >= 0 for side in (self.low, self.high))
        if bool(rows.any()):
            self.links[rows] = _right(self.links[rows].mT, normal[where[self.low[rows]]]).mT
        if bool(columns.any()):
            self.links[columns] = _right(self.links[columns], normal[where[self.high[columns]]])
        self.border[frames] = _right(self.border[frames].mT, normal).mT
        self.slope[frames] = _right(self.slope[frames][:, None], normal)[:, 0]

    def fix(self, fixed: torch.Tensor) -> None:
        """Unknowns of a mask bool [F, m] keep their values."""
        free = (~fixed).to(self.diagonal.dtype)
        self.diagonal *= free[:, :, None] * free[:, None, :]
        self.diagonal.diagonal(dim1=1, dim2=2).add_(1 - free)
        some = fixed.any(1)
        touched = (some[self.low] | some[self.high]).nonzero()[:, 0]
        low, high = free[self.low[touched]], free[self.high[touched]]
        self.links[touched] *= low[:, :, None] * high[:, None, :]
        self.border *= free[:, :, None]
        self.slope *= free


def _right(blocks: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
    """blocks [S, k, m] times I - 2 h h', h [S, m]."""
    return blocks - 2 * (blocks @ normal[..., None]) @ normal[:, None, :]
