"""Depth handles: a grid over a frame whose bilinear interpolation is the logarithm of a factor on its depth.

Kopf, Rong, Huang, Robust consistent video depth estimation, CVPR 2021, section 3.3: d' = exp(theta(x)) d. The grid
spans the frame from corner to corner; handles are numbered row by row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trackime.errors import InputError


@dataclass(frozen=True)
class Grid:
    """nx x ny handles over a frame of width x height pixels."""

    nx: int
    ny: int
    width: int
    height: int

    @classmethod
    def named(cls, name: str, width: int, height: int) -> Grid:
        """The grid called e.g. "17x10": handles along the longer and the shorter side."""
        long, short = (int(n) for n in name.split("x"))
        if long < 1 or short < 1:
            raise InputError(f"grid: expected at least 1x1 handles, got {name}")
        return cls(long, short, width, height) if width >= height else cls(short, long, width, height)

    @property
    def count(self) -> int:
        """Handles of a frame."""
        return self.nx * self.ny

    @property
    def corners(self) -> int:
        """Handles that a point depends on: 4, or 1 where there is but one."""
        return 1 if self.count == 1 else 4

    def place(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The handles around points, and their bilinear weights; points outside the frame count as on its border.

        Args:
            x: float64 [M, 2] pixels.

        Returns:
            int64 [corners, M] handles, increasing along the first dimension, and float64 [corners, M] weights.
        """
        if self.count == 1:
            one = torch.ones_like(x[:, 0])[None]
            return torch.zeros_like(one, dtype=torch.int64), one
        columns, right = self._along(x[:, 0], self.nx, self.width)
        rows, down = self._along(x[:, 1], self.ny, self.height)
        first = rows * self.nx + columns
        dx, dy = min(1, self.nx - 1), self.nx if self.ny > 1 else 0
        handles = torch.stack((first, first + dx, first + dy, first + dy + dx))
        left, up = 1 - right, 1 - down
        return handles, torch.stack((left * up, right * up, left * down, right * down))

    @staticmethod
    def _along(x: torch.Tensor, count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        place = (x * ((count - 1) / size)).clamp(0, count - 1)
        cell = place.floor().clamp(max=max(0, count - 2))
        return cell.to(torch.int64), place - cell

    def sample(self, theta: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """theta float64 [..., ny * nx] at points x [M, 2]: [..., M]."""
        handles, weights = self.place(x)
        return (theta[..., handles] * weights).sum(-2)

    def upsampled(self, theta: torch.Tensor, finer: Grid) -> torch.Tensor:
        """The same factors as `theta` [..., ny * nx] on a finer grid."""
        return self.sample(theta, finer.positions(theta))

    def positions(self, like: torch.Tensor) -> torch.Tensor:
        """Positions of the handles: [ny * nx, 2] pixels; a single one is in the middle."""

        def along(count: int, size: int) -> torch.Tensor:
            steps = torch.arange(count, dtype=like.dtype, device=like.device)
            return steps * (size / (count - 1)) if count > 1 else steps + size / 2

        y, x = torch.meshgrid(along(self.ny, self.height), along(self.nx, self.width), indexing="ij")
        return torch.stack((x.reshape(-1), y.reshape(-1)), -1)

    def maps(self, theta: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """theta [ny * nx] at the pixel centres of a map of any size that covers the frame: [height, width]."""
        x = (torch.arange(width, dtype=theta.dtype, device=theta.device) + 0.5) * (self.width / width)
        y = (torch.arange(height, dtype=theta.dtype, device=theta.device) + 0.5) * (self.height / height)
        grid = theta.reshape(self.ny, self.nx)
        return self._weights(y, self.ny, self.height) @ grid @ self._weights(x, self.nx, self.width).T

    def _weights(self, x: torch.Tensor, count: int, size: int) -> torch.Tensor:
        """Bilinear weights along one side: [len(x), count]."""
        cell, right = self._along(x, count, size)
        weights = torch.zeros(len(x), count, dtype=x.dtype, device=x.device)
        weights.scatter_add_(1, cell[:, None], (1 - right)[:, None])
        return weights.scatter_add_(1, (cell + 1).clamp(max=count - 1)[:, None], right[:, None])

    def laplacian(self, like: torch.Tensor) -> torch.Tensor:
        """[n, n]: theta' L theta is the sum of squared differences between neighbouring handles."""

        def chain(count: int) -> torch.Tensor:
            d = torch.eye(count, dtype=like.dtype, device=like.device).diff(dim=0)
            return d.T @ d

        eye_x, eye_y = (torch.eye(n, dtype=like.dtype, device=like.device) for n in (self.nx, self.ny))
        return torch.kron(eye_y, chain(self.nx)) + torch.kron(chain(self.ny), eye_x)
