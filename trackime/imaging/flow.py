"""Dense optical flow (DIS) between two frames, backward warping, and the forward-backward error.

Flows are float32 [h, w, 2], (dx, dy) in pixels: what is at pixel p of one frame is at p + flow(p) of the other.
"""

from __future__ import annotations

import cv2
import numpy as np

from trackime.arrays import BoolArray, Float32, FloatArray, UInt8, inside

MIN_FLOW_SIDE = 16
"""Shortest side in pixels of a frame that has a flow: DIS needs room for its patches."""


class DenseFlow:
    """Dense inverse search (DIS): Kroeger et al., Fast optical flow using dense inverse search, ECCV 2016."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(self, here: UInt8, there: UInt8, start: Float32 | None = None) -> Float32:
        """The flow [h, w, 2] from `here` to `there`; zero where a side is shorter than `MIN_FLOW_SIDE`.

        Args:
            here, there: grey frames [h, w].
            start: initial flow [h, w, 2]; None: zero.
        """
        h, w = here.shape
        if min(h, w) < MIN_FLOW_SIDE:
            return np.zeros((h, w, 2), np.float32)
        here, there = np.ascontiguousarray(here), np.ascontiguousarray(there)
        # OpenCV writes to the array of the initial flow.
        begin = np.zeros((h, w, 2), np.float32) if start is None else np.array(start, np.float32, order="C")
        return np.asarray(self._dis.calc(here, there, begin), np.float32)


def _targets(flow: Float32) -> tuple[Float32, Float32]:
    """x and y [h, w] where each pixel goes, whole numbers at the pixels' centres as OpenCV counts."""
    h, w = flow.shape[:2]
    return np.arange(w, dtype=np.float32) + flow[..., 0], np.arange(h, dtype=np.float32)[:, None] + flow[..., 1]


def warp_backward(image: UInt8 | FloatArray, flow: Float32) -> Float32:
    """The other frame's `image` [h, w] or [h, w, C] at p + flow(p), bilinear, edges repeated; float32."""
    warped = cv2.remap(
        np.asarray(image, np.float32), *_targets(flow), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(warped, np.float32)


def flow_magnitude(flow: Float32) -> Float32:
    """Length of each vector [h, w] of a flow [h, w, 2], pixels."""
    return np.asarray(np.hypot(flow[..., 0], flow[..., 1]), np.float32)


def forward_backward_error(flow: Float32, back: Float32) -> Float32:
    """|flow(p) + back(p + flow(p))| [h, w], pixels: 0 where the flow back returns to p (Sundaram et al., ECCV 2010)."""
    return flow_magnitude(flow + warp_backward(back, flow))


def lands_inside(flow: Float32) -> BoolArray:
    """Whether p + flow(p) lies in the frame, bool [h, w], its edges included."""
    return inside(np.stack(_targets(flow), -1) + np.float32(0.5), (flow.shape[0], flow.shape[1]))
