"""Shapes of a 3D scene in their own coordinates: ray intersections and normals.

Rays and points are [3, N] (x, y, z rows), so that every step is a plain product of rows: the hit of a ray does not
depend on the other rays in the array. y points down, as in a camera.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

TINY = 1e-12
"""Replaces a direction's zero components, which would give inf - inf in the slab test."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face's texture at points, and its share of their colour.

    Attributes:
        face: int64 [N], 2 * axis + side: the texture projected along `axis`, from its negative (0) or positive (1) end.
        weight: [N] share of the colour.
    """

    face: Tensor
    weight: Tensor


class Shape(ABC):
    """A solid centred on its own origin.

    Attributes:
        half: half its extent along x, y, z.
        faces: the faces that have a texture.
    """

    half: tuple[float, float, float]
    faces: tuple[int, ...] = (0, 1, 2, 3, 4, 5)

    @property
    def radius(self) -> float:
        """Radius of a sphere about the origin that holds all of it."""
        return math.hypot(*self.half)

    @abstractmethod
    def intersect(self, origin: tuple[float, float, float], rays: Tensor) -> Tensor:
        """Least s > 0 with origin + s ray on the surface, [N]; infinite where there is none. rays: [3, N]."""

    @abstractmethod
    def normal(self, points: Tensor) -> Tensor:
        """Unit normals [3, N] of surface points [3, N], towards the visible side."""

    @abstractmethod
    def paint(self, points: Tensor, normal: Tensor) -> list[Face]:
        """The textures of surface points [3, N]; the weights add up to 1."""


def slabs(half: tuple[float, float, float], origin: tuple[float, float, float], rays: Tensor) -> tuple[Tensor, Tensor]:
    """Ray parameters [N] at entry and exit of a box about the origin (slab test); entry > exit: a miss."""
    enter = torch.full_like(rays[0], -math.inf)
    leave = torch.full_like(rays[0], math.inf)
    for axis in range(3):
        d = rays[axis]
        inverse = 1 / torch.where(d.abs() < TINY, torch.full_like(d, TINY), d)
        a, b = (-half[axis] - origin[axis]) * inverse, (half[axis] - origin[axis]) * inverse
        enter = torch.maximum(enter, torch.minimum(a, b))
        leave = torch.minimum(leave, torch.maximum(a, b))
    return enter, leave


@dataclass(frozen=True, eq=False)
class Box(Shape):
    """A box seen from outside, or a room: a box seen from inside."""

    half: tuple[float, float, float]
    room: bool = False

    def intersect(self, origin: tuple[float, float, float], rays: Tensor) -> Tensor:
        enter, leave = slabs(self.half, origin, rays)
        hit, s = (leave > 0, leave) if self.room else ((enter <= leave) & (enter > 0), enter)
        return torch.where(hit, s, torch.full_like(s, math.inf))

    def _axis(self, points: Tensor) -> Tensor:
        return (points.abs() / points.new_tensor(self.half)[:, None]).argmax(0)

    def normal(self, points: Tensor) -> Tensor:
        axis = self._axis(points)[None]
        sign = points.gather(0, axis).sign()
        return torch.zeros_like(points).scatter_(0, axis, -sign if self.room else sign)

    def paint(self, points: Tensor, normal: Tensor) -> list[Face]:
        axis = self._axis(points)
        side = points.gather(0, axis[None])[0] > 0
        return [Face(2 * axis + side, torch.ones_like(points[0]))]


@dataclass(frozen=True, eq=False)
class Sphere(Shape):
    """A sphere seen from outside; its six textures are blended by the normal, so that there is no seam."""

    half: tuple[float, float, float]

    @classmethod
    def of(cls, radius: float) -> Sphere:
        return cls((radius, radius, radius))

    @property
    def radius(self) -> float:
        return self.half[0]

    def intersect(self, origin: tuple[float, float, float], rays: Tensor) -> Tensor:
        a = rays[0] * rays[0] + rays[1] * rays[1] + rays[2] * rays[2]
        b = origin[0] * rays[0] + origin[1] * rays[1] + origin[2] * rays[2]
        c = origin[0] ** 2 + origin[1] ** 2 + origin[2] ** 2 - self.half[0] ** 2
        under = b * b - a * c
        s = (-b - under.clamp(min=0).sqrt()) / a
        return torch.where((under >= 0) & (s > 0), s, torch.full_like(s, math.inf))

    def normal(self, points: Tensor) -> Tensor:
        return points / self.half[0]

    def paint(self, points: Tensor, normal: Tensor) -> list[Face]:
        share = normal**4
        share = share / share.sum(0)
        # At a change of side the weight is zero: the two textures of an axis never show their border.
        return [Face(2 * axis + (points[axis] > 0), share[axis]) for axis in range(3)]


@dataclass(frozen=True, eq=False)
class HeightField(Shape):
    """Bumps on the plane y = 0, rising towards negative y: y = -h(x, z).

    h is a mean height plus waves, each amplitude sin(kx x + kz z + phase), all under a window that falls to 0 at the
    sides, less `sunk`: the sides lie below the plane it stands on, and the two meet in a clean line.

    Attributes:
        half: half the extent along x and z; along y the greatest height.
        mean: the mean height, as large as the amplitudes together or larger.
        waves: (amplitude, kx, kz, phase) of each.
        sunk: depth of the sides below the plane.
        step: least step of the search for the surface. A ray that dives through less than this can be taken to miss.
    """

    half: tuple[float, float, float]
    mean: float
    waves: tuple[tuple[float, float, float, float], ...]
    sunk: float = 0.02
    step: float = 5e-3
    faces: tuple[int, ...] = (2,)

    def height(self, x: Tensor, z: Tensor) -> Tensor:
        """h at points of the plane."""
        total = torch.full_like(x, self.mean)
        for amplitude, kx, kz, phase in self.waves:
            total += amplitude * torch.sin(kx * x + kz * z + phase)
        u, v = x / self.half[0], z / self.half[2]
        return ((1 - u * u) * (1 - v * v)) ** 2 * total - self.sunk

    def slope(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives of h along x and z."""
        total = torch.full_like(x, self.mean)
        along, across = torch.zeros_like(x), torch.zeros_like(x)
        for amplitude, kx, kz, phase in self.waves:
            angle = kx * x + kz * z + phase
            total += amplitude * torch.sin(angle)
            cosine = amplitude * torch.cos(angle)
            along += kx * cosine
            across += kz * cosine
        u, v = x / self.half[0], z / self.half[2]
        p, q = 1 - u * u, 1 - v * v
        window = (p * q) ** 2
        hx = window * along - total * (4 / self.half[0]) * u * p * q * q
        hz = window * across - total * (4 / self.half[2]) * v * q * p * p
        return hx, hz

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """Bounds on h and on the length of its gradient: the largest on a lattice, and what is possible in between.

        Away from lattice points by at most d the gradient changes by at most d times a bound on the second derivatives.
        """
        count = 193
        u = torch.linspace(-1, 1, count, dtype=torch.float64)
        x, z = torch.meshgrid(u * self.half[0], u * self.half[2], indexing="ij")
        hx, hz = self.slope(x, z)
        between = math.hypot(self.half[0], self.half[2]) / (count - 1)
        # w = (1 - u^2)^2 has |w| <= 1, |w'| <= 1.54, |w''| <= 8 on [-1, 1].
        near, side = min(self.half[0], self.half[2]), 1.54
        top = self.mean + sum(abs(w[0]) for w in self.waves)
        first = sum(abs(w[0]) * math.hypot(w[1], w[2]) for w in self.waves)
        second = sum(abs(w[0]) * (w[1] ** 2 + w[2] ** 2) for w in self.waves)
        bend = second + 2 * math.sqrt(2) * side * first / near + (8 + side**2) * top / near**2
        steepest = float((hx * hx + hz * hz).max().sqrt()) + between * bend
        return float(self.height(x, z).max()) + between * steepest, steepest

    def _above(self, origin: tuple[float, float, float], rays: Tensor, s: Tensor) -> Tensor:
        x, y, z = (origin[k] + s * rays[k] for k in range(3))
        return -y - self.height(x, z)

    def intersect(self, origin: tuple[float, float, float], rays: Tensor) -> Tensor:
        out = torch.full_like(rays[0], math.inf)
        top, steepest = self.bounds
        middle = (top - self.sunk) / 2
        space = (self.half[0], (top + self.sunk) / 2, self.half[2])
        enter, leave = slabs(space, (origin[0], origin[1] + middle, origin[2]), rays)
        enter = enter.clamp(min=0)
        rows = (enter < leave).nonzero()[:, 0]
        if not len(rows):
            return out
        rays, s, leave = rays[:, rows], enter[rows], leave[rows]
        above = self._above(origin, rays, s)
        flat = (rays[0] * rays[0] + rays[2] * rays[2]).sqrt()
        # Height above the field falls by at most this for each unit of s: a step that cannot pass the surface.
        fall = rays[1].abs() + flat * steepest
        least = self.step / (flat * flat + rays[1] * rays[1]).sqrt()
        found: list[tuple[Tensor, ...]] = []
        keep = above > 0
        while True:
            rows, rays, s, leave, above = rows[keep], rays[:, keep], s[keep], leave[keep], above[keep]
            fall, least = fall[keep], least[keep]
            if not len(rows):
                break
            # Not beyond the sides: the waves go on there, the field does not.
            ahead = torch.minimum(s + torch.maximum(above / fall, least), leave)
            below = self._above(origin, rays, ahead)
            hit = below <= 0
            if bool(hit.any()):
                found.append((rows[hit], rays[:, hit], s[hit], ahead[hit], above[hit], below[hit]))
            s, above, keep = ahead, below, ~hit & (ahead < leave)
        if found:
            rows, rays, low, high, above, below = (torch.cat(list(field), -1) for field in zip(*found, strict=True))
            out[rows] = self._refine(origin, rays, low, high, low + (high - low) * above / (above - below))
        return out

    def _refine(self, origin: tuple[float, float, float], rays: Tensor, low: Tensor, high: Tensor, s: Tensor) -> Tensor:
        """The crossing near s between low (above the field) and high (not above): Newton within the bracket."""
        for _ in range(4):
            hx, hz = self.slope(origin[0] + s * rays[0], origin[2] + s * rays[2])
            rate = -rays[1] - hx * rays[0] - hz * rays[2]
            rate = torch.where(rate.abs() < 1e-9, torch.full_like(rate, -1e-9), rate)
            s = torch.clamp(s - self._above(origin, rays, s) / rate, low, high)
        return s

    def normal(self, points: Tensor) -> Tensor:
        hx, hz = self.slope(points[0], points[2])
        length = (hx * hx + hz * hz + 1).sqrt()
        return torch.stack([-hx / length, -1 / length, -hz / length])

    def paint(self, points: Tensor, normal: Tensor) -> list[Face]:
        return [Face(torch.full(points.shape[1:], 2, device=points.device), torch.ones_like(points[0]))]
