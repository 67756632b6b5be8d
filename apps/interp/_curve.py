"""How far paths between two frames are bent: from where things were before and will be after.

A path that passes through x0 at s = 0 and x1 at s = 1 is taken as ``x0 + s (x1 - x0) + s (s - 1) c`` (quadratic motion:
Xu et al., Quadratic video interpolation, NeurIPS 2019, equation 2). Two frames say nothing of c, a third one gives it,
and more give it better: hand-held cameras shake at every frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from trackime.arrays import BoolArray, Float32, Float64, FloatArray

_TELLING = 50  # positions that tell how bent paths do
_TELLING_FRAMES = 6  # and different frames: of a few, chance decides


def from_third(flow: Float32, other: Float32, s: float) -> Float32:
    """c of the paths through a third frame.

    Args:
        flow: [h, w, 2] from this frame to the other one of the pair.
        other: [h, w, 2] from this frame to the third.
        s: where the third frame lies: the pair's are at 0 (this) and 1; not 0 or 1.
    """
    return np.asarray((other - np.float32(s) * flow) / np.float32(s * (s - 1)), np.float32)


def weights_at(s: float, places: Sequence[float]) -> Float64:
    """Weights of positions at `places` that give the position at s on the polynomial through all of them.

    Lagrange's formula. In the middle of evenly spaced places, two on each side, they are -1, 9, 9, -1 sixteenths.
    """
    at = np.asarray(places, np.float64)
    gaps = at[:, None] - at[None]
    np.fill_diagonal(gaps, 1.0)
    to = np.where(np.eye(len(at), dtype=bool), 1.0, s - at[None])
    return np.asarray((to / gaps).prod(1))


def from_positions(xy: FloatArray, places: Sequence[float]) -> Float64:
    """c [N, 2] of points whose positions [N, K, 2] are known at `places`; 0 and 1 must be among them.

    c is such that the path has the polynomial's place in the middle between the pair.
    """
    at = list(places)
    middle = np.einsum("nkc,k->nc", xy.astype(np.float64), weights_at(0.5, at))
    straight = (xy[:, at.index(0.0)].astype(np.float64) + xy[:, at.index(1.0)]) / 2
    return np.asarray(4 * (straight - middle))  # s (s - 1) is -1/4 there


def faith(xy: FloatArray, visible: BoolArray, times: FloatArray) -> float:
    """How far bent paths are to be believed, 0 .. 1, from what they would have said of frames that are known.

    Each frame is left out and looked for between the frames beside it, on straight paths and on those bent by the next
    but one (at twice the distance, then). Where bent paths miss by a tenth more than straight ones, motion changes too
    fast for frames so far apart to tell: 0. Where they miss no more: 1. Without enough points to tell: 1.

    Args:
        xy: [N, T, 2].
        visible: [N, T].
        times: [T].
    """
    missed: list[Float64] = []
    for t in range(3, len(times) - 3):
        around = [t - 3, t - 1, t + 1, t + 3]
        use = visible[:, [*around, t]].all(1)
        known, at = xy[use][:, around].astype(np.float64), [float(times[k]) for k in around]
        bent = np.einsum("nkc,k->nc", known, weights_at(float(times[t]), at))
        straight = np.einsum("nkc,k->nc", known[:, 1:3], weights_at(float(times[t]), at[1:3]))
        missed.append(np.stack([np.linalg.norm(xy[use, t] - p, axis=1) for p in (bent, straight)], 1))
    found = np.concatenate(missed) if missed else np.zeros((0, 2))
    if len(missed) < _TELLING_FRAMES or len(found) < _TELLING:
        return 1.0
    by_bent, by_straight = np.median(found, 0)
    return float(np.clip((1.1 * by_straight - by_bent + 1e-3) / (0.1 * by_straight + 1e-3), 0, 1))


def smoothed(field: Float32, weight: Float32, sigma: float) -> tuple[Float32, Float32]:
    """A field [h, w, 2] averaged by weights [h, w] under a Gaussian of `sigma` pixels, and the weights so averaged."""
    mass = np.asarray(cv2.GaussianBlur(weight, (0, 0), sigma), np.float32)
    total = np.asarray(cv2.GaussianBlur(field * weight[..., None], (0, 0), sigma), np.float32)
    return total / (mass[..., None] + np.float32(1e-2)), mass
