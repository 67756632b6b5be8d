"""The contact sheet: frames spread over a video, side by side in one picture, each with its number and time."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from trackime.arrays import UInt8
from trackime.errors import OutputError
from trackime.files import atomic
from trackime.types import VideoInfo

_FRAMES = 12
_WIDEST = 1920
"""Pixels across a sheet at most."""
TILE = (240, 480)
"""Least and greatest width of a tile: smaller frames are enlarged, so that captions can be read."""
GAP = 6
PAPER, _INK = 24, 230


def _sheet_indices(frames: int, most: int = _FRAMES) -> list[int]:
    """Up to `most` frame indices, evenly spread from the first to the last."""
    return sorted({int(t) for t in np.linspace(0, frames - 1, min(most, frames)).round()}) if frames else []


class Sheet:
    """Takes the frames of a video as they come, keeps those it shows, and writes them as one PNG.

    Args:
        info: the video.
        most: frames shown at most.
    """

    def __init__(self, info: VideoInfo, most: int = _FRAMES) -> None:
        self.info = info
        self.indices = _sheet_indices(info.frames, most)
        self.columns = self._columns()
        widest = (_WIDEST - GAP) // self.columns - GAP
        self.width = int(np.clip(info.width, TILE[0], min(TILE[1], widest)))
        self.height = max(1, round(self.width * info.height / info.width))
        self._tiles: dict[int, UInt8] = {}

    def _columns(self) -> int:
        """The number of columns that makes the sheet about 16:10 with the fewest empty places."""
        count, aspect = len(self.indices), self.info.width / self.info.height

        def score(columns: int) -> float:
            rows = -(-count // columns)
            return abs(np.log(columns * aspect / rows / 1.6)) + 0.5 * (rows * columns - count) / count

        return min(range(1, min(6, count) + 1), key=score, default=1)

    def take(self, t: int, frame: UInt8) -> None:
        """Show frame t (uint8 [H, W, 3]), if it is one of those shown."""
        if t in self.indices:
            shrinks = self.width < frame.shape[1]
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            self._tiles[t] = cv2.resize(frame, (self.width, self.height), interpolation=how).astype(np.uint8)

    def render(self) -> UInt8:
        """The sheet, uint8 [h, w, 3]."""
        bar = max(22, self.width // 13)
        rows = -(-len(self._tiles) // self.columns)
        step_x, step_y = self.width + GAP, self.height + bar + GAP
        sheet = np.full((rows * step_y + GAP, self.columns * step_x + GAP, 3), PAPER, np.uint8)
        for place, (t, tile) in enumerate(sorted(self._tiles.items())):
            y, x = GAP + place // self.columns * step_y, GAP + place % self.columns * step_x
            sheet[y : y + self.height, x : x + self.width] = tile
            caption(sheet, f"frame {t}  |  {self.info.pts[t]:.2f} s", x, y + self.height, bar)
        return sheet

    def save(self, path: Path) -> None:
        """Write the sheet as a PNG, atomically.

        Raises:
            OutputError: it cannot be written.
        """
        done, data = cv2.imencode(".png", self.render()[..., ::-1])
        if not done:
            raise OutputError(f"{path}: the contact sheet cannot be encoded")
        with atomic(path) as temporary:
            temporary.write_bytes(data.tobytes())


def caption(sheet: UInt8, text: str, x: int, y: int, bar: int) -> None:
    """Write a line of text into the bar of `bar` pixels whose top left corner is (x, y)."""
    font, height = cv2.FONT_HERSHEY_SIMPLEX, round(0.55 * bar)
    thick = max(1, round(height / 12))
    scale = cv2.getFontScaleFromHeight(font, height, thick)
    base = y + (bar + height) // 2
    cv2.putText(sheet, text, (x + 2, base), font, scale, (_INK, _INK, _INK), thick, cv2.LINE_AA)
