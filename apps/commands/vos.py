"""`trackime-apps vos`: objects of a video, followed from a mask or a few clicks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trackime.errors import InputError
from trackime.ime import DEFAULT_SEGMENTER, ImeConfig
from trackime.types import Tracks

from ..run import (
    Command,
    Progress,
    Prompt,
    PromptType,
    ResultFolder,
    build_config,
    check_names,
    compute_options_with,
    config_options,
    count,
    list_option,
    output_options,
    result_folder,
    to_queries,
    tracks_option,
    typed_arguments,
)
from ..vos import DEFAULT_TRACKER, MaskFiles, VosConfig, finish, write_masks
from .vos_correct import check_mending, mend, typed

if TYPE_CHECKING:
    from trackime.segmenters import PointSegmenter
    from trackime.trackers import PointTracker

    from ..vos import Segmentation


_FORMATS = ("coco", "mots", "yolo", "rgba", "rgba-objects")
"""What `--format` takes: the names of `export.FORMATS`, here because that loads OpenCV."""


class MaskAt:
    """A mask file and the frame it belongs to, as typed: ``FILE.png`` (frame 0) or ``FILE.png@T``."""

    def __init__(self, text: str) -> None:
        found = re.fullmatch(r"(.+)@(\d+)", text)
        split = found is not None and not Path(text).exists()
        self.path = Path(found[1] if found and split else text).absolute()
        self.t = int(found[2]) if found and split else 0
        self.text = f"{self.path}@{self.t}"


class _MaskType(click.ParamType):
    """Click's view of `MaskAt`."""

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
              help="A click that mends the finished result in OUT, on or off an object of any frame.")  # fmt: skip
@click.option("--masks", type=click.Path(path_type=Path), metavar="FOLDER",
              help="First masks of several videos, NAME.png or NAME/00000.png: results in OUT/NAME.")  # fmt: skip
@list_option("--format", type=click.Choice(_FORMATS), help="More formats of the masks.")
@compute_options_with(DEFAULT_TRACKER)
@tracks_option
@config_options("Segmentation", VosConfig)
@config_options("Tracking", ImeConfig, skip=["seed"])
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

    OUT gets masks/NAME.png (palette PNGs of ids), confidence.csv, tracks.npz, overlay.mp4, sheet.png, frames.csv,
    config.toml and result.json. With --masks FOLDER there may be several VIDEOs, or a folder of them: OUT/NAME gets
    each one's, and OUT/summary.csv says what became of them.

    With --correct the result in OUT is mended: its settings and tracks are used again, and masks are made anew only
    where the click makes a difference.
    """
    from .vos_many import videos_of

    corrections = settings.pop("correct")
    if typed("correct"):
        check_mending(video, output)
        mend(video[0], output, corrections, settings["device"], quiet)
        return
    config, ime = build_config(VosConfig, settings), build_config(ImeConfig, settings)
    check_names(settings["tracker"], settings["segmenter"])
    if masks is not None:
        _batch(video, masks, output, settings, config, ime, overwrite=overwrite, resume=resume, quiet=quiet)
        return
    several = video if len(video) > 1 else videos_of(video[0])
    if several is not None:
        raise click.UsageError(f"expected --masks FOLDER with first masks of {count(len(several), 'video')}, got none")
    if not settings["mask"] and not any(point.positive for point in settings["point"]):
        raise click.UsageError("expected --mask FILE.png or --point X,Y to say what to follow, got neither")
    files = [video[0], *(mask.path for mask in settings["mask"])]
    files += [settings["tracks"]] if settings["tracks"] else []
    line, made_anew = f"{output}: finished already, skipped", False
    made = result_folder(output, "vos", settings, files, overwrite, resume, arguments=typed_arguments())
    with Progress(quiet) as progress, made as result:
        if result is not None:
            found = vos_into(result, video[0], config, ime, progress, **settings)
            objects, frames = count(len(found.objects), "object"), count(len(found), "frame")
            line, made_anew = f"{output}: {objects} through {frames} in {sum(progress.seconds.values()):.1f} s", True
    if not quiet:
        click.echo(line)
    if corrections and made_anew:  # of a config beside a result that was mended
        mend(video[0], output, corrections, settings["device"], quiet)


def _batch(
    sources: Sequence[str],
    masks: Path,
    output: Path,
    settings: dict[str, Any],
    config: VosConfig,
    ime: ImeConfig,
    **how: bool,
) -> None:
    """The command with ``--masks``: a result for each video; exit code 1 where one of them failed."""
    from .vos_many import named, run_batch

    for name in ("mask", "point", "tracks"):
        if settings[name]:
            raise click.UsageError(f"--masks and --{name} exclude each other: expected one of them")
    if not masks.is_dir():
        raise click.UsageError(f"--masks: expected a folder of first masks, got {masks}")
    outcomes = run_batch(named(sources), masks, output, settings, config, ime, **how)
    failed = [outcome.name for outcome in outcomes if outcome.status == "failed"]
    if not how["quiet"]:
        known = [(status, sum(o.status == status for o in outcomes)) for status in ("done", "skipped", "failed")]
        parts = ", ".join(f"{number} {status}" for status, number in known if number)
        which = f" ({', '.join(failed)})" if failed else ""
        click.echo(f"{count(len(outcomes), 'video')}: {parts}{which}")
    if failed:
        click.get_current_context().exit(1)


def vos_into(
    result: ResultFolder,
    source: Any,
    config: VosConfig,
    ime: ImeConfig,
    progress: Progress,
    *,
    mask: Sequence[MaskAt] = (),
    point: Sequence[Prompt] = (),
    device: str = "auto",
    tracker: PointTracker | str = DEFAULT_TRACKER,
    segmenter: PointSegmenter | str = DEFAULT_SEGMENTER,
    tracks: Path | None = None,
    format: Sequence[str] = (),
    **_: Any,
) -> Segmentation:
    """Segment, and write all of a `vos` result but what every result has.

    Args:
        result: where to write; a finished tracking stage is taken from its checkpoint.
        source: anything `open_video` takes.
        config: switches of the segmentation.
        ime: switches of the tracking.
        progress: told of the work; measures its stages.
        mask, point: what to follow.
        device, tracker, segmenter: as in `segment`.
        tracks: a file of tracks to reuse; nothing is tracked then.
        format: more formats of the masks, see `export`.
    """
    from trackime.devices import resolve_device
    from trackime.video import open_video

    from ..run import load_tracks, read_ids
    from ..vos import segment

    place = str(resolve_device(device))
    saved = result.checkpoint / "tracks.npz"
    with open_video(source) as video:
        masks = {}
        for item in mask:
            if item.t in masks:
                raise InputError(f"{item.path}: expected one mask a frame, got another of frame {item.t}")
            masks[item.t] = read_ids(item.path, video.info)
        clicks, labels = to_queries(point, default_id=1)
        known = Tracks.load(saved) if saved.exists() else None if tracks is None else load_tracks(tracks, video.info)
        with progress.stage("tracking"):
            found = segment(
                video, masks=masks, points=clicks, labels=labels, tracks=known, tracker=tracker, segmenter=segmenter,
                config=config, ime=ime, device=place, progress=progress,
            )  # fmt: skip
        found.tracks.save(saved)
        found.tracks.save(result.folder / "tracks.npz")
        with progress.stage("masks"):
            write_masks(result.folder, video, found)
        ids = MaskFiles(result.folder / "masks", video.info.names)
        finish(result, video, ids, found, format, ime, progress, place)
    return found
