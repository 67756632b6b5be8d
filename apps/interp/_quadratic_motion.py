"""Quadratic motion between two frames, from positions before and after them.

A path that passes through x0 at s = 0 and x1 at s = 1 is modelled as ``x0 + s (x1 - x0) + s (s - 1) c`` (Xu et al.,
Quadratic video interpolation, NeurIPS 2019, equation 2). Two frames do not determine c, a third one does, and more
frames make it more accurate: hand-held cameras shake at every frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from trackime.arrays import BoolArray, Float32, Float64, FloatArray

_LEAST_POSITIONS = 50  # needed to judge quadratic motion
_LEAST_FRAMES = 6  # and different frames: of fewer, chance decides


def from_third_frame(flow: Float32, other: Float32, s: float) -> Float32:
    """c of the paths through a third frame.

    Args:
        flow: [h, w, 2] from this frame to the other one of the pair.
        other: [h, w, 2] from this frame to the third.
        s: where the third frame lies: the pair's are at 0 (this) and 1; not 0 or 1.
    """
    return np.asarray((other - np.float32(s) * flow) / np.float32(s * (s - 1)), np.float32)


def lagrange_weights(s: float, places: Sequence[float]) -> Float64:
    """Weights of positions at `places` that give the position at s on the polynomial through them.

    Lagrange's formula. In the middle of evenly spaced places, two on each side, they are -1, 9, 9, -1 sixteenths.
    """
    at = np.asarray(places, np.float64)
    gaps = at[:, None] - at[None]
    np.fill_diagonal(gaps, 1.0)
    to = np.where(np.eye(len(at), dtype=bool), 1.0, s - at[None])
    return np.asarray((to / gaps).prod(1))


def from_positions(xy: FloatArray, places: Sequence[float]) -> Float64:
    """c [N, 2] of points whose positions [N, K, 2] are known at `places`; 0 and 1 must be among them.

    c is such that the path meets the interpolating polynomial half-way between the pair.
    """
    at = list(places)
    middle = np.einsum("nkc,k->nc", xy.astype(np.float64), lagrange_weights(0.5, at))
    straight = (xy[:, at.index(0.0)].astype(np.float64) + xy[:, at.index(1.0)]) / 2
    return np.asarray(4 * (straight - middle))  # s (s - 1) is -1/4 there


def quadratic_confidence(xy: FloatArray, visible: BoolArray, times: FloatArray) -> float:
    """The weight, 0 .. 1, of quadratic against linear motion, from how well each predicts known frames.

    Each frame is left out and predicted from its neighbours, linearly and with the next but one (at twice the distance,
    then). Where quadratic predictions are off by a tenth more than linear ones, motion changes too fast for frames so
    far apart: 0. Where they are no worse: 1. Without enough points to judge: 1.

    Args:
        xy: [N, T, 2] positions in pixels.
        visible: [N, T].
        times: [T] seconds.
    """
    errors: list[Float64] = []
    for t in range(3, len(times) - 3):
        around = [t - 3, t - 1, t + 1, t + 3]
        use = visible[:, [*around, t]].all(1)
        known, at = xy[use][:, around].astype(np.float64), [float(times[k]) for k in around]
        quadratic = np.einsum("nkc,k->nc", known, lagrange_weights(float(times[t]), at))
        linear = np.einsum("nkc,k->nc", known[:, 1:3], lagrange_weights(float(times[t]), at[1:3]))
        errors.append(np.stack([np.linalg.norm(xy[use, t] - p, axis=1) for p in (quadratic, linear)], 1))
    found = np.concatenate(errors) if errors else np.zeros((0, 2))
    if len(errors) < _LEAST_FRAMES or len(found) < _LEAST_POSITIONS:
        return 1.0
    quadratic_error, linear_error = np.median(found, 0)
    return float(np.clip((1.1 * linear_error - quadratic_error + 1e-3) / (0.1 * linear_error + 1e-3), 0, 1))


def weighted_blur(field: Float32, weight: Float32, sigma: float) -> tuple[Float32, Float32]:
    """A field [h, w, 2] averaged by weights [h, w] under a Gaussian of `sigma` pixels, and the weights so averaged."""
    mass = np.asarray(cv2.GaussianBlur(weight, (0, 0), sigma), np.float32)
    total = np.asarray(cv2.GaussianBlur(field * weight[..., None], (0, 0), sigma), np.float32)
    return total / (mass[..., None] + np.float32(1e-2)), mass
