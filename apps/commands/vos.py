"""`trackime-apps vos`: objects of a video, followed from a mask or a few clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from trackime.ime import ImeConfig

from ..run import (
    Command,
    Flags,
    PromptType,
    check_names,
    compute_options_with,
    config_options,
    count,
    list_option,
    output_options,
    tracks_option,
)
from ..vos import DEFAULT_TRACKER, VosConfig
from ._vos_result import MaskAt, VosTask, run_vos
from .vos_correct import check_correction, correct_result, typed

_FORMATS = ("coco", "mots", "yolo", "rgba", "rgba-objects")
"""What `--format` takes: the names of `vos.export`'s formats, here because that loads OpenCV."""


class _MaskType(click.ParamType):
    """The option type of `MaskAt`."""

    name = "mask"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "FILE.png[@T]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> MaskAt:
        return value if isinstance(value, MaskAt) else MaskAt(str(value))


@click.command("vos", cls=Command)
@click.argument("video", nargs=-1, required=True)
@output_options()
@click.option("--mask", type=_MaskType(), multiple=True,
              help="Objects of a frame (the first): a palette PNG of ids, or one value beside black.")  # fmt: skip
@click.option("--point", type=PromptType(), multiple=True,
              help="A click on object ID (1), or off it (-); whole numbers mean that pixel's centre.")  # fmt: skip
@click.option("--correct", type=PromptType(), multiple=True,
              help="A click that corrects the finished result in OUT, on or off an object of any frame.")  # fmt: skip
@click.option("--masks", type=click.Path(path_type=Path), metavar="FOLDER",
              help="First masks of several videos, NAME.png or NAME/00000.png: results in OUT/NAME.")  # fmt: skip
@list_option("--format", type=click.Choice(_FORMATS), help="More formats of the masks.")
@compute_options_with(DEFAULT_TRACKER)
@tracks_option
@config_options("Segmentation", VosConfig, table="vos")
@config_options("Tracking", ImeConfig, table="track", file_only=["seed"])
def command(
    video: tuple[str, ...],
    output: Path,
    overwrite: bool,
    resume: bool,
    quiet: bool,
    masks: Path | None,
    **settings: Any,
) -> None:
    """Follow objects through VIDEO (a file, or a folder of frames) from a mask or from clicks.

    OUT gets masks/NAME.png (palette PNGs of ids), confidence.csv, tracks.npz, prompts.json, overlay.mp4, sheet.png,
    frames.csv, config.toml and result.json. With --masks FOLDER there may be several VIDEOs, or a folder of them:
    OUT/NAME gets the result of each, and OUT/summary.csv lists which are done or failed.

    With --correct the result in OUT is corrected: its settings and tracks are used again, and masks are recomputed only
    where the click makes a difference.
    """
    from .vos_many import videos_of

    flags, corrections = Flags(overwrite, resume, quiet), settings.pop("correct")
    if typed("vos__seed"):  # one option for both; in files each table has its own
        settings["track"] = replace(settings["track"], seed=settings["vos"].seed)
    if typed("correct"):
        check_correction(video, output)
        correct_result(video[0], output, corrections, settings["device"], quiet)
        return
    task = VosTask.of(settings)
    check_names(settings["tracker"], settings["segmenter"])
    if masks is not None:
        _batch(video, masks, output, settings, task, flags)
        return
    several = video if len(video) > 1 else videos_of(video[0])
    if several is not None:
        raise click.UsageError(f"expected --masks FOLDER with first masks of {count(len(several), 'video')}, got none")
    if not task.mask and not any(point.positive for point in task.point):
        raise click.UsageError("expected --mask FILE.png or --point X,Y to say what to follow, got neither")
    made = run_vos(output, video[0], task, settings, flags)
    if made is not None and corrections:  # from the config of a result that was corrected
        correct_result(video[0], output, corrections, settings["device"], quiet)


def _batch(
    sources: Sequence[str], masks: Path, output: Path, settings: dict[str, Any], task: VosTask, flags: Flags
) -> None:
    """The command with ``--masks``: a result for each video; exit code 1 where one of them failed."""
    from .vos_many import named, run_batch

    for name in ("mask", "point", "tracks"):
        if settings[name]:
            raise click.UsageError(f"--masks and --{name} exclude each other: expected one of them")
    if not masks.is_dir():
        raise click.UsageError(f"--masks: expected a folder of first masks, got {masks}")
    outcomes = run_batch(named(sources), masks, output, settings, task, flags)
    failed = [outcome.name for outcome in outcomes if outcome.status == "failed"]
    if not flags.quiet:
        known = [(status, sum(o.status == status for o in outcomes)) for status in ("done", "skipped", "failed")]
        parts = ", ".join(f"{number} {status}" for status, number in known if number)
        which = f" ({', '.join(failed)})" if failed else ""
        click.echo(f"{count(len(outcomes), 'video')}: {parts}{which}")
    if failed:
        click.get_current_context().exit(1)
