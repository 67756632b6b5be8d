"""Dense optical flow between two frames, and how far the way there and the way back agree.

Flows are float32 [h, w, 2], (dx, dy) in pixels.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from trackime.arrays import BoolArray, Float32, UInt8

_Grey = UInt8

MIN_FLOW_SIDE = 16
"""A frame with a side below this has no flow: DIS needs room for its patches."""


class DenseFlow:
    """Dense inverse search flow (Kroeger et al., Fast optical flow using dense inverse search, ECCV 2016)."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(self, here: _Grey, there: _Grey, start: Float32 | None = None) -> Float32:
        """The flow from one grey frame uint8 [h, w] to another; zero where a side is shorter than `MIN_FLOW_SIDE`.

        Args:
            here, there: the frames.
            start: a flow [h, w, 2] to begin the search from; None: standstill.
        """
        h, w = here.shape
        if min(h, w) < MIN_FLOW_SIDE:
            return np.zeros((h, w, 2), np.float32)
        here, there = np.ascontiguousarray(here), np.ascontiguousarray(there)
        # OpenCV begins from the array that it writes to.
        begin = np.zeros((h, w, 2), np.float32) if start is None else np.array(start, np.float32, order="C")
        return np.asarray(self._dis.calc(here, there, begin), np.float32)


def warp_backward(image: npt.NDArray[Any], flow: Float32) -> Float32:
    """`image` [h, w] or [h, w, C] of the other frame seen through a flow: its value at x + flow(x), edges repeated."""
    h, w = flow.shape[:2]
    x, y = np.arange(w, dtype=np.float32) + flow[..., 0], np.arange(h, dtype=np.float32)[:, None] + flow[..., 1]
    pulled = cv2.remap(np.asarray(image, np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(pulled, np.float32)


def flow_magnitude(flow: Float32) -> Float32:
    """Pixels [h, w] that a flow [h, w, 2] moves."""
    return np.asarray(np.hypot(flow[..., 0], flow[..., 1]), np.float32)


def forward_backward_error(flow: Float32, back: Float32) -> Float32:
    """Pixels [h, w] by which going there by `flow` and back by `back` misses where it began."""
    return flow_magnitude(flow + warp_backward(back, flow))


def lands_inside(flow: Float32) -> BoolArray:
    """Whether each pixel [h, w] lands inside the frame."""
    h, w = flow.shape[:2]
    x, y = np.arange(w, dtype=np.float32) + flow[..., 0], np.arange(h, dtype=np.float32)[:, None] + flow[..., 1]
    # Centres are whole numbers here: the frame reaches half a pixel further on each side.
    return np.asarray((x >= -0.5) & (x <= w - 0.5) & (y >= -0.5) & (y <= h - 0.5))
