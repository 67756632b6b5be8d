"""Pixels of a 3D scene: which surface a ray meets, its colour there, and whole frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from trackime.arrays import FloatArray
from trackime.worlds.layers import develop, pixel_centres
from trackime.worlds.scene._solids import Box, Shape

if TYPE_CHECKING:
    from trackime.worlds.scene.scene import Scene

CHUNK = 1 << 17
"""Rays worked on at a time: bounds memory for large frames; it changes no result."""

BIAS = 1e-3
"""A shadow needs something this share of the way to the lamp nearer than the surface itself."""

JUMP = 0.05
"""Relative step in depth between neighbouring pixels from which there is an edge to antialias."""

ACROSS = ((2, 1), (0, 2), (0, 1))
"""The two axes a face's texture lies along, by the axis it faces."""


@dataclass(frozen=True, eq=False)
class Body:
    """A shape, where it is at every frame, and what it looks like.

    Attributes:
        shape: its geometry, in its own coordinates.
        rotation: float64 [T, 3, 3], from its own coordinates to the world's.
        place: float64 [T, 3], its origin in the world.
        instance: 0 for what stands still, k for moving object k.
        shot: the shot it is part of.
        first_face: index in the pool of its face 0.
    """

    shape: Shape
    rotation: FloatArray
    place: FloatArray
    instance: int
    shot: int
    first_face: int

    @property
    def room(self) -> bool:
        """Whether everything else is inside of it."""
        return isinstance(self.shape, Box) and self.shape.room


def turn(matrix: FloatArray, rays: Tensor) -> Tensor:
    """matrix [3, 3] times rays [3, N], without a matrix product: those round by how many columns there are."""
    m = matrix.tolist()
    return torch.stack([m[k][0] * rays[0] + m[k][1] * rays[1] + m[k][2] * rays[2] for k in range(3)])


def trace(bodies: Iterable[tuple[int, Body]], t: int, origin: FloatArray, rays: Tensor) -> tuple[Tensor, Tensor]:
    """What rays from one point meet first.

    Args:
        bodies: (index, body) to look at.
        t: frame.
        origin: [3], world.
        rays: [3, N] directions, world, of any length.

    Returns:
        s [N] with origin + s ray the first surface (infinite: none), its index int64 [N] (-1: none).
    """
    best = torch.full_like(rays[0], torch.inf)
    owner = torch.full(rays.shape[1:], -1, dtype=torch.int64, device=rays.device)
    square = rays[0] * rays[0] + rays[1] * rays[1] + rays[2] * rays[2]
    for index, body in bodies:
        rotation, away = body.rotation[t], body.place[t] - origin
        local = rotation.T @ -away
        start = (float(local[0]), float(local[1]), float(local[2]))
        if body.room:
            s = body.shape.intersect(start, turn(rotation.T, rays))
            owner[s < best] = index
            best = torch.minimum(best, s)
            continue
        # Only rays that meet the sphere around it, a little enlarged, are worth more.
        reach = (1.0001 * body.shape.radius) ** 2
        gap = float(away @ away) - reach
        along = float(away[0]) * rays[0] + float(away[1]) * rays[1] + float(away[2]) * rays[2]
        rows = ((along * along >= square * gap) & ((along > 0) | (gap < 0))).nonzero()[:, 0]
        if not len(rows):
            continue
        s = body.shape.intersect(start, turn(rotation.T, rays[:, rows]))
        nearer = s < best[rows]
        rows = rows[nearer]
        best[rows], owner[rows] = s[nearer], index
    return best, owner


def camera_rays(scene: Scene, t: int, xy: Tensor) -> Tensor:
    """Rays [3, N] through pixels [N, 2] of frame t, world directions; their length makes s the depth z."""
    x = (xy[:, 0] - scene.info.width / 2) / scene.focal
    y = (xy[:, 1] - scene.info.height / 2) / scene.focal
    return turn(scene.poses[t, :3, :3], torch.stack([x, y, torch.ones_like(x)]))


def first_hits(scene: Scene, t: int, xy: Tensor) -> tuple[Tensor, Tensor]:
    """Depth z [N] and body int64 [N] at pixels [N, 2] of frame t."""
    parts = [
        trace(scene.bodies_at(t), t, scene.poses[t, :3, 3], camera_rays(scene, t, part)) for part in xy.split(CHUNK)
    ]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


def shade(scene: Scene, t: int, xy: Tensor, footprint: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """The scene at pixels [N, 2] of frame t; `footprint` is the side of what each is the mean of, in pixels.

    Returns:
        Colour float32 [3, N], depth [N], and a key int64 [N] that changes where surfaces meet or a shadow ends.
    """
    rays = camera_rays(scene, t, xy)
    eye = scene.poses[t, :3, 3]
    depth, owner = trace(scene.bodies_at(t), t, eye, rays)
    key, lamp = owner * 16, torch.zeros_like(depth)
    layers: list[list[tuple[Tensor, ...]]] = [[], [], []]
    light = scene.lights[scene.shot_at(t)]
    for index, body in scene.bodies_at(t):
        rows = (owner == index).nonzero()[:, 0]
        if not len(rows):
            continue
        back = body.rotation[t].T
        directions, s = turn(back, rays[:, rows]), depth[rows]
        points = s * directions + _column(back @ (eye - body.place[t]), directions)
        normal = body.shape.normal(points)
        beam = _column(back @ (light - body.place[t]), points) - points
        length = (beam * beam).sum(0).sqrt()
        lamp[rows] = (beam * normal).sum(0).clamp(min=0) / length / (1 + (length / 4) ** 2)
        # How the surface point moves from one pixel to the next, the surface taken for its tangent plane.
        facing = (normal * directions).sum(0)
        facing = torch.minimum(facing, -0.02 * (directions * directions).sum(0).sqrt())
        steps = []
        for axis in (0, 1):
            tilt = _column(back @ scene.poses[t, :3, axis] * (footprint / scene.focal), points)
            steps.append(s * (tilt - directions * ((normal * tilt).sum(0) / facing)))
        parts = body.shape.paint(points, normal)
        if len(parts) == 1:
            key[rows] += 2 * parts[0].face
        for layer, part in zip(layers, parts, strict=False):
            uv, dx, dy = _across(body.shape, part.face, points, steps[0], steps[1])
            layer.append((rows, body.first_face + part.face, uv, dx, dy, part.weight))
    colour = torch.zeros(3, len(depth), device=xy.device)
    for layer in layers:
        if layer:
            rows, face, uv, dx, dy, weight = (torch.cat(list(field), -1) for field in zip(*layer, strict=True))
            colour[:, rows] += weight.float() * scene.pool.colour(face, uv, dx, dy, footprint == 1)
    if scene.options.light == 0:
        return colour, depth, key
    if scene.options.shadows:
        hit = _column(eye, rays) + depth * rays
        others = [(k, body) for k, body in scene.bodies_at(t) if not body.room]
        rows = (lamp > 0).nonzero()[:, 0]
        met, _ = trace(others, t, light, hit[:, rows] - _column(light, hit))
        dark = rows[met < 1 - BIAS]
        lamp[dark] = 0
        key[dark] += 1
    share = scene.options.light
    return colour * (1 - share + 2.2 * share * lamp).float(), depth, key


def _column(vector: FloatArray, like: Tensor) -> Tensor:
    return like.new_tensor(vector.tolist())[:, None]


def _across(shape: Shape, face: Tensor, points: Tensor, dx: Tensor, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points and their steps [3, N] along the two axes of their face's texture, [2, N]: 0 to 1 over the shape."""
    axes = torch.tensor(ACROSS, device=points.device)[face // 2].T  # [2, N]
    extent = 2 * points.new_tensor(shape.half)[axes]
    return points.gather(0, axes) / extent + 0.5, dx.gather(0, axes) / extent, dy.gather(0, axes) / extent


def _edges(key: Tensor, depth: Tensor) -> Tensor:
    """Pixels [H, W] whose neighbours, diagonal ones too, are another surface or much nearer or farther."""
    out = torch.zeros_like(key, dtype=torch.bool)
    h, w = key.shape
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        a = (slice(0, h - dy), slice(max(0, -dx), w - max(0, dx)))
        b = (slice(dy, h), slice(max(0, dx), w - max(0, -dx)))
        jump = (depth[a] - depth[b]).abs() > JUMP * torch.minimum(depth[a], depth[b])
        differs = (key[a] != key[b]) | jump
        out[a] |= differs
        out[b] |= differs
    return out


def render_sharp(scene: Scene, t: int) -> Tensor:
    """Frame t without noise: float [3, H, W] in about [0, 1].

    Within a surface one ray a pixel and filtered textures; where surfaces meet, the mean of `samples` squared rays.
    """
    width, height, n = scene.info.width, scene.info.height, scene.options.samples
    # Colours need no more than float32; depth and masks, which must agree with the tracks, are traced in float64.
    xy = pixel_centres((0, 0, width, height), scene.device).view(-1, 2)
    parts = [shade(scene, t, part) for part in xy.split(CHUNK)]
    colour, depth, key = (torch.cat(list(field), -1) for field in zip(*parts, strict=True))
    rows = _edges(key.view(height, width), depth.view(height, width)).flatten().nonzero()[:, 0]
    if n > 1 and len(rows):
        offsets = pixel_centres((0, 0, n, n), scene.device).view(-1, 2) / n - 0.5
        for part in rows.split(max(1, CHUNK // n**2)):
            points = (xy[part, None] + offsets).view(-1, 2)
            colour[:, part] = shade(scene, t, points, 1 / n)[0].view(3, len(part), n * n).mean(-1)
    return colour.view(3, height, width)


def render_frame(scene: Scene, t: int) -> np.ndarray:
    """Frame t with sensor noise: uint8 [H, W, 3]."""
    return develop(render_sharp(scene, t), scene.seed, t, scene.options.noise)


def render_maps(scene: Scene, t: int) -> tuple[FloatArray, np.ndarray]:
    """Depth z float32 [H, W] and body int64 [H, W] at the pixel centres of frame t."""
    width, height = scene.info.width, scene.info.height
    xy = pixel_centres((0, 0, width, height), scene.device).to(scene.dtype).view(-1, 2)
    depth, owner = first_hits(scene, t, xy)
    return depth.view(height, width).float().cpu().numpy(), owner.view(height, width).cpu().numpy()
