"""The frames that motion is estimated on: neighbours of a pair within its shot, at a bounded size."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Collection

import cv2
import numpy as np

from trackime.arrays import UInt8
from trackime.errors import InputError
from trackime.video.reader import Video

LARGEST = 1920 * 1088
"""Motion is estimated on at most so many pixels: larger frames are halved until they fit. Flow has no finer detail."""


class Pictures:
    """Frames of a video for motion estimation: without duplicates, shot by shot, at a bounded size.

    Args:
        video: the frames.
        cuts: frames that begin a shot.
        duplicates: repeated frames, which are skipped.
        kept: frames cached, so that each is read once.

    Attributes:
        shrink: the video's pixels are so many times smaller than the pictures', a power of two.
        size: (h, w) of the pictures.
    """

    def __init__(
        self, video: Video, cuts: Collection[int] = (), duplicates: Collection[int] = (), kept: int = 8
    ) -> None:
        self.video, self._most = video, kept
        self._reader = video.again()  # reads ahead of the main reader
        self._cuts, gone = sorted(cuts), set(duplicates)
        self._frames = [t for t in range(len(video)) if t not in gone]
        self.shrink, info = 1, video.info
        while info.width * info.height > LARGEST * self.shrink**2:
            self.shrink *= 2
        self.size = (-(-info.height // self.shrink), -(-info.width // self.shrink))
        self._colour: OrderedDict[int, UInt8] = OrderedDict()
        self._grey: OrderedDict[int, UInt8] = OrderedDict()

    def shot(self, t: int) -> list[int]:
        """The frames of the shot of frame t, without duplicates."""
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
        return self._keep(self._colour, t)

    def grey(self, t: int) -> UInt8:
        """Frame t, uint8 [h, w]."""
        if t not in self._grey:
            self._grey[t] = np.asarray(cv2.cvtColor(self.colour(t), cv2.COLOR_RGB2GRAY), np.uint8)
        return self._keep(self._grey, t)

    def _keep(self, kept: OrderedDict[int, UInt8], t: int) -> UInt8:
        kept.move_to_end(t)
        while len(kept) > self._most:
            kept.popitem(last=False)
        return kept[t]
