"""The contents of a 3D scene: bodies, a lamp and a camera, and which body a ray meets first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from trackime.arrays import FloatArray, IntArray
from trackime.types import VideoInfo
from trackime.worlds.scene._pool import FacePool
from trackime.worlds.scene._solids import Box, Shape
from trackime.worlds.scene.options import SceneOptions

ACROSS = ((2, 1), (0, 2), (0, 1))
"""The two axes a face's texture lies along, by the axis it faces."""

NEAR = 0.05
"""Least depth a point is projected with. Nearer points and those behind the camera are hidden; their positions
give a direction only."""


@dataclass(frozen=True, eq=False)
class Body:
    """A shape, its pose at every frame, and its textures.

    Attributes:
        shape: its geometry, in its own coordinates.
        rotation: float64 [T, 3, 3], from its own coordinates to the world's.
        place: float64 [T, 3], its origin in the world.
        instance: 0 for a static body, k for moving object k.
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
    """The first body on each ray from one point.

    Args:
        bodies: (index, body) to test.
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
        # Only rays that meet the sphere around it, a little enlarged, can hit it.
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


@dataclass(frozen=True, eq=False)
class BodyScene:
    """All bodies of a scene, its lamps and its camera.

    Attributes:
        info: size and times.
        seed: seed of the scene.
        options: options of the scene.
        bodies: rooms, static bodies, moving objects.
        poses: float64 [T, 4, 4], camera-to-world.
        lights: float64 [S, 3], the lamp of each shot.
        starts: first frame of each shot: (0,) without a cut.
        pool: the textures.
        device: where frames are rendered.
    """

    info: VideoInfo
    seed: int
    options: SceneOptions
    bodies: tuple[Body, ...]
    poses: FloatArray
    lights: FloatArray
    starts: tuple[int, ...]
    pool: FacePool
    device: torch.device

    @property
    def focal(self) -> float:
        """Focal length in pixels, the same along x and y."""
        return float(self.info.width / 2 / np.tan(np.radians(self.options.fov) / 2))

    @property
    def intrinsics(self) -> FloatArray:
        """float64 [3, 3]: fx = fy = focal, the centre (W / 2, H / 2)."""
        w, h = self.info.width, self.info.height
        return np.array([[self.focal, 0, w / 2], [0, self.focal, h / 2], [0, 0, 1]])

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the rays of depth and masks: float64, float32 on mps, which has no float64."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    @property
    def ends(self) -> tuple[int, ...]:
        """One past the last frame of each shot."""
        return (*self.starts[1:], self.info.frames)

    @cached_property
    def instances(self) -> IntArray:
        """int64 [bodies]: the moving object each body is, 0 for static ones."""
        return np.array([body.instance for body in self.bodies], np.int64)

    def shot_at(self, t: int) -> int:
        """Index of the shot that frame t belongs to."""
        return int(np.searchsorted(self.starts, t, side="right")) - 1

    def bodies_at(self, t: int) -> list[tuple[int, Body]]:
        """(index, body) of the bodies in the shot of frame t."""
        shot = self.shot_at(t)
        return [(index, body) for index, body in enumerate(self.bodies) if body.shot == shot]

    def project(self, points: FloatArray, t: int) -> tuple[FloatArray, FloatArray]:
        """World points [N, 3] in frame t: float64 [N, 2] pixels, [N] depth z (0 or less: behind the camera)."""
        pose = self.poses[t]
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        size = np.array([self.info.width, self.info.height])
        xy: FloatArray = self.focal * local[:, :2] / np.maximum(local[:, 2:], NEAR) + size / 2
        return xy, local[:, 2]

    def unproject(self, xy: FloatArray, depth: FloatArray, t: int) -> FloatArray:
        """World points float64 [N, 3] at pixels [N, 2] and depths z [N] of frame t."""
        size = np.array([self.info.width, self.info.height])
        rays = np.concatenate([(np.asarray(xy, np.float64) - size / 2) / self.focal, np.ones((len(xy), 1))], 1)
        points: FloatArray = rays * np.asarray(depth)[:, None] @ self.poses[t, :3, :3].T + self.poses[t, :3, 3]
        return points
