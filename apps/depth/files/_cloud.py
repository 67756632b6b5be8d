"""One point cloud of what is static, fused from the depth maps of a video in memory that does not grow with it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trackime.arrays import BoolArray, Float32, Float64, FloatArray, UInt8
from trackime.errors import InputError
from trackime.geometry import Cameras

from ..initial_depth import is_known

POINTS = 500_000
_CELLS = 1 << 20  # cells to each side of the origin: three coordinates are packed into 63 bits
_CURVED = 0.05  # largest difference of disparity from the mean of both neighbours, as a share of it
_STEEP = 0.2  # how much both neighbours may differ


class CloudFusion:
    """Points averaged in cubes (voxels); they grow when there are more than `points`.

    Args:
        voxel: edge of a cube in units of the cameras.
        points: at most so many; memory is some 200 bytes each.

    Attributes:
        voxel: the current edge.

    Raises:
        InputError: not above 0.
    """

    def __init__(self, voxel: float, points: int = POINTS) -> None:
        if not (np.isfinite(voxel) and voxel > 0) or points < 1:
            raise InputError(f"cloud: expected a voxel above 0 and 1 point or more, got {voxel:g} and {points}")
        self.voxel, self.points = float(voxel), points
        self._sums = np.zeros((0, 7))  # x, y, z, red, green, blue, how many
        self._new: list[Float64] = []
        self._waiting = 0

    def add(self, points: npt.ArrayLike, colours: npt.ArrayLike) -> None:
        """Add points [N, 3] and their colours uint8 [N, 3]. Points that are not finite are left out."""
        xyz, rgb = np.asarray(points, np.float64), np.asarray(colours, np.float64)
        fine = np.isfinite(xyz).all(1)
        rows = np.concatenate((xyz[fine], rgb[fine], np.ones((int(fine.sum()), 1))), 1)
        self._new.append(rows)
        self._waiting += len(rows)
        if self._waiting >= self.points:
            self._merge()

    def finish(self) -> tuple[Float32, UInt8]:
        """Points float32 [M, 3], the mean of each cube, and colours uint8 [M, 3]; M is at most `points`."""
        self._merge()
        mean = self._sums[:, :6] / self._sums[:, 6:]
        return mean[:, :3].astype(np.float32), np.round(mean[:, 3:]).astype(np.uint8)

    def _merge(self) -> None:
        self._sums = self._grouped(np.concatenate((self._sums, *self._new)))
        self._new, self._waiting = [], 0
        while len(self._sums) > self.points:
            # Cubes on a surface go as one over the edge squared.
            self.voxel *= max(1.1, 1.05 * (len(self._sums) / self.points) ** 0.5)
            self._sums = self._grouped(self._sums)

    def _grouped(self, rows: Float64) -> Float64:
        """Sums of the rows that fall into one cube. Points beyond a million cubes are dropped: noise at infinity."""
        cell = np.floor(rows[:, :3] / rows[:, 6:] / self.voxel)
        within = (np.abs(cell) < _CELLS).all(1)
        rows, cell = rows[within], cell[within].astype(np.int64) + _CELLS
        key = (cell[:, 0] << 42) | (cell[:, 1] << 21) | cell[:, 2]
        unique, inverse = np.unique(key, return_inverse=True)
        columns = [np.bincount(inverse.ravel(), rows[:, k], len(unique)) for k in range(rows.shape[1])]
        return np.stack(columns, 1)


def surface(
    cameras: Cameras, t: int, depth: FloatArray, use: BoolArray, image: UInt8, stride: int = 1
) -> tuple[Float64, UInt8]:
    """World points [N, 3] and colours [N, 3] of the pixels of frame t that may be used, every `stride`-th each way.

    Flying pixels, between a near and a far surface, are left out (`flying`).
    """
    use = (use & ~flying(depth))[::stride, ::stride]
    y, x = np.nonzero(use)
    xy = np.stack((x * stride + 0.5, y * stride + 0.5), 1)
    return cameras.lift(xy, depth[::stride, ::stride][use], t), image[::stride, ::stride][use]


def flying(depth: FloatArray) -> BoolArray:
    """bool [H, W]: unknown, or where a surface ends: disparity, which is linear on planes, is curved or steep."""
    known = is_known(depth)
    disparity = np.divide(1, depth, out=np.zeros(depth.shape), where=known)
    wide = np.pad(disparity, 1, mode="edge")
    sure = np.pad(known, 1, constant_values=False)
    out = ~known
    for one, other in ((np.s_[1:-1, :-2], np.s_[1:-1, 2:]), (np.s_[:-2, 1:-1], np.s_[2:, 1:-1])):
        both = sure[one] & sure[other]
        curved = np.abs(wide[one] + wide[other] - 2 * disparity) > 2 * _CURVED * disparity
        out |= both & (curved | (np.abs(wide[one] - wide[other]) > _STEEP * disparity))
    return np.asarray(out)
