"""`trackime-apps interpolate`: more frames a second, another rate, slow motion."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trackime.errors import OutputError
from trackime.ime import DEFAULT_SEGMENTER

from ..interp import DEFAULT_TRACKER, InterpConfig
from ..run import (
    Command,
    Flags,
    Progress,
    ResultFolder,
    check_names,
    compute_options_with,
    config_options,
    count,
    output_options,
    read_record,
    run_command,
    tracks_option,
)

if TYPE_CHECKING:
    from trackime.video import Video

    from ..interp import Interpolation, Marks, Sink


@click.command("interpolate", cls=Command)
@click.argument("video")
@output_options(what="A video, or a folder for images.")
@compute_options_with(DEFAULT_TRACKER)
@tracks_option
@config_options("Interpolation", InterpConfig, table="interpolate")
def command(video: str, output: Path, overwrite: bool, resume: bool, quiet: bool, **settings: Any) -> None:
    """Make frames between those of VIDEO (a file, or a folder of frames).

    OUT is a video (mp4, m4v, mov, mkv, webm), with frames.csv, sheet.png, config.toml and result.json in OUT.d; or,
    without a suffix, a folder that gets images %05d.png and the same.
    """
    from ..interp import is_movie

    config: InterpConfig = settings["interpolate"]
    config.check_rate()
    check_names(settings["tracker"], settings["segmenter"])
    inputs = [video, *([settings["tracks"]] if settings["tracks"] else [])]
    movie = output.resolve() if is_movie(output) else None
    if output.exists() and Path(video).exists() and output.samefile(video):
        raise click.UsageError(f"-o: expected another name than that of the input, got {output}")
    folder = output if movie is None else output.with_name(f"{output.name}.d")
    if movie is not None:
        _check_movie(movie, folder, overwrite, resume)
    tracking = Tracking(**{name: settings[name] for name in ("tracks", "tracker", "segmenter", "device")})

    def body(result: ResultFolder, progress: Progress) -> str:
        timeline = interpolate_into(result, video, config, progress, movie, tracking).timeline
        return f"{count(len(timeline), 'frame')}, {timeline.made} of them new, {float(timeline.duration):.3f} s, made"

    run_command("interpolate", folder, settings, inputs, Flags(overwrite, resume, quiet), body, shown=output)


@dataclass(frozen=True)
class Tracking:
    """What tracks points.

    Attributes:
        tracks: a file of tracks to use in place of tracking.
        tracker, segmenter, device: as in `interpolate`.
    """

    tracks: Path | None = None
    tracker: str = DEFAULT_TRACKER
    segmenter: str = DEFAULT_SEGMENTER
    device: str = "auto"


_DEFAULT_TRACKING = Tracking()


def _check_movie(movie: Path, folder: Path, overwrite: bool, resume: bool) -> None:
    """Raise OutputError for a file that may not be replaced, or a finished result whose movie is gone."""
    if movie.is_dir():
        raise OutputError(f"{movie} is a folder: expected the name of a file")
    if overwrite:
        return
    finished = read_record(folder) is not None
    if not movie.exists():
        if finished and resume:
            raise OutputError(f"{movie} is gone though {folder} is finished: pass --overwrite to make it again")
        return
    # A run that was killed just before its last step has put the movie there already.
    begun = folder.with_name(f".{folder.name}.partial").exists()
    if not resume or not (begun or finished):
        raise OutputError(f"{movie} exists: pass --overwrite to replace it")


def interpolate_into(
    result: ResultFolder,
    source: Any,
    config: InterpConfig,
    progress: Progress,
    movie: Path | None = None,
    tracking: Tracking = _DEFAULT_TRACKING,
) -> Interpolation:
    """Interpolate, and write all of an `interpolate` result but what every result has.

    Args:
        result: where to write; what is in its checkpoint (cuts, finished segments) is not made again.
        source: anything `open_video` takes.
        config: the switches.
        progress: shows the work; measures its stages.
        movie: the video to make; None: images in the result's folder.
        tracking: what tracks points.
    """
    from trackime.devices import resolve_device
    from trackime.video import open_video

    from ..interp import InterpInput, Interpolation, parse_rate
    from ..run import load_tracks
    from ._pair_sheet import PairSheet

    place = str(resolve_device(tracking.device))
    if config.fps is not None:
        parse_rate(config.fps)
    with open_video(source, None if config.input_fps is None else parse_rate(config.input_fps)) as video:
        known = None if tracking.tracks is None else load_tracks(tracking.tracks, video.info)
        with progress.stage("cuts"):
            marks = _find_marks(result, video, config, progress)
        found = Interpolation(InterpInput(video, config, marks, known, tracking.tracker, tracking.segmenter, place))
        sink = _open_sink(result, found, movie)
        sheet = PairSheet(result.checkpoint / "sheet", found.timeline, video.info)
        made = found.write(sink, progress, sheet.watch)
        sheet.save(result.folder / "sheet.png", video)
        _write_targets(result.folder / "frames.csv", found, sink)
        _describe(result, found, sink, progress, made)
    return found


def _find_marks(result: ResultFolder, video: Video, config: InterpConfig, progress: Progress) -> Marks:
    """Cuts and duplicates, from the checkpoint where it has them, else found and kept there."""
    from trackime.files import atomic

    from ..interp import Marks, find_marks

    saved = result.checkpoint / "marks.json"
    if saved.exists():
        return Marks(**{name: tuple(frames) for name, frames in json.loads(saved.read_text()).items()})
    marks = find_marks(video, config, progress)
    with atomic(saved) as temporary:
        temporary.write_text(json.dumps(asdict(marks)))
    return marks


def _open_sink(result: ResultFolder, found: Interpolation, movie: Path | None) -> Sink:
    """Where the frames go; a movie is made beside the result's folder and published with it."""
    from ..interp import Images, Movie

    segments = result.checkpoint / "segments"
    if movie is None:
        return Images(segments, found.timeline, found.given, result.folder)
    made = result.folder.with_name(f"movie{movie.suffix.lower()}")
    result.beside[made] = movie
    return Movie(segments, found.timeline, found.given, made, movie)


def _write_targets(path: Path, found: Interpolation, sink: Sink) -> None:
    """frames.csv of the result: index, name, pts in its own seconds, the input frames i, j and the time between."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["index", "name", "pts", "i", "j", "tau"])
        for k, (target, pts) in enumerate(zip(found.timeline.targets, sink.pts, strict=True)):
            rows.writerow([k, f"{k:05d}", repr(float(pts)), target.i, target.j, repr(float(target.tau))])


def _describe(result: ResultFolder, found: Interpolation, sink: Sink, progress: Progress, made: int) -> None:
    """What result.json records of the run."""
    video, timeline, marks = found.given.video, found.timeline, found.given.marks
    info = video.info
    result.record["video"] = {
        "source": info.source, "width": info.width, "height": info.height, "frames": info.frames, "fps": info.fps,
        "depth": video.depth, "alpha": video.alpha, "duration": float(timeline.times.duration),
    }  # fmt: skip
    result.record["output"] = {
        "frames": len(timeline), "new": timeline.made, "duration": float(timeline.duration),
        "fps": None if timeline.rate is None else str(timeline.rate), **sink.about,
    }  # fmt: skip
    result.record.update(cuts=list(marks.cuts), duplicates=list(marks.duplicates), device=found.given.device)
    result.record["seconds"] = progress.seconds
    if made:
        result.record["seconds_per_new_frame"] = round(progress.seconds["frames"] / made, 4)
    if video.warnings:
        result.record["warnings"] = list(video.warnings)
