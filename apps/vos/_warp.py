"""Warps that propagate a mask from one frame to another: by the motion of tracked points nearby, or by dense flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from trackime.arrays import Float32, FloatArray, UInt8
from trackime.imaging import MIN_FLOW_SIDE, DenseFlow, forward_backward_error

_NODE = 12
"""Pixels between the nodes at which motions are fitted; between nodes they are interpolated."""


@dataclass(frozen=True)
class Warp:
    """The source position of each pixel of a frame in another frame.

    Attributes:
        source: float32 [h, w, 2], (x, y) in pixels of the other frame, pixel centres at + 0.5.
        error: how far off it may be, pixels (median residual of what it was fitted to).
    """

    source: FloatArray
    error: float

    def apply(self, image: FloatArray, outside: float) -> Float32:
        """`image` [h, w] of the other frame seen in this one; `outside` where that lies outside."""
        # OpenCV puts pixel centres on integers.
        x, y = self.source[..., 0] - np.float32(0.5), self.source[..., 1] - np.float32(0.5)
        border: dict[str, Any] = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": outside}
        return np.asarray(cv2.remap(np.asarray(image, np.float32), x, y, cv2.INTER_LINEAR, **border), np.float32)


def affine(here: FloatArray, there: FloatArray, weights: FloatArray, rounds: int = 8) -> tuple[FloatArray, FloatArray]:
    """The affine map [3, 2] from points `here` to `there` [N, 2], and the robust weight [N] of each of them.

    Iteratively reweighted least squares with Geman and McClure's weights, its scale the median residual. The linear
    part is regularised towards the identity, so that two points, or points on a line, do no harm.
    """
    trust = weights.astype(np.float64).copy()
    result = np.zeros((3, 2))
    for _ in range(rounds):
        total = trust.sum()
        centre, target = (trust @ here) / total, (trust @ there) / total
        a, b = here - centre, there - target
        moment = (a * trust[:, None]).T @ a
        # A ridge worth one point at 20 pixels, and one more for the few.
        ridge = (400.0 * total / len(here)) * (1 + 4 / len(here)) * np.eye(2)
        linear = np.linalg.solve(moment + ridge, (a * trust[:, None]).T @ b + ridge)
        result[:2], result[2] = linear, target - centre @ linear
        residual = np.sqrt(((here @ linear + result[2] - there) ** 2).sum(1))
        scale = max(1.5, 2.5 * float(np.median(residual)))
        trust = weights / (1 + (residual / scale) ** 2) ** 2
    return result, trust


def warp_by_points(
    here: FloatArray,  # [N, 2] in this frame
    there: FloatArray,  # [N, 2] the same points in the other
    weights: FloatArray,  # [N]
    size: tuple[int, int],
    reach: float = 20.0,
) -> Warp:
    """A warp that is affine around every pixel, fitted to the points by their nearness: moving least squares.

    Schaefer, McPhail, Warren, SIGGRAPH 2006, around a robust global affine map instead of the identity: the local
    fit sees only the residual of the global one, damped where points are few, so that it extrapolates safely.

    Args:
        here: at least one point, pixels.
        there: the same points in the other frame.
        weights: how much each is trusted, above 0.
        size: (h, w) of this frame.
        reach: pixels within which points count alike; beyond, by the square of their nearness.
    """
    h, w = size
    world, trust = affine(here, there, weights)
    left = there - (here @ world[:2] + world[2])
    columns, rows = max(2, -(-w // _NODE) + 1), max(2, -(-h // _NODE) + 1)
    y, x = np.meshgrid(np.linspace(0, h, rows), np.linspace(0, w, columns), indexing="ij")
    nodes = np.stack([x.ravel(), y.ravel()], 1)
    correction = _local(nodes, here, left, trust, reach)
    at_points = _local(here, here, left, trust, reach)
    grid = (nodes @ world[:2] + world[2] + correction).reshape(rows, columns, 2).astype(np.float32)
    # cv2.resize and remap round positions to 1/32 of a node's distance; products with the weights do not.
    source = np.einsum("yr,rcd,xc->yxd", _between(h, rows), grid, _between(w, columns), optimize=True)
    residual = np.sqrt(((left - at_points) ** 2).sum(1))
    order = np.argsort(residual)
    half = np.searchsorted(np.cumsum(trust[order]), 0.5 * trust.sum())
    return Warp(np.asarray(source, np.float32), float(residual[order][min(half, len(order) - 1)]))


def _between(pixels: int, nodes: int) -> Float32:
    """Linear weights [pixels, nodes] of nodes at 0 .. `pixels` inclusive for each pixel centre."""
    at = (np.arange(pixels) + 0.5) * (nodes - 1) / pixels
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(nodes))).astype(np.float32)


def _local(at: FloatArray, points: FloatArray, values: FloatArray, weights: FloatArray, reach: float) -> FloatArray:
    """Values [M, 2] at `at` [M, 2] of the affine maps fitted around each to `values` [N, 2] at `points` [N, 2]."""
    nearness = weights / ((((at[:, None] - points) ** 2).sum(-1) / reach**2) + 0.1) ** 2  # [M, N]
    total = nearness.sum(1, keepdims=True)
    # A small constant: far from all points the global map alone holds.
    total += 1e-3 * weights.mean()
    share = nearness / total
    centre, mean = share @ points, share @ values
    a = points[None] - centre[:, None]  # [M, N, 2]
    moment = np.einsum("mn,mni,mnj->mij", share, a, a) + reach**2 * np.eye(2)
    cross = np.einsum("mn,mni,mnj->mij", share, a, values[None] - mean[:, None])
    linear = np.linalg.solve(moment, cross)
    offset = np.clip(at - centre, -2 * reach, 2 * reach)
    return np.asarray(mean + np.einsum("mi,mij->mj", offset, linear))


class FlowWarper:
    """Dense optical flow from a frame back to the one before it."""

    def __init__(self) -> None:
        self._flow = DenseFlow()

    def warp(self, here: UInt8, there: UInt8) -> Warp:
        """The warp between two grey frames [h, w]; its error the median disagreement with the way back."""
        h, w = here.shape
        if min(h, w) < MIN_FLOW_SIDE:
            return Warp(pixel_centres(h, w), 2.0)
        back = self._flow(here, there)
        error = forward_backward_error(back, self._flow(there, here))
        return Warp(pixel_centres(h, w) + back, float(np.median(error)))


def pixel_centres(h: int, w: int) -> Float32:
    """float32 [h, w, 2] (x, y)."""
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    return np.stack([x, y], -1) + np.float32(0.5)
