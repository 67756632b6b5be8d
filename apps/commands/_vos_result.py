"""What `vos` makes of one video, shared by its forms: from prompts, of many videos, corrected."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackime.errors import InputError
from trackime.ime import DEFAULT_SEGMENTER, ImeConfig
from trackime.types import Tracks

from ..run import Flags, Progress, Prompt, ResultFolder, count, describe, run_command, to_queries
from ..vos import DEFAULT_TRACKER, VosConfig

if TYPE_CHECKING:
    from trackime.segmenters import PointSegmenter
    from trackime.trackers import PointTracker
    from trackime.video import Video

    from ..vos import Prompts, Segmentation


class MaskAt:
    """A mask file and the frame it belongs to, as typed: ``FILE.png`` (frame 0) or ``FILE.png@T``."""

    def __init__(self, text: str) -> None:
        found = re.fullmatch(r"(.+)@(\d+)", text)
        split = found is not None and not Path(text).exists()
        self.path = Path(found[1] if found and split else text).absolute()
        self.t = int(found[2]) if found and split else 0
        self.text = f"{self.path}@{self.t}"


@dataclass(frozen=True)
class VosTask:
    """What to follow in a video, and how.

    Attributes:
        mask, point: the prompts.
        tracks: a file of tracks to reuse; nothing is tracked then.
        format: more formats of the masks, see `trackime_apps.vos.export`.
        device, tracker, segmenter: as in `trackime_apps.segment`.
        config, ime: switches of the segmentation and of the tracking.
    """

    mask: Sequence[MaskAt] = ()
    point: Sequence[Prompt] = ()
    tracks: Path | None = None
    format: Sequence[str] = ()
    device: str = "auto"
    tracker: PointTracker | str = DEFAULT_TRACKER
    segmenter: PointSegmenter | str = DEFAULT_SEGMENTER
    config: VosConfig = field(default_factory=VosConfig)
    ime: ImeConfig = field(default_factory=ImeConfig)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> VosTask:
        """The task of a command's options, among which are the tables ``vos`` and ``track``."""
        names = ("mask", "point", "tracks", "format", "device", "tracker", "segmenter")
        return cls(config=values["vos"], ime=values["track"], **{name: values[name] for name in names})

    @property
    def how(self) -> dict[str, Any]:
        """The options that `segment` and `correct` share."""
        return {name: getattr(self, name) for name in ("config", "ime", "tracker", "segmenter", "device")}

    def prompts(self, video: Video) -> Prompts:
        """The masks, read, and the clicks. Raises InputError for masks of another size, or two of one frame."""
        from ..run import read_ids
        from ..vos import Prompts

        masks = {}
        for item in self.mask:
            if item.t in masks:
                raise InputError(f"{item.path}: expected one mask a frame, got another of frame {item.t}")
            masks[item.t] = read_ids(item.path, video.info)
        return Prompts(masks, *to_queries(self.point, default_id=1))


def run_vos(
    output: Path, source: str | Path, task: VosTask, settings: Mapping[str, Any], flags: Flags
) -> Segmentation | None:
    """Make the result of one video and print one line about it; None where it was finished already.

    Args:
        output: the result's folder.
        source: a file or a folder of frames.
        task: what to follow.
        settings: saved as config.toml.
        flags: see `Flags`.

    Raises:
        OutputError: see `result_folder`.
    """
    made: list[Segmentation] = []

    def body(result: ResultFolder, progress: Progress) -> str:
        made.append(vos_into(result, source, task, progress))
        return f"{count(len(made[0].objects), 'object')} through {count(len(made[0]), 'frame')}"

    inputs = [source, *(mask.path for mask in task.mask), *([task.tracks] if task.tracks else [])]
    run_command("vos", output, settings, inputs, flags, body)
    return made[0] if made else None


def vos_into(result: ResultFolder, source: Any, task: VosTask, progress: Progress) -> Segmentation:
    """Segment, and write all of a `vos` result but what every result has.

    Args:
        result: where to write; a finished tracking stage is taken from its checkpoint.
        source: anything `open_video` takes.
        task: what to follow.
        progress: shows the work; measures its stages.
    """
    from trackime.video import open_video

    from ..run import load_tracks
    from ..vos import segment

    saved = result.checkpoint / "tracks.npz"
    with open_video(source) as video:
        known = Tracks.load(saved) if saved.exists() else None
        if known is None and task.tracks is not None:
            known = load_tracks(task.tracks, video.info)
        found = segment(
            video, task.prompts(video), tracks=known, on_tracks=lambda tracks: tracks.save(saved), progress=progress,
            **task.how,
        )  # fmt: skip
        write_result(result, video, found, task, progress)
    return found


def write_result(result: ResultFolder, video: Video, found: Segmentation, task: VosTask, progress: Progress) -> None:
    """Write a segmentation, other formats of its masks, the overlay, and what result.json contains."""
    from trackime.devices import resolve_device

    from ..run import TrackPainter, write_pictures
    from ..vos import export

    with progress.stage("masks"):
        found.save(result.folder)
    if task.format:
        with progress.stage("export"):
            export(result.folder, task.format, video, found, task.ime.chunk, progress)
    with progress.stage("overlay"):
        on_objects = found.tracks[found.tracks.instance > 0]
        # Small, visible points alone: the masks below them matter here.
        paint = TrackPainter(on_objects, by_instance=True, trail=0, scale=0.6, hidden=False)
        write_pictures(result.folder, video, paint, found.ids.__getitem__, task.ime.chunk, progress)
    describe(result, video, str(resolve_device(task.device)), progress)
    result.record["objects"] = list(found.objects)
