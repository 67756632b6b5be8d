"""The surface of a body: bones as smoothly blended tapered capsules, with texture and tracked points attached to it.

The signed distance is a soft minimum of the bones' own, -b log sum exp(-d / b). With the same weights every point of
space has a position in the rest pose, the mean of its positions by each bone. Texture is looked up there, and a tracked
point is the surface point with the wanted rest position: both use one map, so that texture moves with the skin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from trackime.worlds.bodies._gaits import Gait

_FARTHEST = 1e3
_SLACK = 0.8
"""A ray advances by this share of the distance, which is only a bound at flattened bones and blends."""
_NEWTON = 6
_HOLD = 30.0
"""Weight of lying on the surface against having the wanted texture, where bending leaves no point with both."""
_BONES = 10
"""Bones that a ray is tested against."""


@dataclass(frozen=True, eq=False)
class Surface:
    """The field at points of space.

    Attributes:
        distance: [M], signed, negative inside.
        weights: [M, P] of the bones, their sum 1.
        rest: [M, 3], the place in the rest pose.
        normal: [M, 3], outward in the world, of length 1.
        rest_normal: [M, 3], the same in the rest pose.
    """

    distance: Tensor
    weights: Tensor
    rest: Tensor
    normal: Tensor
    rest_normal: Tensor


@dataclass(frozen=True, eq=False)
class Skin:
    """A body at S times.

    Attributes:
        start, axis: float32 [P, 3], each bone's first end and the way to the other, in the rest pose.
        radius: float32 [P, 2].
        flat: float32 [P, 3].
        blend: length over which bones melt into each other.
        rotation, origin: float32 [S, P, 3, 3], [S, P, 3].
    """

    start: Tensor
    axis: Tensor
    radius: Tensor
    flat: Tensor
    blend: float
    rotation: Tensor
    origin: Tensor

    @classmethod
    def of(cls, gait: Gait, times: np.ndarray) -> Skin:
        """The body of a gait at times [S]."""
        bones = gait.skeleton
        rotation, origin = gait.pose(times)

        def tensor(array: object) -> Tensor:
            return torch.from_numpy(np.asarray(array, np.float32))

        start, end = np.stack(bones.start), np.stack(bones.end)
        return cls(tensor(start), tensor(end - start), tensor(bones.radius), tensor(bones.flat), bones.blend,
                   tensor(rotation), tensor(origin))  # fmt: skip

    def spheres(self) -> tuple[Tensor, Tensor]:
        """Balls [S, P, 3] and [P] that hold every bone and its share of the blend."""
        half = self.axis / 2
        centre = self.origin + (self.rotation @ half[..., None])[..., 0]
        return centre, half.norm(dim=-1) + self._reach()

    def _reach(self) -> Tensor:
        """How far [P] from its axis a bone, with its share of the blend, may be."""
        own = self.radius.amax(1) * self.flat.amax(1).clamp(min=1)
        # Distances to flattened bones are too small by as much as they are flat.
        return own + self.blend * float(np.log(len(self.start))) / self.flat.amin(1).clamp(max=1)

    def _bones(self, x: Tensor, rotation: Tensor, origin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Places [M, P, 3] of points [M, 3] from each bone's start, the ways from its axis, distances [M, P]."""
        place = torch.einsum("mpji,mpj->mpi", rotation, x[:, None] - origin)
        return place, *_capsules(place, self.axis, self.radius, self.flat)

    def _soft(self, distance: Tensor) -> Tensor:
        """The soft minimum [M] of distances [M, P]."""
        return -self.blend * torch.logsumexp(distance / -self.blend, -1)

    def at(self, x: Tensor, when: Tensor) -> Surface:
        """Everything at points [M, 3] of times int64 [M] (of S)."""
        rotation, origin = self.rotation[when], self.origin[when]
        place, away, distance = self._bones(x, rotation, origin)
        weights = torch.softmax(distance / -self.blend, -1)
        out = away / self.flat
        out = out / out.norm(dim=-1, keepdim=True).clamp(min=1e-9)
        rest_normal = torch.nn.functional.normalize((weights[..., None] * out).sum(1), dim=-1)
        world = torch.einsum("mpij,mpj->mpi", rotation, out)
        normal = torch.nn.functional.normalize((weights[..., None] * world).sum(1), dim=-1)
        rest = (weights[..., None] * (place + self.start)).sum(1)
        return Surface(self._soft(distance), weights, rest, normal, rest_normal)

    def hit(self, eye: Tensor, ray: Tensor, when: Tensor, far: Tensor, steps: int = 40) -> Tensor:
        """Distance [M] along rays of length 1 to the surface; infinity where they miss it.

        A ray sees the `_BONES` bones that it passes nearest to.

        Args:
            eye, ray: [M, 3].
            when: int64 [M], times of S.
            far: [M], where to stop.
            steps: at most.
        """
        out = torch.full_like(far, torch.inf)
        for chunk in torch.arange(len(far)).split(1 << 14):
            first, last, beside = self._passages(eye[chunk], ray[chunk], when[chunk])
            passed = (first < last) & (last > 0) & (first < far[chunk, None])
            rows = torch.nonzero(passed.any(1))[:, 0]
            if len(rows) == 0:
                continue
            first, last, passed = first[rows], last[rows], passed[rows]
            near = torch.where(passed, first, torch.inf).amin(1).clamp(min=0.02)
            last = torch.where(passed, last, -torch.inf).amax(1)
            # Bones out of reach are there only to fill the rows.
            beside = torch.where(passed, beside[rows], torch.inf)
            bones = beside.topk(min(_BONES, len(self.start)), largest=False).indices
            here = chunk[rows]
            out[here] = self._march(
                eye[here], ray[here], when[here], near, torch.minimum(last, far[here]), bones, steps
            )
        return out

    def _passages(self, eye: Tensor, ray: Tensor, when: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where rays [m, 3] are within reach of each bone: from, to [m, P], and how near they pass [m, P].

        A bone and its share of the blend are within a cylinder around its axis that is closed by two planes.
        """
        length = self.axis.norm(dim=-1).clamp(min=1e-9)
        reach = self._reach()
        along = (self.rotation @ (self.axis / length[:, None])[..., None])[when, ..., 0]  # [m, P, 3]
        start = eye[:, None] - self.origin[when]
        speed, height = (along * ray[:, None]).sum(-1), (along * start).sum(-1)
        # Across the axis: |start + t ray|^2 = across t^2 + 2 middle t + apart.
        across = (1 - speed.square()).clamp(min=1e-6)
        middle = (start * ray[:, None]).sum(-1) - speed * height
        apart = start.square().sum(-1) - height.square()
        beside = apart - middle.square() / across
        half = ((reach.square() - beside).clamp(min=0) / across).sqrt()
        inside = beside < reach.square()
        slow = torch.where(speed.abs() < 1e-6, torch.full_like(speed, 1e-6), speed)
        ends = torch.stack([(-reach - height) / slow, (length + reach - height) / slow])
        first = torch.maximum(-middle / across - half, ends.amin(0))
        last = torch.minimum(-middle / across + half, ends.amax(0))
        return torch.where(inside, first, torch.inf), last, beside.clamp(min=0).sqrt() - reach

    def _march(
        self, eye: Tensor, ray: Tensor, when: Tensor, near: Tensor, far: Tensor, bones: Tensor, steps: int
    ) -> Tensor:
        out = torch.full_like(near, torch.inf)
        rows, t = torch.arange(len(near)), near.clone()
        # Rays in the bones' own axes, once: a step is then a sum.
        turn, origin = self.rotation[when[:, None], bones].transpose(-1, -2), self.origin[when[:, None], bones]
        start = (turn @ (eye[:, None] - origin)[..., None])[..., 0]
        way = (turn @ ray[:, None, :, None])[..., 0]
        parts = [start, way, self.axis[bones], self.radius[bones], self.flat[bones]]
        for _ in range(steps):
            place = torch.addcmul(parts[0], t[:, None, None], parts[1])
            distance = self._soft(_capsules(place, *parts[2:])[1])
            there = distance < 1.5e-3 * t.clamp(min=0.3)
            out[rows[there]] = t[there] + distance[there]
            t = t + _SLACK * distance.clamp(min=2e-3)
            left = ~there & (t < far)
            kept = int(left.sum())
            if kept == 0:
                break
            if kept < 0.8 * len(left):
                rows, t, far = rows[left], t[left], far[left]
                parts = [part[left] for part in parts]
            else:
                t = torch.where(left, t, torch.full_like(t, _FARTHEST))
                far = torch.where(left, far, torch.zeros_like(far))
        return out

    def follow(self, rest: Tensor, weights: Tensor, when: Tensor) -> Tensor:
        """Positions [M, 3] of surface points at other times.

        Args:
            rest: [M, 3] places in the rest pose.
            weights: [M, P] of the bones, where the points were found: the first guess.
            when: int64 [M], times of S.

        Gauss-Newton on (rest place - wanted, `_HOLD` x signed distance): the point of the surface whose texture is
        nearest to the wanted one, where bending leaves none with exactly that.
        """
        rotation, origin = self.rotation[when].double(), self.origin[when].double()
        double = self._double()
        by_bone = torch.einsum("mpij,mpj->mpi", rotation, rest.double()[:, None] - double.start) + origin
        x = (weights.double()[..., None] * by_bone).sum(1)
        for _ in range(_NEWTON):
            value, slope = double._residual(x, rotation, origin, rest.double())
            normal = slope.transpose(1, 2) @ slope + 1e-9 * torch.eye(3, dtype=torch.float64)
            step = torch.linalg.solve(normal, slope.transpose(1, 2) @ value[..., None])[..., 0]
            x = x - step.clamp(-0.05, 0.05)
        return x

    def land(self, x: Tensor, ray: Tensor, when: Tensor) -> Surface:
        """The surface, float64, where rays [M, 3] meet it near points [M, 3] that are nearly on it."""
        double = replace(self._double(), rotation=self.rotation.double(), origin=self.origin.double())
        at, ray = x.double(), ray.double()
        for _ in range(2 * _NEWTON):
            surface = double.at(at, when)
            slope = -(surface.normal * ray).sum(-1)
            at = at + (surface.distance / slope.clamp(min=0.2))[:, None] * ray
        return double.at(at, when)

    def _double(self) -> Skin:
        """The same at rest in float64; poses as they are, which are many."""
        return replace(self, start=self.start.double(), axis=self.axis.double(), radius=self.radius.double(),
                       flat=self.flat.double())  # fmt: skip

    def _residual(self, x: Tensor, rotation: Tensor, origin: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals [M, 4] and their derivatives [M, 4, 3], by central differences."""

        def value(at: Tensor) -> Tensor:
            place, _, distance = self._bones(at, rotation, origin)
            weights = torch.softmax(distance / -self.blend, -1)
            mean = (weights[..., None] * (place + self.start)).sum(1)
            return torch.cat([mean - rest, _HOLD * self._soft(distance)[:, None]], -1)

        h = 1e-5
        ways = torch.eye(3, dtype=torch.float64) * h
        slope = torch.stack([(value(x + way) - value(x - way)) / (2 * h) for way in ways], -1)
        return value(x), slope


def _capsules(place: Tensor, axis: Tensor, radius: Tensor, flat: Tensor) -> tuple[Tensor, Tensor]:
    """Ways [M, P, 3] from the axes of bones and bounds [M, P] of the distance to them, of places [M, P, 3]."""
    along = (place * axis).sum(-1) / (axis * axis).sum(-1).clamp(min=1e-9)
    along = along.clamp(0, 1)
    away = (place - along[..., None] * axis) / flat
    own = radius[..., 0] + along * (radius[..., 1] - radius[..., 0])
    return away, (away.norm(dim=-1) - own) * flat.amin(-1).clamp(max=1)
