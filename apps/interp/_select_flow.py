"""Selects one of several candidate flows at each pixel: by photometric cost and forward-backward consistency.

The first candidate is the default: another one replaces it only where it is better by a margin.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from trackime.arrays import Float32, FloatArray, IntArray, UInt8
from trackime.imaging import forward_backward_error, lands_inside, warp_backward

_OFFSETS = [(y, x) for y in range(-3, 4) for x in range(-3, 4) if (y, x) != (0, 0) and (x + y) % 2 == 0]
_EQUAL = 3  # grey levels of difference that count as none
# Costs: a census cost is 0 to 2, all neighbours have changed their order at 2.
_OUTSIDE = 1.2  # of a pixel that leaves the frame and cannot be compared: about that of a poor match
_MARGIN = 0.03  # by which a candidate must be better than the default
_COLOUR, _MOST = 2.0, 0.2  # of a difference of 1 in colour, which is truncated at _MOST
_LARGEST = 4.0  # pixels of forward-backward error that cost 1
_SIGMA = 3.0  # pixels of the Gaussian that smooths costs, so that neighbouring pixels agree
_ROUNDS = 2  # how often both directions are selected, each time against the last selection of the other


def select_flow(
    here: UInt8, there: UInt8, forward: Sequence[Float32], backward: Sequence[Float32]
) -> tuple[Float32, Float32]:
    """The flows of both directions, composed of candidates.

    Args:
        here, there: the frames, uint8 [h, w, 3] RGB.
        forward: candidates [h, w, 2] from here to there, the default first.
        backward: from there to here.
    """
    candidates = (forward, backward)
    photometric = [_photometric(here, there, forward), _photometric(there, here, backward)]
    best = [forward[0], backward[0]]
    for _ in range(_ROUNDS):
        best = [_select(candidates[side], photometric[side], best[1 - side]) for side in (0, 1)]
    return best[0], best[1]


def census(grey: FloatArray | IntArray) -> npt.NDArray[np.int8]:
    """Signs [24, h, w] of what is brighter (1), equal (0), darker (-1) around each pixel (Zabih and Woodfill, 1994).

    By hand: neither OpenCV without its contributed modules nor kornia or scikit-image has a census transform.
    """
    h, w = grey.shape
    wide = cv2.copyMakeBorder(np.asarray(grey, np.int16), 3, 3, 3, 3, cv2.BORDER_REPLICATE)
    signs = np.empty((len(_OFFSETS), h, w), np.int8)
    for k, (y, x) in enumerate(_OFFSETS):
        off = wide[3 + y : 3 + y + h, 3 + x : 3 + x + w] - wide[3 : 3 + h, 3 : 3 + w]
        np.subtract(off > _EQUAL, off < -_EQUAL, out=signs[k], dtype=np.int8)
    return signs


def _photometric(here: UInt8, there: UInt8, flows: Sequence[Float32]) -> list[Float32]:
    """Cost [h, w] of each flow: how much the other frame, warped by it, differs."""
    signs = census(np.asarray(cv2.cvtColor(here, cv2.COLOR_RGB2GRAY), np.uint8))
    found = []
    for flow in flows:
        warped = warp_backward(there, flow)
        other = census(np.round(np.asarray(cv2.cvtColor(warped, cv2.COLOR_RGB2GRAY), np.float32)))
        changed = np.abs(signs - other).sum(0, dtype=np.int16).astype(np.float32) / len(_OFFSETS)
        off = np.abs(warped - here).mean(2) / 255
        cost = changed + _COLOUR * np.minimum(off, _MOST)
        cost[~lands_inside(flow)] = _OUTSIDE
        found.append(np.asarray(cost, np.float32))
    return found


def _select(flows: Sequence[Float32], photometric: Sequence[Float32], back: Float32) -> Float32:
    smooth = []
    for k, (flow, cost) in enumerate(zip(flows, photometric, strict=True)):
        total = cost + np.minimum(forward_backward_error(flow, back) / _LARGEST, 1)
        smooth.append(cv2.GaussianBlur(total, (0, 0), _SIGMA) + (_MARGIN if k else 0))
    label = np.argmin(np.stack(smooth), 0)
    selected = flows[0].copy()
    for k, flow in enumerate(flows[1:], 1):
        selected[label == k] = flow[label == k]
    return selected
