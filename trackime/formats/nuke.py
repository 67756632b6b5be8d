"""nuke: a script (.nk) with one Tracker4 node; open it, or paste its text into a node graph.

Nuke's pixels have their origin at the frame's bottom-left corner and y up (NDK developer guide, "Coordinate
System"), pixel centres at half-integers: x is ours, y is H - y. Frame 0 of the video is `start_frame`, 1 by default.

Layout: knob `tracks` holds a table, `{ 1 31 N }` with 31 columns declared by name (enable, name, track_x, track_y,
offset_x, offset_y, T, R, S, error, error_min, error_max, pattern and search boxes, eleven lists of keys), then a row
per track, where an animated cell is `{curve x1 10 x2 10.5}`: `xFRAME VALUE`, K for steps. This is what Nuke itself
saves, and what 3DEqualizer's "Export 2D Tracks To Nuke" writes.

A hidden frame has no key, and `enable` is 0 there; a point that is never visible has `enable` 0 throughout. Kept:
positions of visible frames to 1e-4 px. Lost: visibility as a probability, positions of hidden frames, times.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np

from trackime.arrays import BoolArray
from trackime.formats.text import check_start, track_name, write_text
from trackime.types import Tracks

_COLUMNS = (
    *("5 1 20 enable", "3 1 75 name", "2 1 58 track_x", "2 1 58 track_y", "2 1 63 offset_x", "2 1 63 offset_y"),
    *("4 1 27 T", "4 1 27 R", "4 1 27 S", "2 0 45 error", "1 1 0 error_min", "1 1 0 error_max"),
    *(f"1 1 0 {box}_{side}" for box in ("pattern", "search") for side in "xyrt"),
    "2 1 0 key_track",
    *(f"2 1 0 key_{box}_{side}" for box in ("search", "track") for side in "xyrt"),
    *(f"2 1 0 key_centre_offset_{side}" for side in "xy"),
)
_BOXES = "-32 -32 32 32 -22 -22 22 22"
_NO_KEYS = " ".join(["{}"] * 11)


def save(tracks: Tracks, path: str | os.PathLike[str], *, start_frame: int = 1) -> None:
    """Write a Tracker4 node.

    Args:
        tracks: the tracks.
        path: the .nk file.
        start_frame: Nuke's number of the video's first frame.

    Raises:
        OutputError: the file cannot be written.
        InputError: start_frame is not a whole number.
    """
    write_text(path, _parts(tracks, check_start(start_frame)))


def _parts(tracks: Tracks, start: int) -> Iterator[str]:
    yield "set cut_paste_input [stack 0]\nversion 12.0 v1\npush $cut_paste_input\nTracker4 {\n"
    yield f" tracks {{ {{ 1 {len(_COLUMNS)} {len(tracks)} }}\n"
    lines = [f"{{ {column} {column.split()[-1]} 1 }}" for column in _COLUMNS]
    yield "  { " + "\n    ".join(lines) + "\n  }\n  {\n"
    for n in range(len(tracks)):
        yield _row(tracks, n, start)
    yield f"  }}\n }}\n reference_frame {start}\n name TrackIME\n selected true\n}}\n"


def _row(tracks: Tracks, n: int, start: int) -> str:
    visible = tracks.visible[n]
    frames = (np.flatnonzero(visible) + start).tolist()
    x = tracks.xy[n, visible, 0].astype(np.float64)
    y = tracks.video.height - tracks.xy[n, visible, 1].astype(np.float64)
    still = f"{{curve K x{start} 0}}"
    cells = [
        _steps(visible, start),
        f'"{track_name(n)}"',
        _curve(frames, x.tolist()),
        _curve(frames, y.tolist()),
        *(still, still),
        "1 0 0",
        f"{{curve x{start} 0}} 0 1",
        *(_BOXES, _NO_KEYS),
    ]
    return f"   {{ {' '.join(cells)} }}\n"


def _curve(frames: Sequence[int], values: Sequence[float]) -> str:
    keys = " ".join(f"x{frame} {value:.4f}" for frame, value in zip(frames, values, strict=True))
    return f"{{curve {keys}}}" if keys else "{}"


def _steps(visible: BoolArray, start: int) -> str:
    """A stepped curve of 0 and 1, a key where it changes."""
    changes = [t for t in range(len(visible)) if t == 0 or visible[t] != visible[t - 1]]
    keys = " ".join(f"x{t + start} {int(visible[t])}" for t in changes)
    return f"{{curve K {keys or f'x{start} 0'}}}"
