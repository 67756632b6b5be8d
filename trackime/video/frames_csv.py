"""frames.csv: index, name and presentation time of every frame, beside every result."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from trackime.errors import FormatError
from trackime.files import reading
from trackime.types import VideoInfo

_HEADER = ["index", "name", "pts"]


def write_frames(path: str | os.PathLike[str], info: VideoInfo) -> None:
    """Write a row ``index,name,pts`` for every frame; pts in seconds, exact."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_HEADER)
        for t, (name, pts) in enumerate(zip(info.names, info.pts.tolist(), strict=True)):
            writer.writerow([t, name, repr(pts)])


def read_frame_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The names of the frames, in order.

    Raises:
        FormatError: no such file, or another table.
    """
    with reading(path, "names of frames"):
        rows = list(csv.reader(Path(path).read_text(encoding="utf-8").splitlines()))
        if rows[0] != _HEADER:
            raise FormatError(f"expected the columns {', '.join(_HEADER)}, got {', '.join(rows[0])[:60]}")
        return tuple(row[1] for row in rows[1:])
