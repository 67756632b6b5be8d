"""True depth spoiled in known ways, to measure what cameras and depth a solve recovers.

A frame's depth z becomes d = exp(a_t) (1 + b_t(x)) z: a scale per frame and a smooth deformation, as monocular networks
err; and, where the source gives disparity, 1 / d less one shift for the whole video.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from trackime.arrays import Float64, FloatArray
from trackime.errors import InputError


class SpoiledDepth:
    """Initial depth (`trackime_apps.depth.InitialDepth`) made from the true one.

    Args:
        truth: depth [H, W] of a frame, 0 unknown.
        frames: of the video.
        scale: standard deviation of the logarithm of a frame's factor.
        deform: largest share by which the smooth deformation changes depth, 0 to below 1.
        shift: taken off the disparity, a share of the smallest one of the video, 0 to below 1; 0: depth is given.
        seed: of the draw.

    Raises:
        InputError: a number outside its range, or frames without depth.
    """

    metric = False

    def __init__(
        self, truth: Callable[[int], FloatArray], frames: int, *, scale: float = 0.3, deform: float = 0.2,
        shift: float = 0.5, seed: int = 0,
    ) -> None:  # fmt: skip
        if frames < 1 or not (scale >= 0 and 0 <= deform < 1 and 0 <= shift < 1):
            got = f"{frames}, {scale:g}, {deform:g}, {shift:g}"
            raise InputError(f"frames, scale, deform, shift: expected 1 or more, 0 or more, [0, 1), [0, 1), got {got}")
        self.truth, self.frames, self.deform = truth, frames, deform
        rng = np.random.default_rng(seed)
        self.factor = np.exp(scale * rng.standard_normal(frames))
        self._phase = rng.uniform(0, 2 * math.pi, (frames, 2))
        self._waves = rng.uniform(2.5, 5.0, (frames, 2))  # at most one wave over the frame
        self.disparity = shift > 0
        self.shift = 0.0
        if shift:
            farthest = max(float(self._spoiled(t).max(initial=0)) for t in range(frames))
            if not farthest > 0:
                raise InputError("depth: expected some that is known, got none")
            self.shift = shift / farthest

    def _spoiled(self, t: int) -> Float64:
        if not 0 <= t < self.frames:
            raise InputError(f"depth map: expected frame 0 .. {self.frames - 1}, got {t}")
        z = np.asarray(self.truth(t), np.float64)
        h, w = z.shape
        bend = [np.sin(self._waves[t, k] * (np.arange(n) + 0.5) / n + self._phase[t, k]) for k, n in enumerate((w, h))]
        return np.asarray(z * self.factor[t] * (1 + self.deform * 0.5 * (bend[0] + bend[1][:, None])))

    def depth(self, t: int) -> FloatArray:
        """float32 [H, W]; 0 where the truth is unknown."""
        d = self._spoiled(t)
        known = np.isfinite(d) & (d > 0)
        d = np.where(known, d, 1)
        return np.where(known, 1 / (1 / d - self.shift), 0).astype(np.float32)
