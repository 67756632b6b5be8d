"""`trackime-apps interpolate`: more frames a second, another rate, slow motion."""

from __future__ import annotations

import csv
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trackime.errors import InputError, OutputError
from trackime.ime import DEFAULT_SEGMENTER

from ..interp import DEFAULT_TRACKER, InterpConfig
from ..run import (
    Command,
    Progress,
    ResultFolder,
    build_config,
    check_names,
    compute_options_with,
    config_options,
    count,
    output_options,
    read_record,
    result_folder,
    tracks_option,
    typed_arguments,
)

if TYPE_CHECKING:
    from trackime.video import Video

    from ..interp import Interpolation, Marks, Sink

_log = logging.getLogger(__name__)


@click.command("interpolate", cls=Command)
@click.argument("video")
@output_options(what="A video, or a folder for images.")
@compute_options_with(DEFAULT_TRACKER)
@tracks_option
@config_options("Interpolation", InterpConfig)
def command(video: str, output: Path, overwrite: bool, resume: bool, quiet: bool, **settings: Any) -> None:
    """Make frames between those of VIDEO (a file, or a folder of frames).

    OUT is a video (mp4, m4v, mov, mkv, webm), with frames.csv, sheet.png, config.toml and result.json in OUT.d; or,
    without a suffix, a folder that gets images %05d.png and the same.
    """
    config = build_config(InterpConfig, settings)
    check_names(settings["tracker"], settings["segmenter"])
    inputs = [video, *([settings["tracks"]] if settings["tracks"] else [])]
    movie = _movie_of(output)
    _refuse_input(video, output)
    folder = output if movie is None else output.with_name(f"{output.name}.d")
    if movie is not None:
        _refuse_movie(movie, folder, overwrite, resume)
    line = f"{output}: finished already, skipped"
    made = result_folder(folder, "interpolate", settings, inputs, overwrite, resume, arguments=typed_arguments())
    with Progress(quiet) as progress, made as result:
        if result is not None:
            found = interpolate_into(result, video, config, progress, movie, **settings)
            timeline, seconds = found.timeline, sum(progress.seconds.values())
            what = f"{count(len(timeline), 'frame')}, {timeline.made} of them new, {float(timeline.duration):.3f} s"
            line = f"{output}: {what}, in {seconds:.1f} s"
        elif movie is not None and not movie.exists():
            raise OutputError(f"{movie} is gone though {folder} is finished: pass --overwrite to make it again")
    if not quiet:
        click.echo(line)


def _movie_of(output: Path) -> Path | None:
    """The video that `output` names, None where it names a folder of images.

    Raises:
        click.UsageError: a suffix that is none of a video's.
    """
    from ..interp import SUFFIXES

    suffix = output.suffix.lower()
    if not suffix or (output.is_dir() and suffix not in SUFFIXES):
        return None
    if suffix not in SUFFIXES:
        raise click.UsageError(f"-o: expected {', '.join(SUFFIXES)}, or a folder without suffix, got {output.name!r}")
    return output.resolve()


def _refuse_input(video: str, output: Path) -> None:
    """Raise where the result would replace what it is made from."""
    if output.exists() and Path(video).exists() and output.samefile(video):
        raise click.UsageError(f"-o: expected another name than that of the input, got {output}")


def _refuse_movie(movie: Path, folder: Path, overwrite: bool, resume: bool) -> None:
    """Raise where a file is in the result's place that may not be replaced.

    Raises:
        OutputError: so.
    """
    if movie.is_dir():
        raise OutputError(f"{movie} is a folder: expected the name of a file")
    if not movie.exists() or overwrite:
        return
    # A run that was killed just before its last step has put the movie there already.
    begun = folder.with_name(f".{folder.name}.partial").exists()
    if not resume or not (begun or read_record(folder) is not None):
        raise OutputError(f"{movie} exists: pass --overwrite to replace it")


def interpolate_into(
    result: ResultFolder,
    source: Any,
    config: InterpConfig,
    progress: Progress,
    movie: Path | None = None,
    *,
    device: str = "auto",
    tracker: str = DEFAULT_TRACKER,
    segmenter: str = DEFAULT_SEGMENTER,
    tracks: Path | None = None,
    **_: Any,
) -> Interpolation:
    """Interpolate, and write all of an `interpolate` result but what every result has.

    Args:
        result: where to write; what is in its checkpoint (cuts, finished segments) is not made again.
        source: anything `open_video` takes.
        config: what is wanted.
        progress: told of the work; measures its stages.
        movie: the video to make; None: images in the result's folder.
        device, tracker, segmenter: as in `interpolate`.
        tracks: a file of tracks to reuse; nothing is tracked then.
    """
    from trackime.devices import resolve_device
    from trackime.video import open_video

    from ..interp import PairSheet, interpolate, make_timeline, parse_rate, write_segments
    from ..run import load_tracks

    place = str(resolve_device(device))
    if config.fps is not None:
        parse_rate(config.fps)
    rate = None if config.input_fps is None else parse_rate(config.input_fps)
    with open_video(source, rate) as video:
        known = None if tracks is None else load_tracks(tracks, video.info)
        with progress.stage("cuts"):
            marks = _marks_of(result, video, config, progress)
        timeline = make_timeline(video, config, marks)
        sink = _sink_for(result, video, config, timeline, movie)
        found = interpolate(
            video, config, tracks=known, marks=marks, tracker=tracker, segmenter=segmenter, device=place,
            progress=progress,
        )  # fmt: skip
        sheet = PairSheet(result.checkpoint / "sheet", timeline, video.info)
        ranges = timeline.segments(config.segment)
        made = 0
        with progress.stage("frames"):
            for _k, start, stop in write_segments(
                sink, ranges, lambda start, stop: sheet.watch(found.frames(start, stop), start), progress
            ):
                made += sum(not target.is_source for target in timeline.targets[start:stop])
        with progress.stage("joining"):
            sink.finish(len(ranges))
        sheet.save(result.folder / "sheet.png", video)
        _write_targets(result.folder / "frames.csv", found, sink)
        describe(result, found, sink, place, progress, made)
    return found


def _marks_of(result: ResultFolder, video: Video, config: InterpConfig, progress: Progress) -> Marks:
    """Cuts and duplicates, from the checkpoint where they are there, else found and kept there."""
    from trackime.files import atomic

    from ..interp import Marks, find_marks

    saved = result.checkpoint / "marks.json"
    if saved.exists():
        return Marks(**{name: tuple(frames) for name, frames in json.loads(saved.read_text()).items()})
    marks = find_marks(video, config, progress)
    with atomic(saved) as temporary:
        temporary.write_text(json.dumps(asdict(marks)))
    return marks


def _sink_for(result: ResultFolder, video: Video, config: InterpConfig, timeline: Any, movie: Path | None) -> Sink:
    """Where the frames go; a movie is made beside the result's folder and published with it."""
    from ..interp import Images, Movie

    segments = result.checkpoint / "segments"
    if movie is None:
        if config.codec or config.preset or config.audio in ("copy", "stretch"):
            raise InputError("--codec, --preset and --audio are of videos: expected -o with a video's suffix")
        return Images(segments, timeline, config, video, result.folder)
    made = result.folder.with_name(f"movie{movie.suffix.lower()}")
    result.beside[made] = movie
    return Movie(segments, timeline, config, video, made, movie)


def _write_targets(path: Path, found: Interpolation, sink: Sink) -> None:
    """frames.csv of the result: index, name, pts in its own seconds, the input frames i, j and the place between."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["index", "name", "pts", "i", "j", "tau"])
        for k, (target, pts) in enumerate(zip(found.timeline.targets, sink.pts, strict=True)):
            rows.writerow([k, f"{k:05d}", repr(float(pts)), target.i, target.j, repr(float(target.tau))])


def describe(
    result: ResultFolder, found: Interpolation, sink: Sink, device: str, progress: Progress, made: int
) -> None:
    """What result.json says of the run."""
    video, timeline, marks = found.video, found.timeline, found.marks
    info = video.info
    result.record["video"] = {
        "source": info.source, "width": info.width, "height": info.height, "frames": info.frames, "fps": info.fps,
        "depth": video.depth, "alpha": video.alpha, "duration": float(timeline.times.duration),
    }  # fmt: skip
    result.record["output"] = {
        "frames": len(timeline), "new": timeline.made, "duration": float(timeline.duration),
        "fps": None if timeline.rate is None else str(timeline.rate), **sink.about,
    }  # fmt: skip
    result.record.update(cuts=list(marks.cuts), duplicates=list(marks.duplicates), device=device)
    result.record["seconds"] = progress.seconds
    if made:
        result.record["seconds_per_new_frame"] = round(progress.seconds["frames"] / made, 4)
    if video.warnings:
        result.record["warnings"] = list(video.warnings)
