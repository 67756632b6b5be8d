"""Consistent depth of a video, one shot at a time: frames on two sides of a cut share no point, hence no world."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from trackime.dense import DEFAULT_TRACKER, DenseConfig
from trackime.devices import resolve_device
from trackime.errors import SolveError
from trackime.ime import DEFAULT_SEGMENTER
from trackime.progress import Report, silent
from trackime.segmenters import PointSegmenter
from trackime.trackers import PointTracker
from trackime.types import RaggedTracks, Tracks
from trackime.video import Video, find_cuts, open_video

from .config import DepthConfig
from .files import check_names, shot_folders
from .request import DepthRequest
from .result import DepthResult
from .sfm import check_frames
from .shot import solve_shot
from .solver import SolverConfig, check_gauge
from .source import Source


def depth(
    video: Any,
    *,
    config: DepthConfig | None = None,
    dense: DenseConfig | None = None,
    solver: SolverConfig | None = None,
    source: Source | None = None,
    focal: float | None = None,
    tracks: Tracks | None = None,
    tracker: PointTracker | str = DEFAULT_TRACKER,
    segmenter: PointSegmenter | str = DEFAULT_SEGMENTER,
    device: str = "auto",
    progress: Report = silent,
) -> DepthResult:
    """Consistent depth and cameras of a video.

    Memory does not grow with the video: maps are kept in a temporary folder, which goes with the result.

    Args:
        video: a path, a frame folder, uint8 [T, H, W, 3], or a `Video`, which stays open.
        config, dense, solver, source, focal: see `DepthRequest`; None: the defaults.
        tracks: used instead of tracking points; they should cover every part of every frame.
        tracker, segmenter, device: see `DepthRequest`.
        progress: called with (stage, done, total); measures the stages.

    Raises:
        SolveError: no depth by parallax (the camera only rotates or is static, too few frames or points), or a solve
            that diverged.
        InputError: tracks of another video, a focal length not above 0, options that exclude each other.
        VideoError: a video that cannot be read.
    """
    request = DepthRequest(
        config or DepthConfig(), dense or DenseConfig(), solver or SolverConfig(), source or Source(), focal,
        tracker, segmenter, device,
    )  # fmt: skip
    folder = Path(tempfile.mkdtemp(prefix="trackime-depth-"))
    try:
        with nullcontext(video) if isinstance(video, Video) else open_video(video) as opened:
            found = estimate(opened, request, folder, tracks=tracks, progress=progress)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return found.owning(folder)


def estimate(
    video: Video,
    request: DepthRequest,
    folder: Path,
    *,
    tracks: Tracks | None = None,
    work: Path | None = None,
    progress: Report = silent,
) -> DepthResult:
    """`depth` with its maps in a given folder; errors as there.

    Args:
        video: of T frames.
        request: how.
        folder: of the maps: of a video without cuts itself, otherwise one folder in it for each shot.
        tracks: used instead of tracking points.
        work: a folder for finished stages, from which an interrupted run continues; None: one in `folder`, removed.
        progress: called with (stage, done, total); measures the stages.
    """
    if tracks is not None:
        tracks.check(video.info)
    if progress is silent:
        progress = Report()  # `silent` is shared: the seconds of this run are its own
    request = _prepared(request, video)
    config = request.depth
    with progress.stage("cuts"):
        cuts = find_cuts(video, config.cuts, progress) if config.cuts else []
    ragged = None if tracks is None else RaggedTracks.of(tracks)
    bounds = list(pairwise([0, *cuts, len(video)]))
    if request.source.parallax:  # of all shots, before the first is worked on
        for start, stop in bounds:
            with _naming_shot(start, stop, len(video)):
                check_frames(stop - start)
    shots = []
    with _work_folder(folder, work) as kept:
        names = shot_folders([start for start, _ in bounds])
        for (start, stop), name in zip(bounds, names, strict=True):
            given = None if ragged is None else ragged.window(start, stop)[0]
            own = replace(request, source=request.source.part(start, stop))
            with _naming_shot(start, stop, len(video)), video.clip(start, stop) as clip:
                shots.append(solve_shot(clip, start, own, folder / name, kept / name, given, progress))
    return DepthResult(tuple(shots), progress.seconds)


def _prepared(request: DepthRequest, video: Video) -> DepthRequest:
    """The request with all that it needs found, so that nothing fails for want of it after minutes of work.

    Raises:
        InputError: two frames of one name, a gauge that does not go with the source; and as `Source.matched`.
    """
    check_names(video.info)
    source, disparity = request.source.matched(video.info)
    check_gauge(request.solver, disparity)
    return replace(request, source=source, device=str(resolve_device(request.device)))


@contextmanager
def _work_folder(folder: Path, work: Path | None) -> Iterator[Path]:
    """The folder of finished stages: `work`, or one in `folder` that is removed however the block ends."""
    kept = folder / ".work" if work is None else work
    try:
        yield kept
    finally:
        if work is None:
            shutil.rmtree(kept, ignore_errors=True)


@contextmanager
def _naming_shot(start: int, stop: int, frames: int) -> Iterator[None]:
    """Name the shot, of several, in errors of a solve."""
    try:
        yield
    except SolveError as error:
        if stop - start == frames:
            raise
        where = f"frames {start} .. {stop - 1} (a shot between cuts)"
        raise SolveError(f"{where}: {error}; --cuts 0 where there is no cut") from None
