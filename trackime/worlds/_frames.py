"""What every procedural video does alike: frames by number, rendered when they are asked for."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from trackime.errors import InputError
from trackime.types import VideoInfo


class Rendered:
    """A video whose frames and masks are made by number; `World` and `Scene` say how.

    Attributes:
        info: size and times.
    """

    info: VideoInfo

    def __len__(self) -> int:
        return self.info.frames

    def frame(self, t: int) -> np.ndarray:
        """Frame t: uint8 [H, W, 3]."""
        raise NotImplementedError

    def mask(self, t: int) -> np.ndarray:
        """Object seen at each pixel centre of frame t: uint8 [H, W]."""
        raise NotImplementedError

    def render(self, t0: int, t1: int) -> np.ndarray:
        """Frames t0 .. t1 - 1: uint8 [t1 - t0, H, W, 3].

        Raises:
            InputError: not 0 <= t0 <= t1 <= T.
        """
        if not 0 <= t0 <= t1 <= len(self):
            raise InputError(f"render: expected 0 <= t0 <= t1 <= {len(self)}, got [{t0}, {t1})")
        out = np.empty((t1 - t0, self.info.height, self.info.width, 3), np.uint8)
        for t in range(t0, t1):
            out[t - t0] = self.frame(t)
        return out

    @cached_property
    def video(self) -> np.ndarray:
        """All frames, uint8 [T, H, W, 3]; rendered once, then kept."""
        return self.render(0, len(self))

    @cached_property
    def masks(self) -> np.ndarray:
        """All masks, uint8 [T, H, W]; rendered once, then kept."""
        return np.stack([self.mask(t) for t in range(len(self))])

    def check_frame(self, t: int) -> None:
        """Raise InputError unless the video has a frame t."""
        if not 0 <= t < len(self):
            raise InputError(f"frame: expected 0 .. {len(self) - 1}, got {t}")
