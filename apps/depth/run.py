"""Consistent depth of a video: a shot at a time, as frames on two sides of a cut share no point, and so no world."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from trackime.dense import DEFAULT_TRACKER, DenseConfig
from trackime.devices import resolve_device
from trackime.errors import InputError, SolveError
from trackime.ime import DEFAULT_SEGMENTER
from trackime.segmenters import PointSegmenter
from trackime.trackers import PointTracker
from trackime.types import RaggedTracks, Tracks
from trackime.video import Video, find_cuts, open_video

from ..run import Progress
from .config import DepthConfig
from .files import check_names
from .sfm import check_frames
from .shot import Asked, Shot, solve_shot
from .solver import SolverConfig, check_gauge
from .source import Source

_SHOT = "shot_{:05d}"
"""Folder of a shot of a video with several, by its first frame."""


@dataclass(frozen=True, eq=False)
class Depth:
    """What is found of a video.

    Attributes:
        shots: in order; one, unless the video has cuts.
        seconds: wall time of each stage.
    """

    shots: tuple[Shot, ...]
    seconds: dict[str, float]


def depth(
    video: Any,
    folder: Path,
    *,
    config: DepthConfig | None = None,
    follow: DenseConfig | None = None,
    solver: SolverConfig | None = None,
    source: Source | None = None,
    focal: float | None = None,
    tracks: Tracks | None = None,
    tracker: PointTracker | str = DEFAULT_TRACKER,
    segmenter: PointSegmenter | str = DEFAULT_SEGMENTER,
    work: Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Depth:
    """Consistent depth and cameras of a video.

    Args:
        video: a path, a frame folder, uint8 [T, H, W, 3], or a `Video`.
        folder: of the result (see `results.DepthResult`): of a video without cuts itself, otherwise of each shot a
            folder in it, by its first frame.
        config: switches.
        follow: how points are followed; that it looks for cuts is set by `config.cuts`.
        solver: those of the solver; `focal` and `config.zoom` decide on its focal length.
        source: of the depth to start from; None: parallax.
        focal: pixels, kept as it is; None: found.
        tracks: to use instead of following points; they should cover every part of every frame.
        tracker, segmenter: of points that TrackIME tracks, too (`follow.trackime_points`), as in `trackime.track`.
        work: a folder for finished stages, from which a run that broke off goes on; None: in `folder`, and removed.
        device: auto, cpu, cuda, cuda:N or mps.
        progress: told of the work; measures its stages.

    Raises:
        SolveError: parallax cannot tell depth (the camera only turns or rests, too few frames or points), or a solve
            that diverged.
        InputError: tracks of another video, a focal length that is none, switches that exclude each other.
        VideoError: a video that cannot be read.
    """
    config, progress = config or DepthConfig(), progress or Progress(quiet=True)
    opened = open_video(video)
    if tracks is not None:
        tracks.check(opened.info)
    asked = Asked(
        config, follow or DenseConfig(), solver or SolverConfig(), source or Source(), focal,
        str(resolve_device(device)), progress, tracker, segmenter,
    )  # fmt: skip
    asked = _checked(asked, opened)
    with progress.stage("cuts"):
        cuts = find_cuts(opened, config.cuts, progress) if config.cuts else []
    given = None if tracks is None else RaggedTracks.of(tracks)
    bounds = list(pairwise([0, *cuts, len(opened)]))
    if asked.source.parallax:  # before the others are worked on
        for start, stop in bounds:
            with _named(start, stop, len(opened)):
                check_frames(stop - start)
    shots = []
    with _workplace(folder, work) as kept:
        for start, stop in bounds:
            name = _SHOT.format(start)
            part = None if given is None else given.window(start, stop)[0]
            where = folder / name if cuts else folder
            mine = replace(asked, source=asked.source.part(start, stop))
            with _named(start, stop, len(opened)):
                shots.append(solve_shot(opened.clip(start, stop), start, part, kept / name, where, mine))
    return Depth(tuple(shots), progress.seconds)


def _checked(asked: Asked, video: Video) -> Asked:
    """What is asked, with what it needs found, so that nothing is wrong with it after minutes of work.

    Raises:
        InputError: a focal length that is none, switches that exclude each other; and as `Source.matched`.
    """
    config, focal = asked.config, asked.focal
    if focal is not None and not 0 < focal < float("inf"):
        raise InputError(f"focal: expected pixels above 0, got {focal:g}")
    if focal is not None and config.zoom:
        raise InputError("zoom: expected it off where the focal length is given: that is kept for all frames")
    if not config.solve and not asked.source.parallax:
        raise InputError("solve: expected it on where depth does not come from parallax: cameras are not known else")
    check_names(video.info)
    source, disparity = asked.source.matched(video.info)
    check_gauge(asked.solver, disparity)
    return replace(asked, source=source)


@contextmanager
def _workplace(folder: Path, work: Path | None) -> Iterator[Path]:
    """Where finished stages are kept: `work`; or a folder in `folder` that is gone afterwards, come what may."""
    kept = folder / ".work" if work is None else work
    try:
        yield kept
    finally:
        if work is None:
            shutil.rmtree(kept, ignore_errors=True)


@contextmanager
def _named(start: int, stop: int, frames: int) -> Iterator[None]:
    """Has errors of a solve say which shot of several they are of."""
    try:
        yield
    except SolveError as error:
        if stop - start == frames:
            raise
        where = f"frames {start} .. {stop - 1} (a shot between cuts)"
        raise SolveError(f"{where}: {error}; --cuts 0 where there is no cut") from None
