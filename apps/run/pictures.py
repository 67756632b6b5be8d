"""overlay.mp4 and sheet.png: the pictures every result comes with, made in one pass over the video."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trackime.arrays import UInt8
from trackime.progress import Report, silent
from trackime.video import Video, VideoWriter

from .overlay import TrackPainter, overlay_frames
from .sheet import Sheet


def write_pictures(
    folder: Path,
    video: Video,
    paint: TrackPainter | None = None,
    masks: Callable[[int], UInt8] | None = None,
    chunk: int = 16,
    report: Report = silent,
) -> None:
    """Write overlay.mp4, with the video's own times, and sheet.png.

    Args:
        folder: where to.
        video: the frames to draw over.
        paint: draws the points, or None.
        masks: gives the ids uint8 [H, W] of a frame index, or None.
        chunk: frames held at once.
        report: called with (stage, done, total).

    Raises:
        OutputError: a file that cannot be written.
    """
    info, sheet = video.info, Sheet(video.info)
    with VideoWriter(folder / "overlay.mp4", info.width, info.height, pts=info.pts) as writer:
        for t, frame in overlay_frames(video.chunks(chunk), paint, masks):
            writer.write(frame)
            sheet.take(t, frame)
            report("overlay", t + 1, len(video))
    sheet.save(folder / "sheet.png")
