"""The frames that motion is estimated on: those around a pair of one shot, at a bounded size."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Collection

import cv2
import numpy as np

from trackime.arrays import UInt8
from trackime.errors import InputError
from trackime.video.reader import Video

_LARGEST = 1920 * 1088
"""Most pixels of a frame for motion estimation: larger ones are halved until they fit. Flow has no finer detail."""


class MotionFrames:
    """Frames of a video for motion estimation: without duplicates, by shots, at a bounded size.

    Args:
        video: the frames.
        cuts: frames that begin a shot.
        duplicates: frames that are left out.
        kept: frames held in memory, so that each is read once.

    Attributes:
        size: their (h, w) in pixels; larger videos are shrunk by a power of two.
    """

    def __init__(
        self, video: Video, cuts: Collection[int] = (), duplicates: Collection[int] = (), kept: int = 8
    ) -> None:
        self.video, self._kept = video, kept
        self._reader = video.again()  # reads ahead of the video itself
        self._cuts, gone = sorted(cuts), set(duplicates)
        self._frames = [t for t in range(len(video)) if t not in gone]
        shrink, info = 1, video.info
        while info.width * info.height > _LARGEST * shrink**2:
            shrink *= 2
        self.size = (-(-info.height // shrink), -(-info.width // shrink))
        self._colour: OrderedDict[int, UInt8] = OrderedDict()
        self._grey: OrderedDict[int, UInt8] = OrderedDict()

    def shot(self, t: int) -> list[int]:
        """The frames of the shot of frame t, duplicates left out."""
        place = bisect_right(self._cuts, t)
        start = self._cuts[place - 1] if place else 0
        stop = self._cuts[place] if place < len(self._cuts) else len(self.video)
        return self._frames[bisect_left(self._frames, start) : bisect_left(self._frames, stop)]

    def around(self, i: int, j: int, reach: int) -> tuple[list[int], list[int]]:
        """Up to `reach` frames of the shot before i, nearest first, and after j.

        Raises:
            InputError: i and j do not follow each other in one shot.
        """
        shot = self.shot(i)
        k = bisect_left(shot, i)
        if k + 1 >= len(shot) or shot[k] != i or shot[k + 1] != j:
            raise InputError(f"expected two neighbouring frames of one shot, got {i} and {j}")
        return shot[max(0, k - reach) : k][::-1], shot[k + 2 : k + 2 + reach]

    def colour(self, t: int) -> UInt8:
        """Frame t, uint8 [h, w, 3] RGB."""
        if t not in self._colour:
            frame, (h, w) = self._reader[t], self.size
            self._colour[t] = np.asarray(cv2.resize(frame, (w, h), interpolation=cv2.INTER_AREA), np.uint8)
        return self._take(self._colour, t)

    def grey(self, t: int) -> UInt8:
        """Frame t, uint8 [h, w]."""
        if t not in self._grey:
            self._grey[t] = np.asarray(cv2.cvtColor(self.colour(t), cv2.COLOR_RGB2GRAY), np.uint8)
        return self._take(self._grey, t)

    def _take(self, cache: OrderedDict[int, UInt8], t: int) -> UInt8:
        cache.move_to_end(t)
        while len(cache) > self._kept:
            cache.popitem(last=False)
        return cache[t]
