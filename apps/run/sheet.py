"""The contact sheet: frames spread over a video, side by side in one picture, each with its number and time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from trackime.arrays import UInt8
from trackime.files import atomic
from trackime.types import VideoInfo
from trackime.video import write_image

_FRAMES = 12
_WIDEST = 1920
"""Pixels across a sheet at most."""
TILE = (240, 480)
"""Least and greatest width of a tile: smaller frames are enlarged, so that captions can be read."""
_GAP = 6
_PAPER, _INK = 24, 230


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
        widest = (_WIDEST - _GAP) // self.columns - _GAP
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
            self._tiles[t] = make_tile(frame, self.width, self.height)

    def render(self) -> UInt8:
        """The sheet, uint8 [h, w, 3]."""
        tiles = {
            divmod(place, self.columns): (tile, f"frame {t}  |  {self.info.pts[t]:.2f} s")
            for place, (t, tile) in enumerate(sorted(self._tiles.items()))
        }
        return arrange(tiles, -(-len(tiles) // self.columns), self.columns, self.width, self.height)

    def save(self, path: Path) -> None:
        """Write the sheet as a PNG, atomically.

        Raises:
            OutputError: it cannot be written.
        """
        with atomic(path) as temporary:
            write_image(temporary, self.render())


def make_tile(frame: UInt8, width: int, height: int) -> UInt8:
    """A frame, uint8 [H, W, 3], resized for a sheet."""
    how = cv2.INTER_AREA if width < frame.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, (width, height), interpolation=how), np.uint8)


def arrange(
    tiles: Mapping[tuple[int, int], tuple[UInt8, str]], rows: int, columns: int, width: int, height: int
) -> UInt8:
    """Tiles side by side in one picture, each above its caption.

    Args:
        tiles: uint8 [height, width, 3] and caption, by row and column.
        rows, columns: of the sheet.
        width, height: of a tile, pixels.

    Returns:
        uint8 [h, w, 3].
    """
    bar = max(22, width // 13)
    step_x, step_y = width + _GAP, height + bar + _GAP
    sheet = np.full((rows * step_y + _GAP, columns * step_x + _GAP, 3), _PAPER, np.uint8)
    for (row, column), (tile, text) in tiles.items():
        y, x = _GAP + row * step_y, _GAP + column * step_x
        sheet[y : y + height, x : x + width] = tile
        _caption(sheet, text, x, y + height, bar)
    return sheet


def _caption(sheet: UInt8, text: str, x: int, y: int, bar: int) -> None:
    """Write a line of text into the bar of `bar` pixels whose top left corner is (x, y)."""
    font, height = cv2.FONT_HERSHEY_SIMPLEX, round(0.55 * bar)
    thick = max(1, round(height / 12))
    scale = cv2.getFontScaleFromHeight(font, height, thick)
    base = y + (bar + height) // 2
    cv2.putText(sheet, text, (x + 2, base), font, scale, (_INK, _INK, _INK), thick, cv2.LINE_AA)
