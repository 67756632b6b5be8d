"""The simplest method: both frames laid over each other. What every other one has to beat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trackime.arrays import Float32

if TYPE_CHECKING:
    from trackime.video import Video

    from .config import InterpConfig


class Mean:
    """``(1 - tau) a + tau b`` of the frames a and b on both sides.

    With alpha, colours are weighted by it, so that what cannot be seen lends no colour.
    """

    def __init__(self, video: Video) -> None:
        self.video, self._frames = video, dict[int, Float32]()

    def __call__(self, i: int, j: int, taus: Sequence[float]) -> Iterator[Float32]:
        """See `Between`."""
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
    """Two frames float32 [H, W, 3 or 4] in [0, 1] laid over each other, b with weight tau."""
    part = np.float32(tau)
    if a.shape[2] == 3:
        return a + part * (b - a)
    seen, new = (1 - part) * a[..., 3:], part * b[..., 3:]
    alpha = seen + new
    # Where neither is seen the colours keep their plain mean: there may be more to them than alpha says.
    hidden = alpha == 0
    total = np.where(hidden, np.float32(1), alpha)
    first, second = np.where(hidden, 1 - part, seen / total), np.where(hidden, part, new / total)
    return np.concatenate([first * a[..., :3] + second * b[..., :3], alpha], -1).astype(np.float32)


def make(video: Video, config: InterpConfig, **_: Any) -> Mean:
    """The method for a video."""
    return Mean(video)
