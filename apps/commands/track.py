"""`trackime-apps track`: any points of a video, tracked for as long as it lasts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trackime.ime import ImeConfig

from ..run import (
    Command,
    Flags,
    Progress,
    PromptType,
    ResultFolder,
    TrackRequest,
    check_names,
    compute_options,
    config_options,
    count,
    every,
    list_option,
    output_options,
    run_command,
    track_into,
    tracks_option,
)


class _FormatType(click.ParamType):
    """The name of a track format."""

    name = "format"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from trackime.formats import formats

        if value not in formats():
            self.fail(f"unknown format {value!r}: expected some of {', '.join(formats())}", param, ctx)
        return str(value)


_FILE = click.Path(path_type=Path)
_query_options = every([
    click.option("--point", type=PromptType(), multiple=True,
                 help="Track this point, in pixels; whole numbers mean that pixel's centre. T: its frame. Repeatable."),
    click.option("--queries", type=_FILE, metavar="FILE.csv", help="Track the points of a file, X,Y[,T[,ID]] a line."),
    click.option("--grid", type=click.FloatRange(0, min_open=True), metavar="PX",
                 help="Track a grid of the first frame, PX pixels apart (16 if no point is given)."),
    click.option("--mask", type=_FILE, metavar="FILE.png", help="Keep only the grid's points on objects of this mask."),
])  # fmt: skip
"""What to track."""


@click.command("track", cls=Command)
@click.argument("video")
@output_options()
@_query_options
@list_option("--format", type=_FormatType(), help="More formats of the tracks, such as nuke or json.")
@compute_options
@tracks_option
@config_options("Method", ImeConfig, table="track")
def command(video: str, output: Path, overwrite: bool, resume: bool, quiet: bool, **settings: Any) -> None:
    """Track points through VIDEO (a file, or a folder of frames).

    By default the points are a grid of the first frame, 16 pixels apart. OUT contains tracks.npz, tracks.csv,
    overlay.mp4, sheet.png, frames.csv, config.toml and result.json.
    """
    check_names(settings["tracker"], settings["segmenter"])
    if settings["tracks"]:
        others = [name for name in ("point", "queries", "grid", "mask") if settings[name]]
        if others:
            raise click.UsageError(f"--tracks and --{others[0]} exclude each other: expected one of them")
    inputs = [video, *(settings[name] for name in ("queries", "mask", "tracks") if settings[name])]

    def body(result: ResultFolder, progress: Progress) -> str:
        values = {name: value for name, value in settings.items() if name != "track"}
        tracks = track_into(result, video, TrackRequest(config=settings["track"], **values), progress)
        return f"{count(len(tracks), 'point')} through {count(tracks.video.frames, 'frame')}"

    run_command("track", output, settings, inputs, Flags(overwrite, resume, quiet), body)
