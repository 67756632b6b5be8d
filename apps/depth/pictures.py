"""overlay.mp4 and sheet.png of a depth result: each frame beside its depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from trackime.arrays import UInt8
from trackime.progress import Report
from trackime.video import Video, VideoWriter

from ..run import Sheet
from .files import Colouring, DepthResult


def write_pictures(folder: Path, video: Video, results: Sequence[DepthResult], report: Report) -> None:
    """Write both, one range of colours a shot.

    Args:
        folder: where to.
        video: all frames.
        results: its shots, in order.
        report: called with (stage, done, total).

    Raises:
        OutputError: a file that cannot be written.
    """
    wide = replace(video.info, width=2 * video.info.width)
    sheet = Sheet(wide)
    with VideoWriter(folder / "overlay.mp4", wide.width, wide.height, pts=wide.pts) as writer:
        for t, picture in enumerate(_pictures(results)):
            writer.write(picture)
            sheet.take(t, picture)
            report("overlay", t + 1, len(video))
    sheet.save(folder / "sheet.png")


def _pictures(results: Sequence[DepthResult]) -> Iterator[UInt8]:
    for result in results:
        colours = Colouring.of(result.survey())
        for t in range(len(result)):
            yield np.concatenate([result.image(t), colours(result.depth(t))], 1)
