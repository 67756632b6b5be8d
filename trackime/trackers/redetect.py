"""Where a hidden point has gone, and finding it again when it comes back.

While hidden a point goes on with the frame's dominant motion plus what it had of its own, fading. It is looked for
around that place by normalised cross-correlation of its templates on the half-size image, then aligned.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from trackime.trackers import patches as patches_mod
from trackime.trackers.patches import GRID, RADIUS, Array

SIDE = 2 * RADIUS + 1
"""Samples on a side of a patch; on the half-size image they are its pixels."""
MOTION_GRID = 16
"""Correspondences on the longer side of the frame that the dominant motion is made of."""
ROBUST_PX = 2.0
"""Residual in pixels at which a correspondence has lost half its say in the dominant motion."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame and what is made of it when first needed.

    Attributes:
        grey: uint8 [H, W].
    """

    grey: npt.NDArray[np.uint8]

    @cached_property
    def smooth(self) -> Array:
        """float32 [H, W], low-passed so that patches may be sampled every second pixel."""
        blurred: Array = cv2.GaussianBlur(self.grey, (5, 5), 1.1, borderType=cv2.BORDER_REPLICATE).astype(np.float32)
        return blurred

    @cached_property
    def half(self) -> Array:
        """float32 [ceil(H / 2), ceil(W / 2)], every second pixel of `smooth`."""
        return np.ascontiguousarray(self.smooth[::int(patches_mod.STRIDE), ::int(patches_mod.STRIDE)])


def dominant_motion(
    before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8], window: int, levels: int
) -> npt.NDArray[np.float64]:
    """The affine motion most of the frame follows, float64 [2, 3]: ``xy' = M[:, :2] @ xy + M[:, 2]``.

    Lucas-Kanade on a fixed grid, then an affine fit by iteratively reweighted least squares with Geman-McClure
    weights, started from the median displacement. The identity where nothing can be followed.
    """
    height, width = before.shape
    step = max(8.0, max(height, width) / MOTION_GRID)
    x, y = np.meshgrid(np.arange(step / 2, width, step), np.arange(step / 2, height, step))
    start = np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)
    options = {"winSize": (window, window), "maxLevel": levels}
    moved, status, _ = cv2.calcOpticalFlowPyrLK(before, after, start[:, None] - 0.5, None, **options)
    back, status_back, _ = cv2.calcOpticalFlowPyrLK(after, before, moved, None, **options)
    p, q = start.astype(np.float64), moved[:, 0].astype(np.float64) + 0.5
    good = (status[:, 0] > 0) & (status_back[:, 0] > 0) & (np.abs(back[:, 0] + 0.5 - start).max(1) < 1)
    if good.sum() < 6:
        return np.eye(2, 3)
    return _robust_affine(p[good], q[good])


def _robust_affine(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    centre, scale = p.mean(0), max(1.0, float(p.std()))
    basis = np.concatenate([(p - centre) / scale, np.ones((len(p), 1))], 1)
    shift = np.median(q - p, axis=0)
    residual = q - p - shift
    motion = np.zeros((3, 2))
    for sigma in (8.0, 4.0, 2.0, 1.0, 1.0):
        limit = (sigma * ROBUST_PX) ** 2
        weight = 1 / (1 + (residual**2).sum(1) / limit) ** 2
        # A pinch of "no deformation" keeps the fit tame where the good points lie on a line.
        normal = basis.T @ (weight[:, None] * basis) + np.diag([1e-2, 1e-2, 0]) * weight.sum()
        motion = np.linalg.solve(normal, basis.T @ (weight[:, None] * (q - p)))
        residual = q - p - basis @ motion
    linear = motion[:2].T / scale
    return np.concatenate([np.eye(2) + linear, (motion[2] - linear @ centre)[:, None]], 1)


def search(
    half: Array,  # [h, w] the half-size frame
    patches: Array,  # [N, G] templates
    xy: Array,  # [N, 2] where to look, full-size pixels
    radius: Array,  # [N] how far, full-size pixels
) -> Array:
    """The place [N, 2] within `radius` of `xy` that correlates best with each template.

    Distance counts a little: at the edge of the search the correlation must be 0.1 higher than at its middle.
    """
    found = xy.astype(np.float32)
    S = int(patches_mod.STRIDE)
    middle = np.rint((xy - 0.5) / S).astype(int)
    height, width = half.shape
    for n in range(len(xy)):
        reach = int(np.ceil(radius[n] / S))
        low = middle[n] - reach - RADIUS
        high = middle[n] + reach + RADIUS + 1
        x0, y0 = max(low[0], -RADIUS), max(low[1], -RADIUS)
        x1, y1 = min(high[0], width + RADIUS), min(high[1], height + RADIUS)
        if x1 - x0 < SIDE or y1 - y0 < SIDE:
            continue
        region = _crop(half, x0, y0, x1, y1)
        template = patches[n].reshape(SIDE, SIDE)
        if template.std() < 1 or region.std() < 1:
            continue
        score = cv2.matchTemplate(region, template, cv2.TM_CCOEFF_NORMED)
        u = np.arange(score.shape[1]) + (x0 + RADIUS - middle[n][0])
        v = np.arange(score.shape[0]) + (y0 + RADIUS - middle[n][1])
        score = np.nan_to_num(score) - 0.1 * (u**2 + v[:, None] ** 2) / max(1, reach) ** 2
        best = np.unravel_index(np.argmax(score), score.shape)
        found[n] = S * (middle[n] + (u[best[1]], v[best[0]])) + 0.5
    return found


def _crop(image: Array, x0: int, y0: int, x1: int, y1: int) -> Array:
    """image[y0:y1, x0:x1] with the border pixels going on outside."""
    height, width = image.shape
    inner = image[max(y0, 0) : min(y1, height), max(x0, 0) : min(x1, width)]
    pads = max(-y0, 0), max(y1 - height, 0), max(-x0, 0), max(x1 - width, 0)
    if not any(pads):
        return inner
    padded: Array = cv2.copyMakeBorder(inner, *pads, borderType=cv2.BORDER_REPLICATE)
    return padded


assert len(GRID) == SIDE * SIDE
