"""Depth as a picture: disparity in the colours of inferno, near bright, one range for the whole video."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from trackime.arrays import FloatArray, UInt8
from trackime.errors import InputError

from ..initial_depth import is_known
from ._depth_range import DepthRange

_UNKNOWN = (112, 112, 112)
"""The colour of unknown depth: a grey, which is not in the colour map."""


@dataclass(frozen=True)
class DepthColours:
    """Colours of depth that do not change from frame to frame.

    Disparity, not depth, is spread over the colours: near surfaces get most of them.
    Inferno rises in lightness evenly, so that equal steps look equal, in print and to the colour-blind, too.

    Attributes:
        near, far: the depths of the brightest and of the darkest colour.

    Raises:
        InputError: not 0 < near <= far.
    """

    near: float
    far: float

    def __post_init__(self) -> None:
        if not 0 < self.near <= self.far < float("inf"):
            raise InputError(f"colours: expected 0 < near <= far, got {self.near:g} and {self.far:g}")

    @classmethod
    def of(cls, depths: DepthRange) -> DepthColours:
        """From the 1st to the 99th percentile of a video; depths beyond them get the end colours."""
        if not depths.count:
            return cls(1.0, 1.0)
        return cls(depths.percentile(1), depths.percentile(99))

    def __call__(self, depth: FloatArray) -> UInt8:
        """uint8 [H, W, 3] of depth [H, W]."""
        known = is_known(depth)
        disparity = np.reciprocal(depth, where=known, out=np.zeros(depth.shape, np.float32), casting="same_kind")
        low, high = 1 / self.far, 1 / self.near
        part = np.clip((disparity - low) / (high - low), 0, 1) if high > low else np.full(depth.shape, 0.5)
        # The darkest tenth of the colour map looks black on a screen.
        level = np.round(25 + 230 * part).astype(np.uint8)
        picture = np.asarray(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)[..., ::-1])
        return np.where(known[..., None], picture, np.array(_UNKNOWN, np.uint8))
