"""overlay.mp4 and sheet.png: the pictures every result comes with, made in one pass over the video."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trackime.types import Tracks
from trackime.video import Video

from .overlay import TRAIL, Frame, TrackPainter, overlay_frames
from .progress import Report
from .sheet import Sheet


def write_pictures(
    folder: Path,
    video: Video,
    tracks: Tracks | None = None,
    masks: Callable[[int], Frame] | None = None,
    by_instance: bool = False,
    chunk: int = 16,
    report: Report | None = None,
    trail: int = TRAIL,
) -> None:
    """Write overlay.mp4, with the video's own times, and sheet.png.

    Args:
        folder: where to.
        video: the frames to draw over.
        tracks: points to draw, or None.
        masks: gives the ids uint8 [H, W] of a frame index, or None.
        by_instance: colour points by instance; else by place.
        chunk: frames held at once.
        report: called with (stage, done, total).
        trail: frames that points trail behind them; 0: none.

    Raises:
        OutputError: a file that cannot be written.
    """
    from trackime.writing import VideoWriter

    info, sheet = video.info, Sheet(video.info)
    paint = None if tracks is None else TrackPainter(tracks, by_instance, trail)
    with VideoWriter(folder / "overlay.mp4", info.width, info.height, pts=info.pts) as writer:
        for t, frame in overlay_frames(video.chunks(chunk), paint, masks):
            writer.write(frame)
            sheet.take(t, frame)
            if report is not None:
                report("overlay", t + 1, len(video))
    sheet.save(folder / "sheet.png")
