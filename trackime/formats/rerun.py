"""rerun: a recording (.rrd) for the rerun viewer; needs the extra `rerun`.

Entity `tracks`: Points2D of the points visible in a frame, in our pixels (rerun, too, has pixel centres at half-
integers and y down), a colour per track. Timelines: `frame` (index) and `time` (presentation time in seconds).
rerun's Python API: ref.rerun.io, RecordingStream, set_time (0.23 on), set_time_sequence and set_time_seconds before.
"""

from __future__ import annotations

import colorsys
import os
from typing import Any

import numpy as np

from trackime.arrays import UInt8
from trackime.errors import MissingExtraError
from trackime.files import atomic
from trackime.types import Tracks

_GOLDEN = 0.61803398875  # steps of the golden ratio around the circle keep neighbours' hues apart


def save(tracks: Tracks, path: str | os.PathLike[str], *, radius: float = 2.0) -> None:
    """Write a recording.

    Args:
        tracks: the tracks.
        path: the .rrd file.
        radius: of the points drawn, in pixels.

    Raises:
        MissingExtraError: rerun is not installed.
        OutputError: the file cannot be written.
    """
    try:
        import rerun as rr
    except ImportError:
        raise MissingExtraError("the rerun format", "rerun") from None
    colours, visible = _colours(len(tracks)), tracks.visible
    with atomic(path) as temporary:
        recording = rr.RecordingStream("trackime")
        recording.save(str(temporary))
        for t, time in enumerate(tracks.video.pts.tolist()):
            _set_time(recording, t, time)
            seen = visible[:, t]
            recording.log("tracks", rr.Points2D(tracks.xy[seen, t], colors=colours[seen], radii=radius))
        # Flushes and closes the file, which is renamed after this.
        recording.disconnect()


def _set_time(recording: Any, frame: int, time: float) -> None:
    if hasattr(recording, "set_time"):
        recording.set_time("frame", sequence=frame)
        recording.set_time("time", duration=time)
    else:
        recording.set_time_sequence("frame", frame)
        recording.set_time_seconds("time", time)


def _colours(count: int) -> UInt8:
    """uint8 [N, 3], hues far apart."""
    rgb = [colorsys.hsv_to_rgb((i * _GOLDEN) % 1, 0.8, 1.0) for i in range(count)]
    return (np.array(rgb).reshape(count, 3) * 255).astype(np.uint8)
