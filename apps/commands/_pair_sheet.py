"""The contact sheet of an interpolation: pairs of input frames with a new one between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from trackime.arrays import UInt8
from trackime.files import atomic
from trackime.types import VideoInfo
from trackime.video import Video, read_image, write_image

from ..interp import Pixels, Timeline, to_depth
from ..run import TILE, arrange, make_tile

_ROWS = 4


class PairSheet:
    """Keeps the new frames it shows as small files, so that a resumed run has them.

    Args:
        folder: for these.
        timeline: of the result.
        info: of the input.
    """

    def __init__(self, folder: Path, timeline: Timeline, info: VideoInfo) -> None:
        self.folder, self.timeline = folder, timeline
        folder.mkdir(exist_ok=True)
        made = [k for k, target in enumerate(timeline.targets) if not target.is_source]
        # From the middle of equal parts: the ends of a video are often black.
        places = {int((n + 0.5) * len(made) / _ROWS) for n in range(_ROWS)} if made else set()
        self.shown = [made[place] for place in sorted(places)]
        self.width = int(np.clip(info.width, *TILE))
        self.height = max(1, round(self.width * info.height / info.width))

    def watch(self, frames: Iterable[Pixels], start: int) -> Iterator[Pixels]:
        """Pass on the frames from `start` on, and keep those that are shown."""
        for k, frame in enumerate(frames, start):
            if k in self.shown:
                with atomic(self._file(k)) as temporary:
                    write_image(temporary, self._tile(frame))
            yield frame

    def save(self, path: Path, video: Video) -> None:
        """Write the sheet as a PNG; for a result without new frames it shows the first input frame."""
        tiles: dict[tuple[int, int], tuple[UInt8, str]] = {}
        for row, k in enumerate(self.shown):
            target = self.timeline[k]
            for column, t in ((0, target.i), (2, target.j)):
                tiles[row, column] = self._tile(video[t]), f"frame {t}  |  {video.info.pts[t]:.2f} s"
            tiles[row, 1] = read_image(self._file(k)), f"new {k}  |  {float(target.tau):.2f} of the way"
        if not self.shown:
            tiles[0, 0] = self._tile(video[0]), "frame 0: no new frames"
        rows, columns = max(1, len(self.shown)), 3 if self.shown else 1
        with atomic(path) as temporary:
            write_image(temporary, arrange(tiles, rows, columns, self.width, self.height))

    def _file(self, k: int) -> Path:
        return self.folder / f"{k}.png"

    def _tile(self, frame: Pixels) -> UInt8:
        image = np.ascontiguousarray(to_depth(frame[..., :3], np.dtype(np.uint8)), np.uint8)
        return make_tile(image, self.width, self.height)
