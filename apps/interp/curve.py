"""How far paths between two frames are bent: from where things were before and will be after.

A path that passes through x0 at s = 0 and x1 at s = 1 is taken as ``x0 + s (x1 - x0) + s (s - 1) c`` (quadratic motion:
Xu et al., Quadratic video interpolation, NeurIPS 2019, equation 2). Two frames say nothing of c, a third one gives it,
and more give it better: hand-held cameras shake at every frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from ..flow import Field


def from_third(flow: Field, other: Field, s: float) -> Field:
    """c of the paths through a third frame.

    Args:
        flow: [h, w, 2] from this frame to the other one of the pair.
        other: [h, w, 2] from this frame to the third.
        s: where the third frame lies: the pair's are at 0 (this) and 1; not 0 or 1.
    """
    return np.asarray((other - np.float32(s) * flow) / np.float32(s * (s - 1)), np.float32)


def middle_weights(places: Sequence[float]) -> npt.NDArray[np.float64]:
    """Weights of positions at `places` that give the position at s = 1/2 on the polynomial through all of them.

    Lagrange's formula. Of evenly spaced places, two on each side, they are -1, 9, 9, -1 sixteenths.
    """
    at = np.asarray(places, np.float64)
    gaps = at[:, None] - at[None]
    np.fill_diagonal(gaps, 1.0)
    to = np.where(np.eye(len(at), dtype=bool), 1.0, 0.5 - at[None])
    return np.asarray((to / gaps).prod(1))


def from_positions(xy: npt.NDArray[np.floating], places: Sequence[float]) -> npt.NDArray[np.float64]:
    """c [N, 2] of points whose positions [N, K, 2] are known at `places`; 0 and 1 must be among them.

    c is such that the path has the polynomial's place in the middle between the pair.
    """
    at = list(places)
    middle = np.einsum("nkc,k->nc", xy.astype(np.float64), middle_weights(at))
    straight = (xy[:, at.index(0.0)].astype(np.float64) + xy[:, at.index(1.0)]) / 2
    return np.asarray(4 * (straight - middle))  # s (s - 1) is -1/4 there


def smoothed(field: Field, weight: Field, sigma: float) -> tuple[Field, Field]:
    """A field [h, w, 2] averaged by weights [h, w] under a Gaussian of `sigma` pixels, and the weights so averaged."""
    mass = np.asarray(cv2.GaussianBlur(weight, (0, 0), sigma), np.float32)
    total = np.asarray(cv2.GaussianBlur(field * weight[..., None], (0, 0), sigma), np.float32)
    return total / (mass[..., None] + np.float32(1e-2)), mass
