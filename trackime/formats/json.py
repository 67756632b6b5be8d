"""json: self-describing, everything kept.

    {"schema": "trackime-tracks/1",
     "convention": "...",
     "video": {"width": W, "height": H, "source": "...", "pts": [seconds, T of them], "names": [T]},
     "tracks": [{"name": "p0000", "instance": -1, "query": [x, y, t], "xy": [[x, y], T of them], "visibility": [T]}]}

Positions are source pixels, the centre of the top-left pixel at (0.5, 0.5), y down; t is a frame index from 0.
Numbers are the shortest decimals that read back as the same float32 (float64 for `pts`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from trackime.errors import FormatError
from trackime.files import reading
from trackime.formats.text import decimals, track_name, write_text
from trackime.types import SCHEMA, Queries, Tracks, VideoInfo

CONVENTION = (
    "x right, y down, in pixels of the video; the centre of the top-left pixel is (0.5, 0.5); "
    "t counts frames from 0; pts in seconds; visibility is a probability"
)


def save(tracks: Tracks, path: str | os.PathLike[str]) -> None:
    """Write tracks as one JSON object, a line per track.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, _parts(tracks))


def _parts(tracks: Tracks) -> Iterator[str]:
    video = tracks.video
    about = {
        "width": video.width,
        "height": video.height,
        "source": video.source,
        "pts": video.pts.tolist(),
        "names": list(video.names),
    }
    yield f'{{"schema": {json.dumps(SCHEMA)},\n "convention": {json.dumps(CONVENTION)},\n'
    yield f' "video": {json.dumps(about)},\n "tracks": ['
    for n in range(len(tracks)):
        track = {
            "name": track_name(n),
            "instance": int(tracks.instance[n]),
            "query": decimals(tracks.queries.xyt[n]),
            "xy": decimals(tracks.xy[n]),
            "visibility": decimals(tracks.visibility[n]),
        }
        yield ("," if n else "") + "\n  " + json.dumps(track)
    yield "]}\n"


def load(path: str | os.PathLike[str]) -> Tracks:
    """Read a JSON of tracks.

    Raises:
        FormatError: no such file, not such JSON, another schema, or values that tracks cannot have.
    """
    with reading(path, f"a json of tracks ({SCHEMA})"):
        with open(path, encoding="utf-8-sig") as file:
            data = json.load(file, parse_constant=_no_constant)
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            got = data.get("schema") if isinstance(data, dict) else type(data).__name__
            raise FormatError(f"expected schema {SCHEMA!r}, got {str(got)[:60]!r}")
        video = data["video"]
        info = VideoInfo(video["width"], video["height"], video["pts"], tuple(video["names"]), str(video["source"]))
        tracks, n, t = data["tracks"], len(data["tracks"]), info.frames
        return Tracks(
            np.array([track["xy"] for track in tracks], np.float64).reshape(n, t, 2),
            np.array([track["visibility"] for track in tracks], np.float64).reshape(n, t),
            Queries(
                np.array([track["query"] for track in tracks], np.float64),
                np.array([track["instance"] for track in tracks]),
            ),
            info,
        )


def _no_constant(name: str) -> Any:
    raise FormatError(f"expected finite numbers, got {name}")
