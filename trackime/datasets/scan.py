"""A video with true depth and cameras, whatever the layout of its data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trackime.arrays import BoolArray, Float64
from trackime.errors import FormatError


@dataclass(frozen=True, eq=False)
class Scan:
    """T frames, their cameras and depth maps.

    OpenCV axes; depth is z, not the length of the ray; the centre of the top-left pixel is (0.5, 0.5).

    Attributes:
        name: unique in its data set.
        video: the folder of frames, for `open_video`.
        depths: T paths; None where a frame has no depth.
        read: depth [H, W] of a path, 0 unknown.
        poses: float64 [T, 4, 4] camera-to-world, in the unit of depth; NaN where a frame's is unknown.
        intrinsics: float64 [T, 3, 3], frame spans [0, W] x [0, H].
        size: (h, w).
    """

    name: str
    video: Path
    depths: tuple[Path | None, ...]
    read: Callable[[Path], Float64]
    poses: Float64
    intrinsics: Float64
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.depths)

    @property
    def known(self) -> BoolArray:
        """bool [T], frames whose pose is known."""
        return np.asarray(np.isfinite(self.poses).all((1, 2)))

    def depth(self, t: int) -> Float64:
        """float64 [H, W], 0 unknown; all 0 where the frame has none. Raises FormatError."""
        path = self.depths[t]
        if path is None:
            return np.zeros(self.size)
        depth = self.read(path)
        if depth.shape != self.size:
            raise FormatError(f"{path}: expected depth {list(self.size)} as the frames, got {list(depth.shape)}")
        return depth

    def lift(self, xy: Float64, z: Float64, t: int) -> Float64:
        """World points [N, 3] of pixels [N, 2] of frame t at depths [N]."""
        rays = np.concatenate([xy, np.ones((len(xy), 1))], 1) @ np.linalg.inv(self.intrinsics[t]).T
        return np.asarray((rays * z[:, None]) @ self.poses[t, :3, :3].T + self.poses[t, :3, 3])

    def project(self, points: Float64, t: int) -> tuple[Float64, Float64]:
        """Pixels [N, 2] in frame t and depths [N] of world points [N, 3]; pixels are meaningless unless depth > 0."""
        # The rotation is orthogonal: its inverse is its transpose.
        camera = (points - self.poses[t, :3, 3]) @ self.poses[t, :3, :3]
        z = camera[:, 2]
        image = camera @ self.intrinsics[t].T
        return image[:, :2] / np.where(z > 1e-6, z, 1)[:, None], z


def png_depth(unit: float) -> Callable[[Path], Float64]:
    """A reader of 16-bit PNG depth in which `unit` is 1 metre and 0 unknown."""

    def read(path: Path) -> Float64:
        import cv2

        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is None or image.dtype != np.uint16 or image.ndim != 2:
            got = "no image" if image is None else f"{image.dtype} {list(image.shape)}"
            raise FormatError(f"{path}: expected 16-bit depth [H, W], got {got}")
        return image.astype(np.float64) / unit

    return read


def numbers(path: Path, shape: tuple[int | None, int], comment: str = "#") -> Float64:
    """A text file of numbers: float64 of a shape, lines None: any. Raises FormatError."""
    lines = "lines" if shape[0] is None else f"{shape[0]} lines"
    try:
        rows = [line.split() for line in path.read_text().splitlines() if line.strip() and not line.startswith(comment)]
        values = np.array(rows, np.float64)
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: expected {lines} of {shape[1]} numbers, got: {error}") from None
    rank = values.ndim == 2 and values.shape[1] == shape[1] and shape[0] in (None, len(values))
    if not rank or not np.isfinite(values).all():
        raise FormatError(f"{path}: expected {lines} of {shape[1]} finite numbers, got {list(values.shape)}")
    return values


def centred(intrinsics: Float64, frames: int) -> Float64:
    """Intrinsics [3, 3] of pixels whose centres are integers, as [T, 3, 3] of ours: the centre moves by 0.5."""
    ours = np.array(intrinsics, np.float64)
    ours[:2, 2] += 0.5
    return np.tile(ours, (frames, 1, 1))


def check_poses(poses: Float64, where: Path) -> None:
    """FormatError where a finite matrix of [T, 4, 4] has no rotation in it."""
    rotation = poses[np.isfinite(poses).all((1, 2)), :3, :3]
    off = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max(initial=0)
    if off > 1e-2 or (np.linalg.det(rotation) < 0).any():
        raise FormatError(f"{where}: expected rotations, got matrices that are none")
