"""Frames between frames: a video and what is wanted of it in, the result's frames out, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from trackime.arrays import Float32
from trackime.devices import resolve_device
from trackime.errors import InputError
from trackime.ime import DEFAULT_SEGMENTER
from trackime.progress import Report
from trackime.types import Tracks
from trackime.video import Video, find_cuts, open_video

from ._duplicates import find_duplicates
from .config import InterpConfig
from .interpolator import Between
from .methods import DEFAULT_TRACKER, make_between
from .timeline import SourceTimes, Target, Timeline, by_factor, by_rate, parse_rate, slowed


@dataclass(frozen=True)
class Marks:
    """What is known of a video's frames before any is made.

    Attributes:
        cuts: those that begin a shot.
        duplicates: those that only repeat the one before and are made anew.
    """

    cuts: tuple[int, ...] = ()
    duplicates: tuple[int, ...] = ()


class Interpolation:
    """The frames of a result, made while they are iterated; no more than a few are held.

    Attributes:
        video: the input.
        timeline: which frames there are and when they are shown.
        marks: cuts and duplicates of the input.
    """

    def __init__(self, video: Video, timeline: Timeline, marks: Marks, between: Between) -> None:
        self.video, self.timeline, self.marks, self._between = video, timeline, marks, between

    def __len__(self) -> int:
        return len(self.timeline)

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        return self.frames()

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[npt.NDArray[Any]]:
        """Frames start .. stop - 1 of the result, [H, W, C], depth and alpha as `Video.pixels` has them.

        An input frame comes as it is, bit by bit. Begun anywhere the frames are the same, as long as no pair's frames
        are parted (see `Timeline.segments`).
        """
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise InputError(f"frames: expected 0 <= start <= stop <= {len(self)}, got [{start}, {stop})")
        k = start
        while k < stop:
            target = self.timeline[k]
            if target.is_source:
                yield self.video.pixels(target.i, target.i + 1)[0]
                k += 1
                continue
            group = [target]
            while k + len(group) < stop and _pair(self.timeline[k + len(group)]) == _pair(target):
                group.append(self.timeline[k + len(group)])
            made = self._between(target.i, target.j, [float(t.tau) for t in group])
            for _, frame in zip(group, made, strict=True):
                yield _quantise(frame, self.video.depth)
            k += len(group)


def _pair(target: Target) -> tuple[int, int] | None:
    return None if target.is_source else (target.i, target.j)


def _quantise(frame: Float32, depth: int) -> npt.NDArray[Any]:
    """A frame in [0, 1] as uint8, or as uint16 where the depth is above 8 bits: rounded, clipped."""
    most = 255 if depth <= 8 else 65535
    return np.clip(frame * np.float32(most) + np.float32(0.5), 0, most).astype(np.uint8 if depth <= 8 else np.uint16)


def interpolate(
    video: Any,
    config: InterpConfig,
    *,
    tracks: Tracks | None = None,
    marks: Marks | None = None,
    tracker: str = DEFAULT_TRACKER,
    segmenter: str = DEFAULT_SEGMENTER,
    device: str = "auto",
    progress: Report | None = None,
) -> Interpolation:
    """Make frames between those of a video.

    Cuts and duplicates are looked for here; points are followed and frames made while the result is iterated.

    Args:
        video: a path, a folder of frames, uint8 [T, H, W, 3], or a `Video`.
        config: what is wanted.
        tracks: of the whole video, to use instead of following points.
        marks: cuts and duplicates, where they are known.
        tracker, segmenter: what follows points, where the method does and no tracks are given.
        device: auto, cpu, cuda, cuda:N or mps.
        progress: called with (stage, done, total).

    Raises:
        VideoError: a video that cannot be read.
        InputError: input_fps of a video that has times, tracks of another video.
        DeviceError: no such device.
    """
    rate = None if config.input_fps is None or isinstance(video, Video) else parse_rate(config.input_fps)
    opened = open_video(video, rate)
    place = str(resolve_device(device))
    if marks is None:
        marks = find_marks(opened, config, progress)
    timeline = make_timeline(opened, config, marks)
    if tracks is not None:
        tracks.check(opened.info)
    between = make_between(
        config.method, opened, config, tracks=tracks, cuts=marks.cuts, duplicates=marks.duplicates, tracker=tracker,
        segmenter=segmenter, device=place,
    )  # fmt: skip
    return Interpolation(opened, timeline, marks, between)


def find_marks(video: Video, config: InterpConfig, progress: Report | None = None) -> Marks:
    """Cuts and duplicates of a video, as the config wants them looked for."""
    cuts = find_cuts(video, config.cuts, progress) if config.cuts else []
    return Marks(tuple(cuts), tuple(find_duplicates(video, cuts, progress=progress)) if config.dedup else ())


def make_timeline(video: Video, config: InterpConfig, marks: Marks) -> Timeline:
    """The frames that a config wants of a video."""
    times = SourceTimes(video.info.pts)
    known: dict[str, Sequence[int]] = {"cuts": marks.cuts, "duplicates": marks.duplicates}
    slow: Fraction = config.slowness
    if config.factor is not None:
        return by_factor(times, config.factor, config.tail, **known)
    if config.fps is not None:
        return by_rate(times, parse_rate(config.fps), config.tail, slow, **known)
    return slowed(times, slow, config.tail, **known)
