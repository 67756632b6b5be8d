"""Pinhole cameras of a video's frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trackime.arrays import Float64
from trackime.errors import InputError, ShapeError

NEAR = 1e-9
"""Depth below which a point counts as behind the camera."""


@dataclass(frozen=True, eq=False)
class Cameras:
    """Pose and intrinsics of the camera of each frame.

    OpenCV axes (x right, y down, z forward); depth is z, not the length of the ray. Pixels are of the source video, the
    centre of the top-left one at (0.5, 0.5), the principal point at (width / 2, height / 2).

    Attributes:
        poses: float64 [F, 4, 4], camera-to-world.
        focal: float64 [F], pixels.
        width, height: of a frame.

    Raises:
        ShapeError: poses not [F, 4, 4] or focal not [F].
        InputError: numbers that are not finite, invalid rotations, focal lengths not above 0.
    """

    poses: Float64
    focal: Float64
    width: int
    height: int

    def __post_init__(self) -> None:
        poses, focal = np.asarray(self.poses, np.float64), np.asarray(self.focal, np.float64)
        object.__setattr__(self, "poses", poses)
        object.__setattr__(self, "focal", focal)
        if poses.ndim != 3 or poses.shape[1:] != (4, 4):
            raise ShapeError("poses", "[F, 4, 4]", poses.shape)
        if focal.shape != (len(poses),):
            raise ShapeError("focal", f"[{len(poses)}]", focal.shape)
        if self.width < 1 or self.height < 1:
            raise InputError(f"cameras: expected frames of at least 1x1 pixels, got {self.width}x{self.height}")
        if not np.isfinite(poses).all():
            raise InputError("poses: expected finite numbers, got NaN or infinity")
        rotation = poses[:, :3, :3]
        off = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max(initial=0)
        if off > 1e-4 or (np.linalg.det(rotation) < 0).any():
            raise InputError("poses: expected rotations in the upper left 3x3, got other matrices")
        if not (np.isfinite(focal) & (focal > 0)).all():
            raise InputError("focal: expected positive numbers of pixels, got others")

    def __len__(self) -> int:
        return len(self.focal)

    def intrinsics(self, t: int) -> Float64:
        """float64 [3, 3] of frame t; subtract 0.5 from the centre for OpenCV's calls."""
        f = self.focal[t]
        return np.array([[f, 0, self.width / 2], [0, f, self.height / 2], [0, 0, 1]])

    def lift(self, xy: npt.ArrayLike, z: npt.ArrayLike, t: int) -> Float64:
        """World points [N, 3] of pixels [N, 2] of frame t at depths [N]."""
        pixels, depth = np.asarray(xy, np.float64), np.asarray(z, np.float64)[:, None]
        rays = (pixels - (self.width / 2, self.height / 2)) / self.focal[t]
        camera = np.concatenate((rays, np.ones_like(depth)), 1) * depth
        return np.asarray(camera @ self.poses[t, :3, :3].T + self.poses[t, :3, 3])

    def project(self, points: npt.ArrayLike, t: int) -> tuple[Float64, Float64]:
        """Pixels [N, 2] in frame t and depths [N] of world points [N, 3]; pixels are NaN behind the camera."""
        camera = (np.asarray(points, np.float64) - self.poses[t, :3, 3]) @ self.poses[t, :3, :3]
        z = camera[:, 2]
        ahead = z > NEAR
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            xy = camera[:, :2] / z[:, None] * self.focal[t] + (self.width / 2, self.height / 2)
        return np.where(ahead[:, None], xy, np.nan), z
