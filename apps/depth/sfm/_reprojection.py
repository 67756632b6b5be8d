"""Pinhole cameras, reprojection errors of points, their derivatives and their robust loss.

A camera maps a world point X to x = R X + t and to the pixel f (x1, x2) / x3, from the picture's centre. Its step is
R <- exp(w) R, t <- exp(w) t + v; that of the focal length is on its logarithm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.spatial.transform import Rotation

from trackime.arrays import BoolArray, Float64, Int64

_NEAR = 1e-6
"""Depths below this count as behind the camera."""
BEHIND = 1e3
"""Cost in pixels of an observation of a point behind the camera."""


@dataclass(frozen=True, eq=False)
class Views:
    """Cameras and points.

    Attributes:
        rotation: float64 [M, 3, 3], world to camera.
        shift: float64 [M, 3], world to camera.
        points: float64 [P, 3], world; NaN where unknown.
        focal: pixels, of all cameras.
    """

    rotation: Float64
    shift: Float64
    points: Float64
    focal: float

    @classmethod
    def of(cls, poses: Float64, focal: float, points: Float64) -> Views:
        """From camera-to-world poses [M, 4, 4]."""
        rotation = poses[:, :3, :3].transpose(0, 2, 1)
        return cls(rotation, -np.einsum("mij,mj->mi", rotation, poses[:, :3, 3]), points, focal)

    @property
    def centres(self) -> Float64:
        """float64 [M, 3], positions of the cameras in the world."""
        return np.asarray(-np.einsum("mji,mj->mi", self.rotation, self.shift))

    def moved(self, cameras: Float64) -> Views:
        """The cameras after steps (w, v) [M, 6]."""
        turn = Rotation.from_rotvec(cameras[:, :3]).as_matrix()
        shift = np.einsum("mij,mj->mi", turn, self.shift) + cameras[:, 3:]
        return replace(self, rotation=turn @ self.rotation, shift=shift)


@dataclass(frozen=True, eq=False)
class Observations:
    """K observations of points in cameras: camera int64 [K], point int64 [K], xy float64 [K, 2] pixels from the
    picture's centre, weight float64 [K]. A camera observes a point once at most."""

    camera: Int64
    point: Int64
    xy: Float64
    weight: Float64

    def take(self, rows: Int64 | BoolArray | slice) -> Observations:
        return Observations(self.camera[rows], self.point[rows], self.xy[rows], self.weight[rows])


def project(views: Views, seen: Observations) -> tuple[Float64, Float64]:
    """Pixels [K, 2] from the centre and depths [K] of what is seen; pixels are NaN behind the camera."""
    x = np.einsum("kij,kj->ki", views.rotation[seen.camera], views.points[seen.point]) + views.shift[seen.camera]
    z = x[:, 2]
    ahead = np.where(z > _NEAR, z, np.nan)
    return views.focal * x[:, :2] / ahead[:, None], z


def errors(views: Views, seen: Observations) -> Float64:
    """Reprojection errors [K] in pixels; infinite behind the camera."""
    off = np.linalg.norm(project(views, seen)[0] - seen.xy, axis=1)
    return np.nan_to_num(off, nan=np.inf)


def losses(views: Views, seen: Observations, bend: float | Float64 = 1.0) -> Float64:
    """Huber's loss [K] of weighted errors e: e^2 / 2 up to `bend` (of all or [K]), bend (e - bend / 2) beyond."""
    e = np.minimum(errors(views, seen), BEHIND) * seen.weight
    low = np.minimum(e, bend)
    return low * (e - 0.5 * low)


def roots(off: Float64, weight: Float64, bend: float | Float64 = 1.0) -> Float64:
    """Factors [K] on residuals [K, 2] in pixels whose squares are the reweighted `losses`."""
    e = np.linalg.norm(off, axis=1) * weight
    return np.asarray(weight / np.sqrt(np.maximum(e / bend, 1.0)))


def jacobians(views: Views, seen: Observations) -> tuple[Float64, Float64, Float64, Float64]:
    """Derivatives of the pixels by the camera's step [K, 2, 6], the point [K, 2, 3] and log focal [K, 2], and the
    pixels' errors [K, 2]; all zero behind the camera."""
    rotation = views.rotation[seen.camera]
    x = np.einsum("kij,kj->ki", rotation, views.points[seen.point]) + views.shift[seen.camera]
    ahead = x[:, 2] > _NEAR
    inverse = np.where(ahead, 1 / np.where(ahead, x[:, 2], 1.0), 0.0)
    pixels = views.focal * x[:, :2] * inverse[:, None]
    by_x = np.zeros((len(x), 2, 3))
    by_x[:, 0, 0] = by_x[:, 1, 1] = views.focal * inverse
    by_x[:, :, 2] = -pixels * inverse[:, None]
    # The step turns x by w: d x = w x x + v, and a . (w x x) = w . (x x a).
    by_turn = np.cross(x[:, None, :], by_x)
    off = np.where(ahead[:, None], pixels - seen.xy, 0.0)
    return np.concatenate((by_turn, by_x), 2), by_x @ rotation, pixels, off


def gathering(index: Int64, size: int) -> sparse.csr_matrix:
    """The matrix [size, K] that sums rows of one index [K]."""
    k = len(index)
    return sparse.csr_matrix((np.ones(k), (index, np.arange(k))), shape=(size, k))


def summed(gather: sparse.csr_matrix, values: Float64) -> Float64:
    """Sums [size, ...] of values [K, ...] by `gathering`."""
    flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
    return np.asarray(gather @ flat).reshape(gather.shape[0], *values.shape[1:])
