"""Many videos in one call: a result each; a video that fails is one line of the error output, the others go on."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click

from trackime.errors import FormatError, InputError, OutputError
from trackime.files import atomic

from ..run import Flags, read_record
from ._vos_result import MaskAt, VosTask, run_vos

_VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".gif")
"""Suffixes of the files that make a folder of videos; others in it are ignored, hidden ones too."""

_SUMMARY = "summary.csv"


@dataclass(frozen=True)
class _Outcome:
    """A row of summary.csv: the outcome of one video.

    Attributes:
        name: the video's, and its result's.
        status: done, skipped (finished before) or failed.
        objects, frames: how many; 0 where it failed.
        seconds: that it took now.
        error: what went wrong, one line.
    """

    name: str
    status: str
    objects: int = 0
    frames: int = 0
    seconds: float = 0.0
    error: str = ""


def _has_frames(folder: Path) -> bool:
    from trackime.video import IMAGES

    return any(f.suffix.lower() in IMAGES and not f.name.startswith(".") and f.is_file() for f in folder.iterdir())


def videos_of(source: str) -> list[Path] | None:
    """The videos in a folder of videos (files, and folders of frames) by name; None where `source` is one video."""
    folder = Path(source)
    if not folder.is_dir() or _has_frames(folder):
        return None
    entries = sorted(f for f in folder.iterdir() if not f.name.startswith("."))
    found = [f for f in entries if f.is_dir() or f.suffix.lower() in _VIDEOS]
    if not any(_has_frames(f) if f.is_dir() else True for f in found):
        return None
    return found


def named(sources: Sequence[str]) -> dict[str, Path]:
    """All videos of a call by the name their result gets: the folder's, or the file's without its suffix.

    Raises:
        click.UsageError: two videos of one name, or a name that no folder can have.
    """
    videos: dict[str, Path] = {}
    for source in sources:
        listed = videos_of(source)
        for path in [Path(source)] if listed is None else listed:
            whole = path.absolute()
            name = whole.name if whole.is_dir() else whole.stem
            if name in ("", "..", _SUMMARY):
                raise click.UsageError(f"{source}: expected a video with a name that a result can have, got {name!r}")
            if name in videos:
                raise click.UsageError(f"expected videos of different names, got {videos[name]} and {path}")
            videos[name] = path
    return videos


def _first_mask(masks: Path, name: str, video: Path) -> MaskAt:
    """A video's first mask: ``MASKS/NAME.png`` of frame 0, or the first file of ``MASKS/NAME/``, of its own frame.

    Only the first: what else is there may be the truth to score against.

    Raises:
        InputError: neither is there.
        FormatError: a folder without masks, or whose first mask is not named after a frame of the video.
        VideoError: the video cannot be read.
    """
    from trackime.datasets import list_images
    from trackime.video import open_video

    single, folder = masks / f"{name}.png", masks / name
    if single.is_file():
        return MaskAt(f"{single.absolute()}@0")
    if not folder.is_dir():
        raise InputError(f"{masks}: expected {name}.png, or {name}/ with a first mask, found neither")
    path = list_images(folder)[0]
    with open_video(video) as opened:
        if path.stem not in opened.info.names:
            raise FormatError(f"{path}: expected a mask named after a frame of {video}, which has none of that name")
        return MaskAt(f"{path.absolute()}@{opened.info.names.index(path.stem)}")


def run_batch(
    videos: Mapping[str, Path],
    masks: Path,
    output: Path,
    settings: Mapping[str, Any],
    task: VosTask,
    flags: Flags,
) -> list[_Outcome]:
    """Follow the objects of each video into ``OUTPUT/NAME``; summary.csv, rewritten after each, lists the outcomes.

    Args:
        videos: by name, see `named`.
        masks: folder of first masks, see `_first_mask`.
        output: folder of the results; each is what a call for that video alone makes.
        settings: as typed, but for masks; saved beside each result.
        task: of each video, but for the mask.
        flags: of each result.

    Raises:
        click.UsageError: both flags.
        OutputError: `output` is a file or a result itself, or cannot be written.
        TrackimeError: a tracker or segmenter that cannot be had, as no video could do without.
    """
    from trackime import segmenters, trackers
    from trackime.devices import resolve_device

    if flags.overwrite and flags.resume:
        raise click.UsageError("--overwrite and --resume exclude each other: expected one of them")
    if output.is_file() or read_record(output) is not None:
        kind = "a file" if output.is_file() else "the result of one video"
        raise OutputError(f"{output} is {kind}: expected a folder that a result for each video goes into")
    device = str(resolve_device(task.device))
    tracker = trackers.create(settings["tracker"], device=device)
    segmenter = segmenters.create(settings["segmenter"], device=device)
    task = replace(task, tracker=tracker, segmenter=segmenter)
    outcomes: list[_Outcome] = []
    for name, video in videos.items():
        begun = time.perf_counter()
        try:
            mask = (_first_mask(masks, name, video),)
            outcome = _one(name, video, output / name, {**settings, "mask": mask}, replace(task, mask=mask), flags)
        except (BrokenPipeError, click.Abort):
            raise
        except Exception as error:
            outcome = _Outcome(name, "failed", error=_report(name, error))
        outcomes.append(replace(outcome, seconds=round(time.perf_counter() - begun, 1)))
        _write_summary(output / _SUMMARY, outcomes)
    return outcomes


def _one(name: str, video: Path, output: Path, settings: Mapping[str, Any], task: VosTask, flags: Flags) -> _Outcome:
    """One video's result, made as `vos VIDEO --mask` makes it."""
    made = run_vos(output, video, task, settings, flags)
    if made is not None:
        return _Outcome(name, "done", len(made.objects), len(made))
    record = read_record(output) or {}
    return _Outcome(name, "skipped", len(record.get("objects", ())), record.get("video", {}).get("frames", 0))


def _report(name: str, error: Exception) -> str:
    """Print on one line of stderr what went wrong with a video; the message."""
    from ..cli import explain

    context = click.get_current_context(silent=True)
    if context is not None and context.obj and context.obj.get("debug"):
        logging.getLogger("trackime_apps").critical("", exc_info=error)
    message = " ".join(explain(error)[0].split())
    click.echo(f"trackime-apps: {name}: {message}", err=True)
    return message


def _write_summary(path: Path, outcomes: Sequence[_Outcome]) -> None:
    """summary.csv: a row a video. Raises OutputError."""
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(item.name for item in fields(_Outcome))
        rows.writerows([getattr(row, item.name) for item in fields(_Outcome)] for row in outcomes)
