"""blender: a Python script that makes the tracks in a movie clip of Blender 2.8 or later.

    blender --python tracks.py -- VIDEO          or, in Blender's text editor, open it and press Run Script

The clip is VIDEO where one is given, else the video the tracks came from where it is still there, else the first clip
loaded. A marker's `co` is in units of the frame, origin at the bottom-left corner, y up (Blender Python API,
MovieTrackingMarker): x / W and 1 - y / H. Clip frames count from 1, so frame 0 of the video is `start_frame` 1.

Every frame has a marker; where a point is hidden it is muted (`mute`), which shows where the point is thought to be.
Kept: positions to 1e-7 of the frame, visible or not. Lost: visibility as a probability, times.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from trackime.formats.text import check_start, track_name, write_text
from trackime.types import Tracks

_SCRIPT = '''"""Makes point tracks in a movie clip. Run by Blender: blender --python THIS -- VIDEO"""

import json
import os
import sys

import bpy

SOURCE = $source
START = $start
TRACKS = json.loads($tracks)


def find_clip():
    """The clip named after `--`, else the video the tracks were made from, else the first clip loaded."""
    given = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    for path in [*given[:1], SOURCE]:
        if path and os.path.exists(path):
            return bpy.data.movieclips.load(os.path.abspath(path))
    if given or not len(bpy.data.movieclips):
        raise SystemExit("no such video: " + (given or [SOURCE or "(none)"])[0])
    return bpy.data.movieclips[0]


def tracks_of(clip):
    """The tracks of the clip's camera; where they live depends on the version of Blender."""
    tracks = getattr(clip.tracking, "tracks", None)
    return clip.tracking.objects.active.tracks if tracks is None else tracks


def main():
    tracks = tracks_of(find_clip())
    for name, xy, hidden in TRACKS:
        track = tracks.new(name=name, frame=START)
        for t, (x, y) in enumerate(xy):
            marker = track.markers.insert_frame(START + t, co=(x, y))
            # Set again: insert_frame may hold positions within the frame.
            marker.co = (x, y)
            marker.mute = bool(hidden[t])


main()
'''


def save(tracks: Tracks, path: str | os.PathLike[str], *, start_frame: int = 1) -> None:
    """Write the script.

    Args:
        tracks: the tracks.
        path: the .py file.
        start_frame: the clip's number of the video's first frame.

    Raises:
        OutputError: the file cannot be written.
        InputError: start_frame is not a whole number.
    """
    start = check_start(start_frame)
    # repr of JSON: one string constant, which Python compiles fast however many markers there are.
    data = repr(json.dumps(list(_tracks(tracks))))
    source = str(Path(tracks.video.source).absolute()) if tracks.video.source else ""
    script = Template(_SCRIPT).substitute(source=repr(source), start=start, tracks=data)
    write_text(path, [script])


def _tracks(tracks: Tracks) -> Iterator[list[Any]]:
    size = np.array([tracks.video.width, tracks.video.height], np.float64)
    unit = tracks.xy / size
    unit[..., 1] = 1 - unit[..., 1]
    for n in range(len(tracks)):
        yield [track_name(n), np.round(unit[n], 9).tolist(), (~tracks.visible[n]).astype(int).tolist()]
