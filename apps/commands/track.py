"""`trackime-apps track`: any points of a video, followed for as long as it lasts."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trackime.errors import UnknownNameError
from trackime.ime import DEFAULT_SEGMENTER, DEFAULT_TRACKER, ImeConfig
from trackime.types import Queries, Tracks

from ..run import (
    Command,
    Progress,
    Prompt,
    PromptType,
    Result,
    build_config,
    compute_options,
    config_options,
    in_order,
    output_options,
    result_folder,
    tracks_option,
    write_frames,
)

if TYPE_CHECKING:
    from trackime.video import Video


class _FormatList(click.ParamType):
    """Names of track formats, separated by commas."""

    name = "formats"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "NAME,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        from trackime.formats import formats

        items = value.split(",") if isinstance(value, str) else value
        names = tuple(dict.fromkeys(item.strip() for item in items if item.strip()))
        for name in names:
            if name not in formats():
                self.fail(f"unknown format {name!r}: expected some of {', '.join(formats())}", param, ctx)
        return names


def _query_options(function: Any) -> Any:
    """The ways of asking for points."""
    file = click.Path(path_type=Path)
    choices = [
        click.option("--point", type=PromptType(), multiple=True,
                     help="A point to follow, in pixels; whole numbers mean that pixel's centre. T: its frame."),
        click.option("--queries", type=file, metavar="FILE.csv", help="More points, one X,Y[,T[,ID]] a line."),
        click.option("--grid", type=click.FloatRange(0, min_open=True), metavar="PX",
                     help="A grid of the first frame, points PX pixels apart (16 where no point is given)."),
        click.option("--mask", type=file, metavar="FILE.png", help="Only the grid's points on the objects of a mask."),
    ]  # fmt: skip
    return functools.reduce(lambda f, add: add(f), reversed(choices), function)


@click.command("track", cls=Command)
@click.argument("video")
@output_options()
@_query_options
@click.option("--format", type=_FormatList(), default=(), help="More files of the tracks: csv, nuke, ...")
@compute_options
@tracks_option
@config_options("Method", ImeConfig)
def command(video: str, output: Path, overwrite: bool, resume: bool, quiet: bool, **settings: Any) -> None:
    """Follow points through VIDEO (a file, or a folder of frames).

    Without any point: a grid every 16 pixels of the first frame. OUT gets tracks.npz, tracks.csv, overlay.mp4,
    sheet.png, frames.csv, config.toml and result.json.
    """
    config = build_config(ImeConfig, settings)
    check_names(settings["tracker"], settings["segmenter"])
    settings = in_order(settings)
    if settings["tracks"]:
        asked = [name for name in ("point", "queries", "grid", "mask") if settings[name]]
        if asked:
            raise click.UsageError(f"--tracks and --{asked[0]} exclude each other: expected one of them")
    inputs = [video, *(settings[name] for name in ("queries", "mask", "tracks") if settings[name])]
    line = f"{output}: finished already, skipped"
    with Progress(quiet) as progress, result_folder(output, "track", settings, inputs, overwrite, resume) as result:
        if result is not None:
            tracks = track_into(result, video, config, progress, **settings)
            seconds, size = sum(progress.seconds.values()), (len(tracks), tracks.video.frames)
            line = f"{output}: {count(size[0], 'point')} through {count(size[1], 'frame')} in {seconds:.1f} s"
    if not quiet:
        click.echo(line)


def track_into(
    result: Result,
    source: Any,
    config: ImeConfig,
    progress: Progress,
    *,
    point: Sequence[Prompt] = (),
    queries: Path | Queries | None = None,
    grid: float | None = None,
    mask: Path | None = None,
    format: Sequence[str] = (),
    device: str = "auto",
    tracker: str = DEFAULT_TRACKER,
    segmenter: str = DEFAULT_SEGMENTER,
    tracks: Path | None = None,
    **_: Any,
) -> Tracks:
    """Track, and write all of a `track` result but what every result has.

    Args:
        result: where to write; a finished tracking stage is taken from its checkpoint.
        source: anything `open_video` takes.
        config: the method's switches.
        progress: told of the work; measures its stages.
        point, queries, grid, mask: what to follow, see `gather_queries`; or the queries themselves.
        format: more files of the tracks.
        device, tracker, segmenter: as in `trackime.track`.
        tracks: a file of tracks to reuse; nothing is tracked then.

    Returns:
        The tracks.
    """
    from trackime.devices import resolve_device
    from trackime.video import open_video

    from ..run import TrackPainter, gather_queries, load_tracks, write_pictures

    place = str(resolve_device(device))
    with open_video(source) as video:
        if tracks is not None:
            found = load_tracks(tracks, video.info)
        else:
            wanted = queries if isinstance(queries, Queries) else gather_queries(video.info, point, queries, grid, mask)
            with progress.stage("tracking"):
                found = _follow(result, video, wanted, tracker, segmenter, config, place, progress)
        with progress.stage("writing"):
            _save_tracks(found, result.folder, format)
        with progress.stage("overlay"):
            known = mask is not None or any(p.id is not None for p in point)
            write_pictures(result.folder, video, TrackPainter(found, known), None, config.chunk, progress)
        describe(result, video, place, progress)
    return found


def _follow(
    result: Result,
    video: Video,
    queries: Queries,
    tracker: str,
    segmenter: str,
    config: ImeConfig,
    device: str,
    progress: Progress,
) -> Tracks:
    """The tracks of `queries`: from the checkpoint where they are there, else made and kept there."""
    from trackime.ime import track

    saved = result.checkpoint / "tracks.npz"
    if saved.exists():
        return Tracks.load(saved)
    found = track(video, queries, tracker=tracker, segmenter=segmenter, config=config, device=device, progress=progress)
    found.save(saved)
    return found


def _save_tracks(tracks: Tracks, folder: Path, formats: Sequence[str] = ()) -> None:
    """tracks.npz, tracks.csv, and a file for each of `formats`."""
    from trackime import formats as known

    for name in dict.fromkeys(["npz", "csv", *formats]):
        known.save(tracks, folder / f"tracks{known.formats()[name].suffix}", name)


def describe(result: Result, video: Video, device: str, progress: Progress) -> None:
    """What result.json says of every run over a video, and frames.csv."""
    info = video.info
    write_frames(result.folder / "frames.csv", info)
    about = {"source": info.source, "width": info.width, "height": info.height, "frames": info.frames, "fps": info.fps}
    result.record.update(video=about, device=device, seconds=progress.seconds)
    if video.warnings:
        result.record["warnings"] = list(video.warnings)


def count(number: int, thing: str) -> str:
    """The number with its noun, as people say it."""
    return f"{number} {thing}{'s' * (number != 1)}"


def check_names(tracker: str, segmenter: str) -> None:
    """Refuse names no registry knows before anything is read or computed.

    Raises:
        UnknownNameError: with the names allowed.
    """
    from trackime import segmenters, trackers

    for kind, name, names in (("tracker", tracker, trackers.names()), ("segmenter", segmenter, segmenters.names())):
        if name.partition(":")[0] not in names:
            raise UnknownNameError(kind, name, names)
