"""syntheyes: 2-D tracker paths (File > Import > Plain Text > Tracker 2-D Paths), a line per point and frame:

    name frame u v outcome

u and v go from -1 to +1, left to right and top to bottom (SynthEyes manual, "Exporting", Tracker 2-D Paths), from the
centre of the first pixel to that of the last (Tracksperanto, `uv_coordinates.rb`): u = 2 (x - 0.5) / (W - 1) - 1.
Frames count from 0, `start_frame` otherwise.

The outcome is a sum of flags: 1 run, 2 enabled, 4 a position is there, 8 a key. A frame that follows a visible one
is 7, and the first after a gap 15: without it solves break (Tracksperanto, `export/syntheyes.rb`).

A hidden frame has no line. Kept: positions of visible frames to about 1e-5 px. Lost: the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from trackime.arrays import FloatArray
from trackime.formats.text import check_start, track_name, write_text
from trackime.types import Tracks

_SEEN = 1 + 2 + 4
_SEEN_AGAIN = _SEEN + 8


def save(tracks: Tracks, path: str | os.PathLike[str], *, start_frame: int = 0) -> None:
    """Write 2-D tracker paths.

    Args:
        tracks: the tracks.
        path: the text file.
        start_frame: SynthEyes' number of the video's first frame.

    Raises:
        OutputError: the file cannot be written.
        InputError: start_frame is not a whole number.
    """
    write_text(path, _lines(tracks, check_start(start_frame)))


def _lines(tracks: Tracks, start: int) -> Iterator[str]:
    u = _unit(tracks.xy[..., 0], tracks.video.width)
    v = _unit(tracks.xy[..., 1], tracks.video.height)
    for n in range(len(tracks)):
        name, before = track_name(n), -2
        for t in np.flatnonzero(tracks.visible[n]).tolist():
            outcome = _SEEN if t == before + 1 else _SEEN_AGAIN
            yield f"{name} {t + start} {u[n, t]:.9f} {v[n, t]:.9f} {outcome}\n"
            before = t


def _unit(values: FloatArray, side: int) -> FloatArray:
    """Pixels as -1 .. 1 between the centres of the first and last of `side` pixels."""
    # A side of one pixel has no extent: its centre is 0.
    return 2 * (values.astype(np.float64) - 0.5) / (side - 1) - 1 if side > 1 else values.astype(np.float64) - 0.5
