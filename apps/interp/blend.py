"""The simplest method and baseline: a cross-fade of both frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from trackime.arrays import Float32
from trackime.video import Video


class Blend:
    """``(1 - tau) a + tau b`` of the frames a and b on both sides. A `FrameInterpolator`.

    With alpha, colours are weighted by it, so that transparent pixels contribute no colour.
    """

    def __init__(self, video: Video) -> None:
        self.video, self._frames = video, dict[int, Float32]()

    def __call__(self, i: int, j: int, taus: Sequence[float]) -> Iterator[Float32]:
        """See `FrameInterpolator`."""
        self._frames = {t: frame for t, frame in self._frames.items() if t in (i, j)}
        a, b = self._frame(i), self._frame(j)
        for tau in taus:
            yield _blend(a, b, tau)

    def _frame(self, t: int) -> Float32:
        if t not in self._frames:
            frame = self.video.pixels(t, t + 1)[0]
            self._frames[t] = frame.astype(np.float32) / np.float32(np.iinfo(frame.dtype).max)
        return self._frames[t]


def _blend(a: Float32, b: Float32, tau: float) -> Float32:
    """The mean of two frames float32 [H, W, 3 or 4] in [0, 1], b with weight tau."""
    part = np.float32(tau)
    if a.shape[2] == 3:
        return a + part * (b - a)
    old, new = (1 - part) * a[..., 3:], part * b[..., 3:]
    alpha = old + new
    # Where both are transparent the colours keep their plain mean: another program may use them without alpha.
    hidden = alpha == 0
    total = np.where(hidden, np.float32(1), alpha)
    first, second = np.where(hidden, 1 - part, old / total), np.where(hidden, part, new / total)
    return np.concatenate([first * a[..., :3] + second * b[..., :3], alpha], -1).astype(np.float32)
