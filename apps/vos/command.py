"""`trackime-apps vos`: objects of a video, followed from a mask or a few clicks."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from trackime.errors import FormatError, InputError
from trackime.ime.config import DEFAULT_SEGMENTER, DEFAULT_TRACKER, ImeConfig
from trackime.types import FloatArray, Tracks

from ..options import (
    Command,
    build_config,
    compute_options,
    config_options,
    in_order,
    output_options,
    read_config,
    tracks_option,
)
from ..progress import Progress
from ..prompts import Prompt, PromptType, to_queries
from ..results import Result, read_record, result_folder
from ..track import check_names, count, describe
from .config import VosConfig

if TYPE_CHECKING:
    from trackime.segmenters import PointSegmenter
    from trackime.trackers import PointTracker
    from trackime.video import Video

    from .correct import Finished
    from .run import Segmentation


FORMATS = ("coco", "mots", "yolo", "rgba", "rgba-objects")
"""What `--format` takes: the names of `export.FORMATS`, here because that loads OpenCV."""


class MaskAt:
    """A mask file and the frame it belongs to, as typed: ``FILE.png`` (frame 0) or ``FILE.png@T``."""

    def __init__(self, text: str) -> None:
        found = re.fullmatch(r"(.+)@(\d+)", text)
        split = found is not None and not Path(text).exists()
        self.path = Path(found[1] if found and split else text).absolute()
        self.t = int(found[2]) if found and split else 0
        self.text = f"{self.path}@{self.t}"


class MaskType(click.ParamType):
    """Click's view of `MaskAt`."""

    name = "mask"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "FILE.png[@T]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> MaskAt:
        return value if isinstance(value, MaskAt) else MaskAt(str(value))


@click.command("vos", cls=Command)
@click.argument("video", nargs=-1, required=True)
@output_options()
@click.option("--mask", type=MaskType(), multiple=True,
              help="Objects of a frame (the first): a palette PNG of ids, or one value beside black.")  # fmt: skip
@click.option("--point", type=PromptType(), multiple=True,
              help="A click on object ID (1), or off it (-); whole numbers mean that pixel's centre.")  # fmt: skip
@click.option("--correct", type=PromptType(), multiple=True,
              help="A click that mends the finished result in OUT, on or off an object of any frame.")  # fmt: skip
@click.option("--masks", type=click.Path(path_type=Path), metavar="FOLDER",
              help="First masks of several videos, NAME.png or NAME/00000.png: results in OUT/NAME.")  # fmt: skip
@click.option("--format", type=click.Choice(FORMATS), multiple=True, help="The masks in another format, too.")
@compute_options
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
    from .batch import videos_of

    corrections = settings.pop("correct")
    if typed("correct"):
        _check_mending(video, output)
        mend(video[0], output, corrections, settings["device"], quiet)
        return
    config, ime = build_config(VosConfig, settings), build_config(ImeConfig, settings)
    check_names(settings["tracker"], settings["segmenter"])
    if masks is not None:
        batch(video, masks, output, in_order(settings), config, ime, overwrite=overwrite, resume=resume, quiet=quiet)
        return
    several = video if len(video) > 1 else videos_of(video[0])
    if several is not None:
        raise click.UsageError(f"expected --masks FOLDER with first masks of {count(len(several), 'video')}, got none")
    if not settings["mask"] and not any(point.positive for point in settings["point"]):
        raise click.UsageError("expected --mask FILE.png or --point X,Y to say what to follow, got neither")
    settings = in_order(settings)
    files = [video[0], *(mask.path for mask in settings["mask"])]
    files += [settings["tracks"]] if settings["tracks"] else []
    line, made_anew = f"{output}: finished already, skipped", False
    made = result_folder(output, "vos", settings, files, overwrite, resume)
    with Progress(quiet) as progress, made as result:
        if result is not None:
            found = vos_into(result, video[0], config, ime, progress, **settings)
            objects, frames = count(len(found.objects), "object"), count(len(found), "frame")
            line, made_anew = f"{output}: {objects} through {frames} in {sum(progress.seconds.values()):.1f} s", True
    if not quiet:
        click.echo(line)
    if corrections and made_anew:  # of a config beside a result that was mended
        mend(video[0], output, corrections, settings["device"], quiet)


def typed(name: str) -> bool:
    """Whether an option was typed, rather than read from a config."""
    return click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


MENDING = ("video", "output", "correct", "device", "quiet", "debug", "offline")
"""What may be typed along with --correct: everything else is the finished result's."""


def _check_mending(video: Sequence[str], output: Path) -> None:
    """Refuse --correct beside options that a finished result has decided."""
    params = click.get_current_context().command.params
    others = [p.opts[-1] for p in params if p.name and p.name not in MENDING and typed(p.name)]
    if others:
        raise click.UsageError(f"--correct and {others[0]} exclude each other: the settings are those of {output}")
    if len(video) > 1:
        raise click.UsageError(f"--correct: expected one VIDEO, got {len(video)}")


def mend(video: str, output: Path, clicks: Sequence[Prompt], device: str, quiet: bool) -> None:
    """The command with ``--correct``."""
    context = click.get_current_context()
    command = context.command
    assert isinstance(command, Command)
    record = read_record(output)
    if record is None or record.get("command") != "vos" or "prompts" not in record:
        raise click.UsageError(f"--correct: expected {output} to be a finished result of vos, found none")
    saved = read_config(output / "config.toml", command.settings())
    with command.make_context("vos", [video, "-o", str(output)], context.parent, default_map=saved) as again:
        values = again.params
    config, ime = build_config(VosConfig, values), build_config(ImeConfig, values)
    settings = {name: values[name] for name in command.settings() if name in values}
    settings.update(correct=(*values["correct"], *clicks), device=device)
    with Progress(quiet) as progress, result_folder(output, "vos", settings, [video], overwrite=True) as result:
        assert result is not None
        changed = mend_into(result, video, output, record, config, ime, progress, clicks=clicks, **settings)
        line = f"{output}: {count(changed, 'frame')} mended in {sum(progress.seconds.values()):.1f} s"
    if not quiet:
        click.echo(line)


def batch(
    sources: Sequence[str],
    masks: Path,
    output: Path,
    settings: dict[str, Any],
    config: VosConfig,
    ime: ImeConfig,
    **how: bool,
) -> None:
    """The command with ``--masks``: a result for each video; exit code 1 where one of them failed."""
    from .batch import named, run_batch

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
    result: Result,
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

    from ..queries import load_tracks, read_ids
    from .run import segment

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


def mend_into(
    result: Result,
    source: Any,
    output: Path,
    record: dict[str, Any],
    config: VosConfig,
    ime: ImeConfig,
    progress: Progress,
    *,
    clicks: Sequence[Prompt],
    device: str,
    tracker: str,
    segmenter: str,
    format: Sequence[str] = (),
    **_: Any,
) -> int:
    """Write the result in `output`, mended by `clicks`, as a new result; how many frames changed."""
    from trackime.devices import resolve_device
    from trackime.maskio import write_mask
    from trackime.video import open_video

    from ..queries import load_tracks
    from .correct import Edited, Finished, correct

    place = str(resolve_device(device))
    with open_video(source) as video:
        names = video.info.names
        before = Finished(
            tuple(record["objects"]),
            MaskFiles(output / "masks", names),
            read_confidence(output / "confidence.csv", names, record["objects"]),
            load_tracks(output / "tracks.npz", video.info),
            {int(k): list(frames) for k, frames in record["prompts"].items()},
        )
        points, labels = to_queries(clicks, default_id=1)
        with progress.stage("mending"):
            after = correct(
                video, before, points, labels, tracker=tracker, segmenter=segmenter, config=config, ime=ime,
                device=place, progress=progress,
            )  # fmt: skip
        assert isinstance(after.masks, Edited)
        after.tracks.save(result.folder / "tracks.npz")
        shutil.copytree(output / "masks", result.folder / "masks")
        for t in after.masks.changed:
            write_mask(result.folder / "masks" / f"{names[t]}.png", after.masks[t])
        with open(result.folder / "confidence.csv", "w", newline="", encoding="utf-8") as file:
            add = confidence_rows(file, after.objects)
            for t, name in enumerate(names):
                add(t, name, after.confidence[t])
        finish(result, video, MaskFiles(result.folder / "masks", names), after, format, ime, progress, place)
    return len(after.masks.changed)


def finish(
    result: Result,
    video: Video,
    ids: MaskFiles,
    found: Segmentation | Finished,
    format: Sequence[str],
    ime: ImeConfig,
    progress: Progress,
    device: str,
) -> None:
    """Write what is made of masks and tracks: other formats, the overlay, what result.json says."""
    from ..overlay import TrackPainter
    from ..pictures import write_pictures

    if format:
        from .export import export

        with progress.stage("export"):
            export(result.folder, format, video, ids, found.objects, found.confidence, ime.chunk, progress)
    with progress.stage("overlay"):
        on_objects = found.tracks[found.tracks.instance > 0]
        # Small, seen points alone: what matters here is the mask below them.
        paint = TrackPainter(on_objects, by_instance=True, trail=0, scale=0.6, hidden=False)
        write_pictures(result.folder, video, paint, ids, ime.chunk, progress)
    describe(result, video, device, progress)
    result.record["objects"] = list(found.objects)
    result.record["prompts"] = {str(k): sorted(frames) for k, frames in found.stated.items()}


class MaskFiles(Sequence[Any]):
    """The masks of a folder as a sequence of uint8 [H, W], each read when it is asked for."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._paths = [folder / f"{name}.png" for name in names]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: Any) -> Any:
        from trackime.maskio import read_mask

        return read_mask(self._paths[index])

    def __call__(self, t: int) -> Any:
        return self[t]


def write_masks(folder: Path, video: Video, found: Segmentation) -> None:
    """masks/NAME.png of every frame as it is made, and confidence.csv: a row a frame, a column an object."""
    from trackime.maskio import write_mask

    names = video.info.names
    if len(set(names)) != len(names):
        raise FormatError(f"{video.info.source}: expected frames of different names, got two of one name")
    (folder / "masks").mkdir()
    with open(folder / "confidence.csv", "w", newline="", encoding="utf-8") as file:
        add = confidence_rows(file, found.objects)
        for frame in found:
            write_mask(folder / "masks" / f"{names[frame.t]}.png", frame.ids)
            add(frame.t, names[frame.t], frame.confidence)


def confidence_rows(file: TextIO, objects: Sequence[int]) -> Callable[[int, str, FloatArray], None]:
    """Begin a confidence.csv; what writes one row of it."""
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["index", "name", *(f"object_{k}" for k in objects)])
    return lambda t, name, values: rows.writerow([t, name, *(f"{value:.4f}" for value in values)])


def read_confidence(path: Path, names: Sequence[str], objects: Sequence[int]) -> FloatArray:
    """float32 [T, objects] of a confidence.csv.

    Raises:
        FormatError: no such file, or one of other frames or objects.
    """
    import numpy as np

    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        if rows[0][2:] != [f"object_{k}" for k in objects] or [row[1] for row in rows[1:]] != list(names):
            raise ValueError("other frames or objects")
        return np.array([row[2:] for row in rows[1:]], np.float32)
    except (OSError, UnicodeDecodeError, ValueError, IndexError) as error:
        expected = f"a row for each of {count(len(names), 'frame')} and {count(len(objects), 'object')}"
        raise FormatError(f"{path}: expected {expected}: {getattr(error, 'strerror', None) or error}") from None
