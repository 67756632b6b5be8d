"""aftereffects: text to copy and paste onto a layer of After Effects ("Adobe After Effects 8.0 Keyframe Data").

After Effects counts pixels from the frame's top-left corner, y down: our coordinates unchanged. Frames count from 0
at the current time indicator, `start_frame` otherwise.

Layout, as After Effects itself puts on the clipboard and its users' tools write it (PatchMaker's manual, "Clipboard";
ofxAEKeyframe for point controls): a first line with the version, tab-indented `Units Per Second`, `Source Width`,
`Source Height` and two aspect ratios, then a block a property: its path separated by tabs, a header `Frame`, `X
pixels`, `Y pixels`, a row a key, and last `End of Keyframe Data`.

A layer has one position only. A single track is therefore written as `Transform / Position`, and several as one
`Effects / Point Control #k / Point #2` a track, k from 1: give the layer (a null) as many Point Control effects.
`target="position"` writes a Position block per track all the same, for programs that take one each.

A hidden frame has no key. Kept: positions of visible frames to 1e-4 px. Lost: visibility as a probability, positions
of hidden frames, irregular times (keys are frames at the median rate).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from trackime.errors import UnknownNameError
from trackime.formats.text import check_start, write_text
from trackime.types import Tracks

_TARGETS = ("auto", "position", "point")


def save(tracks: Tracks, path: str | os.PathLike[str], *, target: str = "auto", start_frame: int = 0) -> None:
    """Write keyframes to paste.

    Args:
        tracks: the tracks.
        path: the text file.
        target: "position", a Transform / Position block per track; "point", a Point Control a track; "auto", position
            for a single track and points for more.
        start_frame: number of the video's first frame, relative to where the text is pasted.

    Raises:
        UnknownNameError: no such target.
        InputError: start_frame is not a whole number.
        OutputError: the file cannot be written.
    """
    if target not in _TARGETS:
        raise UnknownNameError("target", target, _TARGETS)
    as_points = target == "point" or (target == "auto" and len(tracks) > 1)
    write_text(path, _parts(tracks, as_points, check_start(start_frame)))


def _parts(tracks: Tracks, as_points: bool, start: int) -> Iterator[str]:
    video = tracks.video
    yield "Adobe After Effects 8.0 Keyframe Data\n\n"
    yield f"\tUnits Per Second\t{round(video.fps, 6):g}\n"
    yield f"\tSource Width\t{video.width}\n\tSource Height\t{video.height}\n"
    yield "\tSource Pixel Aspect Ratio\t1\n\tComp Pixel Aspect Ratio\t1\n\n"
    for n in range(len(tracks)):
        if as_points:
            yield f"Effects\tPoint Control #{n + 1}\tPoint #2\n\tFrame\tX pixels\tY pixels\t\n"
        else:
            yield "Transform\tPosition\n\tFrame\tX pixels\tY pixels\tZ pixels\t\n"
        depth = "" if as_points else "0\t"
        visible = tracks.visible[n]
        for t, (x, y) in zip(np.flatnonzero(visible).tolist(), tracks.xy[n, visible].tolist(), strict=True):
            yield f"\t{t + start}\t{x:.4f}\t{y:.4f}\t{depth}\n"
        yield "\n"
    yield "\nEnd of Keyframe Data\n"
