"""Quality of cameras: absolute and relative errors of a trajectory after the best similarity.

Absolute trajectory error (ATE) and relative pose error (RPE) as Sturm et al., A benchmark for the evaluation of RGB-D
SLAM systems, IROS 2012, section V, define them; the similarity is Umeyama's, Least-squares estimation of transformation
parameters between two point patterns, TPAMI 1991. Poses are camera-to-world, float64 [F, 4, 4]. The world's orientation
(gravity) plays no part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trackime.arrays import Float64, Int64
from trackime.errors import InputError, ShapeError

_STILL = 1e-9
"""A camera is static if its positions differ by less than this share of their distance from the origin (or of 1)."""


@dataclass(frozen=True, eq=False)
class Similarity:
    """y = scale R x + t.

    Attributes:
        scale: 0 or more.
        rotation: float64 [3, 3], determinant 1.
        translation: float64 [3].
    """

    scale: float
    rotation: Float64
    translation: Float64

    def points(self, x: npt.ArrayLike) -> Float64:
        """Points [..., 3] transformed."""
        return np.asarray(self.scale * np.asarray(x, np.float64) @ self.rotation.T + self.translation)

    def poses(self, poses: npt.ArrayLike) -> Float64:
        """Camera-to-world poses [F, 4, 4] of the same cameras in the other world."""
        out = np.array(poses, np.float64)
        out[:, :3, 3] = self.points(out[:, :3, 3])
        out[:, :3, :3] = self.rotation @ out[:, :3, :3]
        return out


def umeyama(source: npt.ArrayLike, target: npt.ArrayLike, with_scale: bool = True) -> Similarity:
    """The least-squares similarity from points `source` [N, 3] to `target` [N, 3] (Umeyama 1991, 40-43).

    Points on one line, or in one spot, leave rotations undetermined: one of the best is returned. A `source` in one
    spot has scale 0 (1 without a scale); scikit-image's ``estimate_transform`` fails on it, hence our own.

    Raises:
        ShapeError: not [N, 3] both.
        InputError: no points, or numbers that are not finite.
    """
    x, y = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if x.ndim != 2 or x.shape[1] != 3 or not len(x):
        raise ShapeError("source", "[N, 3], N of 1 or more", x.shape)
    if y.shape != x.shape:
        raise ShapeError("target", f"{list(x.shape)} as the source", y.shape)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("umeyama: expected finite points, got NaN or infinity")
    mean_x, mean_y = x.mean(0), y.mean(0)
    a, b = x - mean_x, y - mean_y
    u, d, vt = np.linalg.svd(b.T @ a / len(x))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
    rotation = (u * sign) @ vt
    variance = float((a**2).sum() / len(x))
    scale = 1.0
    if with_scale:
        scale = max(0.0, float((d * sign).sum()) / variance) if variance > 0 else 0.0
    return Similarity(scale, rotation, mean_y - scale * rotation @ mean_x)


@dataclass(frozen=True)
class AbsoluteError:
    """Distances between true and estimated positions after the best similarity, in the unit of the truth.

    Attributes:
        rmse, mean, median, largest: of the distances.
        share: rmse as a share of the length of the true path.
        path: length of the true path.
        scale: of the similarity; 0 where the estimate is static.
    """

    rmse: float
    mean: float
    median: float
    largest: float
    share: float
    path: float
    scale: float


def absolute_error(
    estimate: npt.ArrayLike, truth: npt.ArrayLike, known: npt.ArrayLike | None = None, with_scale: bool = True
) -> AbsoluteError:
    """ATE after Sim(3), or SE(3) without a scale.

    An estimate that is static has scale 0 and the spread of the true path for an error. The path's length is the sum
    of the distances between frames that are known, one after another.

    Args:
        estimate, truth: poses [F, 4, 4].
        known: bool [F], frames whose truth is known. None: all whose pose is finite.
        with_scale: the estimate's unit is not the truth's.

    Raises:
        ShapeError: arrays that do not agree.
        InputError: fewer than 3 known poses, numbers that are not finite, a true camera that is static.
    """
    p, q, _ = _poses(estimate, truth, known, 3)
    x, y = p[:, :3, 3], q[:, :3, 3]
    path = _path(y)
    fit = umeyama(x, y, with_scale)
    off = np.linalg.norm(fit.points(x) - y, axis=1)
    rmse = math.sqrt(float((off**2).mean()))
    return AbsoluteError(
        rmse, float(off.mean()), float(np.median(off)), float(off.max()), rmse / path, path, fit.scale
    )  # fmt: skip


@dataclass(frozen=True)
class RelativeError:
    """Errors of the motion over `gap` frames: Q^-1 P of true and estimated motion.

    Attributes:
        gap: frames.
        translation: root of the mean square, in the unit of the truth.
        degrees: root of the mean square of the angle.
        mean_translation, mean_degrees: means.
        count: motions compared.
    """

    gap: int
    translation: float
    degrees: float
    mean_translation: float
    mean_degrees: float
    count: int


def relative_error(
    estimate: npt.ArrayLike, truth: npt.ArrayLike, gap: int = 1, known: npt.ArrayLike | None = None,
    scale: float | None = None,
) -> RelativeError:  # fmt: skip
    """RPE over `gap` frames.

    Args:
        estimate, truth: poses [F, 4, 4].
        gap: frames between the two ends of a motion.
        known: bool [F]; both ends must be. None: all whose true pose is finite.
        scale: factor on the estimate's positions. None: that of the best similarity of the whole path.

    Raises:
        ShapeError: arrays that do not agree.
        InputError: a gap below 1 or with no motion, fewer than 3 known poses or a true camera that is static where
            the scale is to be found.
    """
    if gap < 1:
        raise InputError(f"gap: expected 1 or more frames, got {gap}")
    p, q, frames = _poses(estimate, truth, known, 3 if scale is None else 2)
    if scale is None:
        _path(q[:, :3, 3])
        scale = umeyama(p[:, :3, 3], q[:, :3, 3]).scale
    p = p.copy()
    p[:, :3, 3] *= scale
    _, first, second = np.intersect1d(frames + gap, frames, return_indices=True)
    if not len(first):
        raise InputError(f"gap: expected known poses {gap} frames apart, got none among {len(frames)}")
    true = np.linalg.inv(q[first]) @ q[second]
    off = np.linalg.inv(true) @ np.linalg.inv(p[first]) @ p[second]
    distance, angle = np.linalg.norm(off[:, :3, 3], axis=1), np.degrees(angles(off[:, :3, :3]))
    return RelativeError(
        gap, math.sqrt(float((distance**2).mean())), math.sqrt(float((angle**2).mean())),
        float(distance.mean()), float(angle.mean()), len(first),
    )  # fmt: skip


def angles(rotation: npt.ArrayLike) -> Float64:
    """Angles [...] in radians of rotations [..., 3, 3], exact near 0 and near a half turn alike."""
    r = np.asarray(rotation, np.float64)
    axis = np.stack([r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]], -1)
    trace = r[..., 0, 0] + r[..., 1, 1] + r[..., 2, 2]
    return np.asarray(np.arctan2(np.linalg.norm(axis, axis=-1), trace - 1))


def _poses(estimate: Any, truth: Any, known: Any, least: int) -> tuple[Float64, Float64, Int64]:
    """Estimated and true poses of the frames that are known, and those frames."""
    p, q = np.asarray(estimate, np.float64), np.asarray(truth, np.float64)
    if q.ndim != 3 or q.shape[1:] != (4, 4):
        raise ShapeError("truth", "[F, 4, 4]", q.shape)
    if p.shape != q.shape:
        raise ShapeError("estimate", f"{list(q.shape)} as the truth", p.shape)
    good = np.isfinite(q).all((1, 2))
    if known is not None:
        asked = np.asarray(known, bool)
        if asked.shape != good.shape:
            raise ShapeError("known", f"[{len(q)}]", asked.shape)
        if (asked & ~good).any():
            raise InputError("truth: expected finite poses where known, got NaN or infinity")
        good = asked
    frames = np.flatnonzero(good)
    if len(frames) < least:
        raise InputError(f"cameras: expected {least} or more known poses to compare, got {len(frames)}")
    if not np.isfinite(p[frames]).all():
        raise InputError("estimate: expected finite poses, got NaN or infinity")
    return p[frames], q[frames], frames


def _path(y: Float64) -> float:
    """Length of a true path [F, 3]. InputError where the camera is static."""
    length = float(np.linalg.norm(np.diff(y, axis=0), axis=1).sum())
    if not length > _STILL * max(1.0, float(np.abs(y).max())) * len(y):
        raise InputError("cameras: expected a true camera that moves, got a static one: no scale, no error")
    return length
