"""Tracking as commands do it: from prompts to the files of a `track` result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trackime.ime import DEFAULT_SEGMENTER, DEFAULT_TRACKER, ImeConfig
from trackime.types import Queries, Tracks

from .progress import Progress
from .prompts import Prompt
from .results import ResultFolder, describe


@dataclass(frozen=True)
class TrackRequest:
    """What to track in a video, and how.

    Attributes:
        point, queries, grid, mask: the points, see `gather_queries`; or the queries themselves.
        tracks: a file of tracks to reuse instead of tracking.
        format: more formats of the tracks, see `trackime.formats`.
        device, tracker, segmenter, config: as in `trackime.track`.
    """

    point: Sequence[Prompt] = ()
    queries: Path | Queries | None = None
    grid: float | None = None
    mask: Path | None = None
    tracks: Path | None = None
    format: Sequence[str] = ()
    device: str = "auto"
    tracker: str = DEFAULT_TRACKER
    segmenter: str = DEFAULT_SEGMENTER
    config: ImeConfig = field(default_factory=ImeConfig)


def track_into(result: ResultFolder, source: Any, request: TrackRequest, progress: Progress) -> Tracks:
    """Track, and write all of a `track` result but what every result has.

    Args:
        result: where to write; finished tracks are taken from its checkpoint.
        source: anything `open_video` takes.
        request: what to track.
        progress: shows the work and measures its stages.
    """
    from trackime import formats
    from trackime.devices import resolve_device
    from trackime.video import open_video

    from .overlay import TrackPainter
    from .pictures import write_pictures
    from .queries import gather_queries, load_tracks

    device = str(resolve_device(request.device))
    with open_video(source) as video:
        if request.tracks is not None:
            tracks = load_tracks(request.tracks, video.info)
        else:
            queries = request.queries
            if not isinstance(queries, Queries):
                queries = gather_queries(video.info, request.point, queries, request.grid, request.mask)
            with progress.stage("tracking"):
                how = {"tracker": request.tracker, "segmenter": request.segmenter, "config": request.config}
                saved = result.checkpoint / "tracks.npz"
                tracks = track_once(saved, video, queries, device=device, progress=progress, **how)
        with progress.stage("writing"):
            for name in dict.fromkeys(["npz", "csv", *request.format]):
                formats.save(tracks, result.folder / f"tracks{formats.formats()[name].suffix}", name)
        with progress.stage("overlay"):
            grouped = request.mask is not None or any(p.id is not None for p in request.point)
            painter = TrackPainter(tracks, grouped)
            write_pictures(result.folder, video, painter, None, request.config.chunk, progress)
        describe(result, video, device, progress)
    return tracks


def track_once(saved: Path, video: Any, queries: Queries, **how: Any) -> Tracks:
    """`trackime.track`, unless the checkpoint `saved` has its tracks; saves them there."""
    from trackime.ime import track

    if saved.exists():
        return Tracks.load(saved)
    tracks = track(video, queries, **how)
    tracks.save(saved)
    return tracks
