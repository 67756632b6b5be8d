"""Small patches of many points at once: sampling, similarity, and affine alignment with a template.

Everything is elementwise over points, with sums over each point's own samples only, so that a point's result does
not depend on which other points are there, to the last bit.

Alignment is the inverse compositional Gauss-Newton of Baker and Matthews (2004), "Lucas-Kanade 20 Years On", on
patches of zero mean and unit length, which makes it blind to gain and offset of the light (Evangelidis and Psarakis
2008, "Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization").
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

RADIUS = 6
"""Samples on either side of a patch's centre: 13 x 13 samples."""
import os
STRIDE = float(os.environ.get('STRIDE','2'))
"""Pixels between samples: a patch spans 25 pixels."""
NOISE = 3.0
"""Grey levels of contrast (standard deviation) below which a patch counts as flat."""
MAX_STEP = 3.0
"""Longest translation in pixels of one Gauss-Newton step: beyond it the linearisation means nothing."""


def _grid() -> Array:
    axis = np.arange(-RADIUS, RADIUS + 1, dtype=np.float32) * np.float32(STRIDE)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], 1)


GRID = _grid()
"""float32 [G, 2], the samples' offsets from the centre in pixels."""
CENTRAL = np.flatnonzero(np.abs(GRID).max(1) <= 2 * STRIDE)
"""The 5 x 5 samples nearest to the centre: what is the point itself and not its surroundings."""
IDENTITY = np.eye(2, dtype=np.float32)


def sample(
    image: Array,  # [H, W]
    xy: Array,  # [N, 2] centres, pixels with the top-left pixel's centre at (0.5, 0.5)
    affine: Array,  # [N, 2, 2]
    shift: tuple[float, float] = (0.0, 0.0),  # added to the grid before `affine`
) -> Array:
    """Bilinear samples [N, G] of `image` at ``xy + affine @ (GRID + shift)``; the border pixels go on outside."""
    height, width = image.shape
    gx, gy = GRID[:, 0] + np.float32(shift[0]), GRID[:, 1] + np.float32(shift[1])
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
    index = y0 * width + x0
    top, bottom = flat[index], flat[index + below]
    top += x * (flat[index + right] - top)
    bottom += x * (flat[index + below + right] - bottom)
    top += y * (bottom - top)
    return top


def similarity(a: Array, b: Array) -> Array:
    """Correlation [N] in [-1, 1] of samples a, b [N, G], blind to gain and offset.

    Two flat patches are alike, a flat and a textured one are not: NOISE is added to both contrasts.
    """
    noise = np.float32(NOISE * NOISE)
    a = a - a.mean(1, keepdims=True)
    b = b - b.mean(1, keepdims=True)
    covariance = (a * b).mean(1)
    return (covariance + noise) / np.sqrt(((a * a).mean(1) + noise) * ((b * b).mean(1) + noise))


def _normalise(patch: Array) -> tuple[Array, Array]:
    """Patches [N, G] of zero mean and unit length (less where flat), and the lengths [N, 1]."""
    centred = patch - patch.mean(1, keepdims=True)
    length = np.sqrt((centred * centred).sum(1, keepdims=True) + np.float32(NOISE * NOISE * patch.shape[1]))
    return centred / length, length


@dataclass
class Templates:
    """What patches are aligned with, and the alignment's constant parts.

    Attributes:
        patch: [N, G] grey levels.
        unit: [N, G] the same with zero mean and unit length.
        steepest: [N, 6, G] derivative of `unit` by translation (x, y) and linear part (xx, xy, yx, yy, in units of
            the patch's radius).
        inverse: [N, 6, 6] inverse of the damped Gauss-Newton matrix.
    """

    patch: Array
    unit: Array
    steepest: Array
    inverse: Array

    @classmethod
    def empty(cls, count: int) -> Templates:
        """Room for `count` templates."""
        g = len(GRID)
        shapes = (count, g), (count, g), (count, 6, g), (count, 6, 6)
        return cls(*(np.zeros(shape, np.float32) for shape in shapes))

    @classmethod
    def cut(cls, image: Array, xy: Array) -> Templates:
        """Templates of `image` [H, W] around xy [N, 2]."""
        affine = np.broadcast_to(IDENTITY, (len(xy), 2, 2))
        patch = sample(image, xy, affine)
        dx = (sample(image, xy, affine, (1, 0)) - sample(image, xy, affine, (-1, 0))) / 2
        dy = (sample(image, xy, affine, (0, 1)) - sample(image, xy, affine, (0, -1))) / 2
        unit, length = _normalise(patch)
        scaled = GRID / np.float32(RADIUS * STRIDE)
        u, v = scaled[:, 0], scaled[:, 1]
        steepest = np.stack([dx, dy, dx * u, dx * v, dy * u, dy * v], 1) / length[:, :, None]
        # What gain and offset explain is not motion: project both out.
        steepest -= steepest.mean(2, keepdims=True)
        energy = np.maximum((unit * unit).sum(1), np.float32(1e-6))
        share = (steepest * unit[:, None]).sum(2) / energy[:, None]
        steepest -= share[:, :, None] * unit[:, None]
        matrix = (steepest[:, :, None] * steepest[:, None]).sum(3)
        # Damping in units of squared relative contrast a pixel: directions without texture stay where they are.
        matrix += np.diag(np.array([1, 1, 4, 4, 4, 4], np.float32) * np.float32(1e-3))
        return cls(patch, unit, steepest, np.linalg.inv(matrix).astype(np.float32))

    def __getitem__(self, rows: npt.NDArray[np.intp]) -> Templates:
        return Templates(*(getattr(self, f.name)[rows] for f in fields(self)))

    def put(self, rows: npt.NDArray[np.intp], new: Templates) -> None:
        """Replace the templates of `rows`."""
        for f in fields(self):
            getattr(self, f.name)[rows] = getattr(new, f.name)


def align(
    image: Array,  # [H, W]
    templates: Templates,
    xy: Array,  # [N, 2] where to start
    affine: Array,  # [N, 2, 2]
    steps: int,
) -> tuple[Array, Array, Array]:
    """Move and deform each patch until it looks most like its template.

    Returns:
        xy [N, 2], affine [N, 2, 2], patch [N, G]: the best of all steps by correlation, the start among them.
    """
    xy, affine = xy.astype(np.float32), np.array(affine, dtype=np.float32)
    patch = sample(image, xy, affine)
    best_xy, best_affine, best_patch = xy.copy(), affine.copy(), patch
    best = similarity(patch, templates.patch)
    scale = np.float32(1 / (RADIUS * STRIDE))
    for _ in range(steps):
        error = _normalise(patch)[0] - templates.unit
        slope = (templates.steepest * error[:, None]).sum(2)
        step = (templates.inverse * slope[:, None]).sum(2)
        length = np.sqrt((step[:, :2] * step[:, :2]).sum(1, keepdims=True))
        step *= np.minimum(1, np.float32(MAX_STEP) / np.maximum(length, np.float32(1e-6)))
        xy, affine = _compose(xy, affine, step[:, :2], np.clip(step[:, 2:] * scale, -0.2, 0.2))
        patch = sample(image, xy, affine)
        score = similarity(patch, templates.patch)
        better = score > best
        best = np.where(better, score, best)
        best_xy = np.where(better[:, None], xy, best_xy)
        best_affine = np.where(better[:, None, None], affine, best_affine)
        best_patch = np.where(better[:, None], patch, best_patch)
    return best_xy, best_affine, best_patch


def _compose(xy: Array, affine: Array, shift: Array, linear: Array) -> tuple[Array, Array]:
    """The warp g -> xy + affine @ g after the inverse of g -> shift + (1 + linear) @ g (linear [N, 4] by rows)."""
    a, b, c, d = 1 + linear[:, 0], linear[:, 1], linear[:, 2], 1 + linear[:, 3]
    det = a * d - b * c
    p, q, r, s = d / det, -b / det, -c / det, a / det
    m = affine
    new = np.stack(
        [
            m[:, 0, 0] * p + m[:, 0, 1] * r,
            m[:, 0, 0] * q + m[:, 0, 1] * s,
            m[:, 1, 0] * p + m[:, 1, 1] * r,
            m[:, 1, 0] * q + m[:, 1, 1] * s,
        ],
        1,
    ).reshape(-1, 2, 2)
    moved = new[:, :, 0] * shift[:, :1] + new[:, :, 1] * shift[:, 1:]
    return xy - moved, new


def plausible(affine: Array) -> npt.NDArray[np.bool_]:
    """bool [N]: deformations a surface in view can have: area within 1/4 .. 4, no mirror, axes within 3 to 1."""
    det = affine[:, 0, 0] * affine[:, 1, 1] - affine[:, 0, 1] * affine[:, 1, 0]
    norm = (affine * affine).sum(2).sum(1)
    # Singular values s1 >= s2: s1 s2 = det, s1^2 + s2^2 = norm, and s1 / s2 <= 3 means norm / det <= 3 + 1/3.
    result: npt.NDArray[np.bool_] = (det > 0.25) & (det < 4) & (norm < det * (3 + 1 / 3))
    return result
