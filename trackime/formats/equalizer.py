"""3de: 2-D points for 3DEqualizer 4 (Object Browser > Import 2D Tracks).

    number of points
    then for each: its name, its colour (0 is red), its number of keys, and a line a key: frame x y

Pixels from the frame's bottom-left corner, y up, frames from 1 (`start_frame`): x is ours, y is H - y. Layout as
written by Tracksperanto (`export/equalizer4.rb`).

A hidden frame has no key. Kept: positions of visible frames to 1e-6 px. Lost: the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from trackime.formats.text import check_start, track_name, write_text
from trackime.types import Tracks

_RED = 0


def save(tracks: Tracks, path: str | os.PathLike[str], *, start_frame: int = 1) -> None:
    """Write 2-D points.

    Args:
        tracks: the tracks.
        path: the text file.
        start_frame: 3DEqualizer's number of the video's first frame.

    Raises:
        OutputError: the file cannot be written.
        InputError: start_frame is not a whole number.
    """
    write_text(path, _lines(tracks, check_start(start_frame)))


def _lines(tracks: Tracks, start: int) -> Iterator[str]:
    yield f"{len(tracks)}\n"
    height = tracks.video.height
    for n in range(len(tracks)):
        visible = tracks.visible[n]
        yield f"{track_name(n)}\n{_RED}\n{int(visible.sum())}\n"
        for t, (x, y) in zip(np.flatnonzero(visible).tolist(), tracks.xy[n, visible].tolist(), strict=True):
            yield f"{t + start} {x:.6f} {height - y:.6f}\n"
