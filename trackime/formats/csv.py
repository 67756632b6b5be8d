"""csv: a row per point and frame, everything kept, and a table that spreadsheets and pandas read.

    # trackime-tracks/1 width=320 height=240
    # video {"source": "...", "pts": [...], "names": [...]}
    # queries [[x, y, t], ...]
    query,instance,frame,time,x,y,visibility
    0,-1,0,0.0,100.5,40.5,1.0

x and y are source pixels, the centre of the top-left pixel at (0.5, 0.5); frame counts from 0; time is the frame's
presentation time in seconds. Rows go by query, then by frame, and every query has a row for every frame, hidden or
not. `pandas.read_csv(path, comment="#")` reads the table.

A table made elsewhere needs the first line and the header only: without `# video` the times are the rows' own, and
without `# queries` a query is the first frame its point is visible in.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from trackime.arrays import Float64
from trackime.errors import FormatError
from trackime.files import reading
from trackime.formats.text import decimals, shortest, write_text
from trackime.types import SCHEMA, VISIBLE, Queries, Tracks, VideoInfo

COLUMNS = ("query", "instance", "frame", "time", "x", "y", "visibility")
_FIRST = re.compile(rf"#\s*{SCHEMA}\s+width=(\d{{1,9}})\s+height=(\d{{1,9}})\s*$")
_SHOWN = 80


def save(tracks: Tracks, path: str | os.PathLike[str]) -> None:
    """Write tracks as a table with its video and queries in comments above.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, _lines(tracks))


def _lines(tracks: Tracks) -> Iterator[str]:
    video = tracks.video
    about = {"source": video.source, "pts": video.pts.tolist(), "names": list(video.names)}
    yield f"# {SCHEMA} width={video.width} height={video.height}\n"
    yield f"# video {json.dumps(about)}\n"
    yield f"# queries {json.dumps(decimals(tracks.queries.xyt))}\n"
    yield ",".join(COLUMNS) + "\n"
    times = shortest(video.pts).tolist()
    for n, instance in enumerate(tracks.instance.tolist()):
        xy, visibility = shortest(tracks.xy[n]).tolist(), shortest(tracks.visibility[n]).tolist()
        for t, (time, (x, y), seen) in enumerate(zip(times, xy, visibility, strict=True)):
            yield f"{n},{instance},{t},{time},{x},{y},{seen}\n"


def load(path: str | os.PathLike[str]) -> Tracks:
    """Read a table of tracks.

    Raises:
        FormatError: no such file, other columns, no size of the frame, a query and frame missing or given twice,
            or values that tracks cannot have.
    """
    with reading(path, "a csv of tracks"):
        with open(path, encoding="utf-8-sig") as file:
            lines = [line for line in file.read().splitlines() if line.strip()]
        comments = [line for line in lines if line.startswith("#")]
        size = _FIRST.match(comments[0]) if comments else None
        if size is None:
            first = lines[0][:_SHOWN] if lines else "an empty file"
            raise FormatError(f"expected a first line '# {SCHEMA} width=W height=H', got: {first}")
        table = _table([line for line in lines if not line.startswith("#")])
        video, queries = _about(comments, "video"), _about(comments, "queries")
        return _tracks((int(size[1]), int(size[2])), table, video, queries)


def _about(comments: list[str], key: str) -> Any:
    """The JSON after ``# key``, or None."""
    for line in comments[1:]:
        word, _, rest = line[1:].strip().partition(" ")
        if word == key:
            return json.loads(rest)
    return None


def _table(lines: list[str]) -> dict[str, Float64]:
    """The columns by name, float64 [rows]."""
    header = [cell.strip() for cell in lines[0].split(",")] if lines else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        got = ",".join(header)[:_SHOWN]
        raise FormatError(f"expected columns {','.join(COLUMNS)}; missing {','.join(missing)} in: {got}")
    rows = [line.split(",") for line in lines[1:]]
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise FormatError(f"row {number}: expected {len(header)} columns, got {len(row)}")
    values = np.array(rows, dtype=np.float64).reshape(len(rows), len(header))
    return {name: values[:, header.index(name)] for name in COLUMNS}


def _tracks(size: tuple[int, int], table: dict[str, Float64], about: Any, xyt: Any) -> Tracks:
    n, t = _count(table["query"], None if xyt is None else len(xyt)), None if about is None else len(about["pts"])
    t = _count(table["frame"], t)
    if len(table["query"]) != n * t:
        raise FormatError(f"expected a row for each of {n} queries x {t} frames, got {len(table['query'])} rows")
    order = np.lexsort((table["frame"], table["query"]))
    grid = {name: column[order].reshape(n, t) for name, column in table.items()}
    if not ((grid["query"] == np.arange(n)[:, None]).all() and (grid["frame"] == np.arange(t)).all()):
        raise FormatError("expected queries and frames counted from 0, each pair once")
    if about is not None:
        video = VideoInfo(*size, np.array(about["pts"], np.float64), tuple(about["names"]), str(about["source"]))
    else:
        video = VideoInfo(*size, grid["time"][0] if n else np.zeros(0))
    xy, visibility = np.stack([grid["x"], grid["y"]], -1), grid["visibility"]
    if xyt is None:
        first = (visibility > VISIBLE).argmax(1) if t else np.zeros(n, np.int64)
        xyt = np.concatenate([xy[np.arange(n), first], first[:, None]], 1) if t else np.zeros((0, 3))
    instance = grid["instance"][:, 0] if t else np.full(n, -1.0)
    if not ((instance >= -(2**31)) & (instance < 2**31)).all() or (instance != np.round(instance)).any():
        raise FormatError("expected instance to be a whole number of 32 bits")
    return Tracks(xy, visibility, Queries(np.array(xyt, np.float64), instance.astype(np.int32)), video)


def _count(column: Float64, known: int | None) -> int:
    """How many values a counting column goes through: from the comments, else its last value and one."""
    if known is not None or not len(column):
        return known or 0
    if not (np.isfinite(column).all() and (column >= 0).all() and (column == np.round(column)).all()):
        raise FormatError("expected query and frame to be whole numbers of 0 or more")
    # No more than there are rows: no cell decides how much is allocated.
    return int(min(column.max() + 1, len(column)))
