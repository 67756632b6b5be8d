"""Small patches of many points at once: sampling, similarity, and affine alignment with a template.

Everything is elementwise over points, with sums over each point's own samples only, so that a point's result does
not depend on which other points are there, to the last bit.

Alignment is the inverse compositional Gauss-Newton of Baker and Matthews (2004), "Lucas-Kanade 20 Years On", on
patches of zero mean and unit length, which makes it blind to gain and offset of the light (Evangelidis and Psarakis
2008, "Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trackime.arrays import BoolArray, FloatArray, Int64

RADIUS = 6
"""Samples on either side of a patch's centre."""
SIDE = 2 * RADIUS + 1
"""Samples on a side of a patch."""
_NOISE = 3.0
"""Grey levels of contrast (standard deviation) below which a patch counts as flat."""
_MAX_STEP = 3.0
"""Longest translation in samples of one Gauss-Newton step: beyond it the linearisation means nothing."""
_DAMPING = np.diag(np.array([1, 1, 4, 4, 4, 4], np.float32) * np.float32(1e-3))
"""Added to the Gauss-Newton matrix, squared relative contrast a sample: what has no texture to steer it stays."""


def _grid() -> FloatArray:
    axis = np.arange(-RADIUS, RADIUS + 1, dtype=np.float32)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], 1)


GRID = _grid()
"""float32 [G, 2], the samples' offsets from the centre, in samples."""
CENTRAL = np.flatnonzero(np.abs(GRID).max(1) <= 2)
"""The 5 x 5 samples nearest to the centre: what is the point itself and not its surroundings."""


def identity(count: int) -> FloatArray:
    """`count` identity matrices, [N, 2, 2]."""
    return np.tile(np.eye(2, dtype=np.float32), (count, 1, 1))


def length(vectors: FloatArray) -> FloatArray:
    """Lengths [N] of vectors [N, 2]."""
    return np.sqrt((vectors * vectors).sum(1))


def sample(
    image: FloatArray,  # [H, W]
    xy: FloatArray,  # [N, 2] centres, pixels with the top-left pixel's centre at (0.5, 0.5)
    affine: FloatArray | None,  # [N, 2, 2]; None: upright
    stride: int,  # pixels between samples
    shift: tuple[int, int] = (0, 0),  # samples added to the grid before `affine`
) -> FloatArray:
    """Bilinear samples [N, G] of `image` at ``xy + stride * affine @ (GRID + shift)``; borders go on outside."""
    height, width = image.shape
    affine = identity(len(xy)) if affine is None else affine
    gx, gy = (np.float32(stride) * (GRID + np.array(shift, np.float32))).T
    half = np.float32(0.5)
    x = (xy[:, :1] - half) + (affine[:, 0, :1] * gx + affine[:, 0, 1:] * gy)
    y = (xy[:, 1:] - half) + (affine[:, 1, :1] * gx + affine[:, 1, 1:] * gy)
    np.clip(x, 0, width - 1, out=x)
    np.clip(y, 0, height - 1, out=y)
    x0, y0 = x.astype(np.int32), y.astype(np.int32)
    x -= x0
    y -= y0
    flat = np.ascontiguousarray(image).ravel()
    right = (x0 < width - 1).astype(np.int32)
    below = np.where(y0 < height - 1, np.int32(width), np.int32(0))
    index = y0 * np.int32(width) + x0
    top, bottom = flat[index], flat[index + below]
    top += x * (flat[index + right] - top)
    bottom += x * (flat[index + below + right] - bottom)
    top += y * (bottom - top)
    return top


def similarity(a: FloatArray, b: FloatArray) -> FloatArray:
    """Correlation [N] in [-1, 1] of samples a, b [N, G], blind to gain and offset.

    Two flat patches are alike, a flat and a textured one are not: NOISE is added to both contrasts.
    """
    noise = np.float32(_NOISE * _NOISE)
    a = a - a.mean(1, keepdims=True)
    b = b - b.mean(1, keepdims=True)
    covariance = (a * b).mean(1)
    result: FloatArray = (covariance + noise) / np.sqrt(((a * a).mean(1) + noise) * ((b * b).mean(1) + noise))
    return result


def central_similarity(a: FloatArray, b: FloatArray) -> FloatArray:
    """`similarity` of the CENTRAL samples alone."""
    # np.take gives rows in memory order whatever N is; indexing with an array might not, and sums would differ.
    return similarity(np.take(a, CENTRAL, axis=1), np.take(b, CENTRAL, axis=1))


def _normalise(patch: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Patches [N, G] of zero mean and unit length (less where flat), and the lengths [N, 1]."""
    centred = patch - patch.mean(1, keepdims=True)
    norm = np.sqrt((centred * centred).sum(1, keepdims=True) + np.float32(_NOISE * _NOISE * patch.shape[1]))
    return centred / norm, norm


@dataclass
class Templates:
    """What patches are aligned with, and the alignment's constant parts.

    Attributes:
        patch: [N, G] grey levels.
        unit: [N, G] the same with zero mean and unit length.
        steepest: [N, 6, G] derivative of `unit` by translation (x, y; a sample each) and by the linear part (xx, xy,
            yx, yy, in units of 1 / RADIUS).
        inverse: [N, 6, 6] inverse of the damped Gauss-Newton matrix.
    """

    patch: FloatArray
    unit: FloatArray
    steepest: FloatArray
    inverse: FloatArray

    @classmethod
    def empty(cls, count: int) -> Templates:
        """Room for `count` templates."""
        g = len(GRID)
        shapes = (count, g), (count, g), (count, 6, g), (count, 6, 6)
        return cls(*(np.zeros(shape, np.float32) for shape in shapes))

    @classmethod
    def cut(cls, image: FloatArray, xy: FloatArray, stride: int) -> Templates:
        """Templates of `image` [H, W] around xy [N, 2]."""
        patch = sample(image, xy, None, stride)
        dx = (sample(image, xy, None, stride, (1, 0)) - sample(image, xy, None, stride, (-1, 0))) / 2
        dy = (sample(image, xy, None, stride, (0, 1)) - sample(image, xy, None, stride, (0, -1))) / 2
        unit, norm = _normalise(patch)
        u, v = (GRID / np.float32(RADIUS)).T
        steepest = np.stack([dx, dy, dx * u, dx * v, dy * u, dy * v], 1) / norm[:, :, None]
        # What gain and offset explain is not motion: project both out.
        steepest -= steepest.mean(2, keepdims=True)
        energy = np.maximum((unit * unit).sum(1), np.float32(1e-6))
        share = (steepest * unit[:, None]).sum(2) / energy[:, None]
        steepest -= share[:, :, None] * unit[:, None]
        matrix = (steepest[:, :, None] * steepest[:, None]).sum(3) + _DAMPING
        return cls(patch, unit, steepest, np.linalg.inv(matrix).astype(np.float32))

    def __getitem__(self, rows: Int64) -> Templates:
        return Templates(self.patch[rows], self.unit[rows], self.steepest[rows], self.inverse[rows])

    def put(self, rows: Int64, new: Templates) -> None:
        """Replace the templates of `rows`."""
        self.patch[rows], self.unit[rows] = new.patch, new.unit
        self.steepest[rows], self.inverse[rows] = new.steepest, new.inverse


def align_patches(
    image: FloatArray,  # [H, W]
    templates: Templates,
    xy: FloatArray,  # [N, 2] where to start
    affine: FloatArray,  # [N, 2, 2]
    stride: int,
    steps: int,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Move and deform each patch until it looks most like its template.

    Returns:
        xy [N, 2], affine [N, 2, 2], patch [N, G]: the best of all steps by `similarity`, the start among them.
    """
    patch = sample(image, xy, affine, stride)
    best_xy, best_affine, best_patch = xy, affine, patch
    best = similarity(patch, templates.patch)
    for _ in range(steps):
        error = _normalise(patch)[0] - templates.unit
        slope = (templates.steepest * error[:, None]).sum(2)
        step = (templates.inverse * slope[:, None]).sum(2)
        shift = step[:, :2] * np.minimum(1, np.float32(_MAX_STEP) / np.maximum(length(step[:, :2]), 1e-6))[:, None]
        xy, affine = _compose(xy, affine, shift * np.float32(stride), np.clip(step[:, 2:] / RADIUS, -0.2, 0.2))
        patch = sample(image, xy, affine, stride)
        score = similarity(patch, templates.patch)
        better = score > best
        best = np.where(better, score, best)
        best_xy = np.where(better[:, None], xy, best_xy)
        best_affine = np.where(better[:, None, None], affine, best_affine)
        best_patch = np.where(better[:, None], patch, best_patch)
    return best_xy, best_affine, best_patch


def _compose(
    xy: FloatArray, affine: FloatArray, shift: FloatArray, linear: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The warp g -> xy + affine @ g after the inverse of g -> shift + (1 + linear) @ g (linear [N, 4] by rows)."""
    a, b, c, d = 1 + linear[:, 0], linear[:, 1], linear[:, 2], 1 + linear[:, 3]
    det = a * d - b * c
    p, q, r, s = d / det, -b / det, -c / det, a / det
    m = affine
    rows = [m[:, i, 0] * left + m[:, i, 1] * right for i in (0, 1) for left, right in ((p, r), (q, s))]
    new = np.stack(rows, 1).reshape(-1, 2, 2)
    moved = new[:, :, 0] * shift[:, :1] + new[:, :, 1] * shift[:, 1:]
    return xy - moved, new


def plausible(affine: FloatArray) -> BoolArray:
    """bool [N]: deformations a surface in view can have: area within 1/4 .. 4, no mirror, axes within 3 to 1."""
    det = affine[:, 0, 0] * affine[:, 1, 1] - affine[:, 0, 1] * affine[:, 1, 0]
    norm = (affine * affine).sum(2).sum(1)
    # Singular values s1 >= s2: s1 s2 = det and s1^2 + s2^2 = norm, so s1 / s2 <= 3 means norm / det <= 3 + 1/3.
    result: BoolArray = (det > 0.25) & (det < 4) & (norm < det * (3 + 1 / 3))
    return result
