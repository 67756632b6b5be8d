"""Where a result's frames go: a video with its sound, or a folder of images; finished segments are kept."""

from __future__ import annotations

import logging
import math
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from trackime.errors import InputError
from trackime.files import atomic
from trackime.video import MPEG4_TICK, TICK, Encoding, Video, find_encoder, write_image

from . import _audio as audio
from ._segments import SegmentEncoder, join
from .config import InterpConfig
from .timeline import Timeline

_log = logging.getLogger(__name__)

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
"""Names of videos that hold exact times and sound; anything else with a suffix is refused, without one is a folder."""

_FINEST = {"mpeg4": 65_535}
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of H.273


class Sink(ABC):
    """Takes the frames of a result. What is done of it stays in its folder of segments."""

    def __init__(self, segments: Path, timeline: Timeline) -> None:
        self.folder, self.timeline = segments, timeline
        segments.mkdir(exist_ok=True)

    @property
    @abstractmethod
    def pts(self) -> list[Fraction]:
        """When each frame is shown, in seconds of the result."""

    @property
    @abstractmethod
    def about(self) -> dict[str, Any]:
        """What result.json says of the output."""

    @abstractmethod
    def place(self, k: int) -> Path:
        """Where segment k is kept."""

    @abstractmethod
    def write(self, k: int, start: int, frames: Iterable[npt.NDArray[Any]]) -> None:
        """Segment k, whose first frame is `start`: it is there, whole, when this returns."""

    @abstractmethod
    def finish(self, count: int) -> None:
        """Make the result of `count` segments."""


class Images(Sink):
    """Images named %05d.png, 8 or 16 bits, with alpha where the video has it.

    Args:
        segments: folder of what is done.
        timeline: of the result.
        config: depth.
        video: what it is made from.
        output: folder for the images.
    """

    def __init__(self, segments: Path, timeline: Timeline, config: InterpConfig, video: Video, output: Path) -> None:
        super().__init__(segments, timeline)
        self._output = output
        deep = video.depth > 8 if config.depth == "auto" else config.depth != "8"
        self._dtype: Any = np.uint16 if deep else np.uint8
        self._alpha = video.alpha

    @property
    def pts(self) -> list[Fraction]:
        return self.timeline.pts

    @property
    def about(self) -> dict[str, Any]:
        return {"images": "png", "depth": 8 * np.dtype(self._dtype).itemsize, "alpha": self._alpha}

    def place(self, k: int) -> Path:
        return self.folder / f"{k:05d}"

    def write(self, k: int, start: int, frames: Iterable[npt.NDArray[Any]]) -> None:
        with atomic(self.place(k)) as folder:
            folder.mkdir()
            for t, frame in enumerate(frames, start):
                write_image(folder / f"{t:05d}.png", as_depth(frame, self._dtype))

    def finish(self, count: int) -> None:
        for k in range(count):
            for file in sorted(self.place(k).iterdir()):
                # A second name, so that an interrupted run still has its segments.
                try:
                    os.link(file, self._output / file.name)
                except OSError:
                    shutil.copy2(file, self._output / file.name)


class Movie(Sink):
    """A video, with the sound of its source.

    Args:
        segments: folder of what is done.
        timeline: of the result.
        config: codec, quality, depth, audio.
        video: what it is made from.
        path: the file; not written atomically.
        name: that it will have, for messages.

    Raises:
        InputError: a codec or depth that cannot be used for such a file.
    """

    def __init__(
        self, segments: Path, timeline: Timeline, config: InterpConfig, video: Video, path: Path, name: Path
    ) -> None:
        super().__init__(segments, timeline)
        self._path, self._name = path, name
        source, slow, suffix = Path(video.info.source), config.slowness, path.suffix.lower()
        wanted = config.audio != "none" and (slow == 1 or config.audio == "stretch") and source.is_file()
        self._sounds = audio.choose(source, suffix, slow) if wanted else []
        if slow != 1 and config.audio == "auto" and audio.has_sound(source):
            _log.warning("--slow leaves the audio out: --audio stretch keeps it")
        first = timeline.times.pts[0]
        self._origin = audio.origin(source, first, suffix, self._sounds)
        offset = (first - self._origin) * slow - first
        self._pts = [t + offset for t in timeline.pts]
        aspect, curve = _look_at(source, video.info.width, video.info.height)
        self._encoding = replace(_choose_encoding(suffix, config, video, timeline.rate, self._pts), aspect=aspect)
        self._ticks = [round(t / self._encoding.tick) for t in self._pts]
        if len(set(self._ticks)) < len(self._ticks):
            raise InputError(f"{name}: frames closer than {self._encoding.tick} s: fewer of them, or another --codec")
        if video.alpha:
            _log.warning("%s holds no alpha: it is left out (an image sequence keeps it)", name)
        if curve:
            _log.warning("the video is HDR (%s): its values are kept but marked BT.709, nothing is tone-mapped", curve)

    @property
    def pts(self) -> list[Fraction]:
        return self._pts

    @property
    def about(self) -> dict[str, Any]:
        code = self._encoding
        sound = [s.encoder or "copy" for s in self._sounds]
        return {"codec": code.codec, "pixels": code.pixels, "options": code.options, "audio": sound}

    def place(self, k: int) -> Path:
        return self.folder / f"{k:05d}.npz"

    def write(self, k: int, start: int, frames: Iterable[npt.NDArray[Any]]) -> None:
        encoder = SegmentEncoder(self._encoding, str(self._name))
        dtype = np.uint8 if self._encoding.depth == 8 else np.uint16
        for t, frame in enumerate(frames, start):
            encoder.write(as_depth(frame[..., :3], dtype), self._ticks[t])
        encoder.finish().save(self.place(k))

    def finish(self, count: int) -> None:
        files = [self.place(k) for k in range(count)]
        last = max(1, round(self.timeline.interval / self._encoding.tick))
        join(self._path, files, self._encoding, last, self._sounds, self._origin, str(self._name))


def _choose_encoding(
    suffix: str, config: InterpConfig, video: Video, rate: Fraction | None, pts: Iterable[Fraction]
) -> Encoding:
    """How the frames of a video are encoded as the config wants it.

    Raises:
        InputError: a codec or depth that cannot be used for such a file.
    """
    deep = video.depth > 8 if config.depth == "auto" else config.depth == "10"
    codec = config.codec or None
    if deep and config.depth == "auto":
        try:
            find_encoder(suffix, codec, 10)
        except InputError as error:
            _log.warning("8 of the video's %d bits are kept: %s", video.depth, error)
            deep = False
    tick = _common_tick(pts, rate, _FINEST.get(find_encoder(suffix, codec, 10 if deep else 8), 1_000_000))
    info, options = video.info, {"preset": config.preset} if config.preset else {}
    depth = 10 if deep else 8
    return Encoding.make(suffix, info.width, info.height, rate, tick, codec, config.crf, options, depth)


def _common_tick(pts: Iterable[Fraction], rate: Fraction | None, finest: int) -> Fraction:
    """A time base that holds all times exactly: 1 / rate, or the coarsest; where it would be too fine, one near it."""
    every = list(pts)
    if rate is not None and rate.numerator <= finest and all((t * rate).denominator == 1 for t in every):
        return 1 / rate
    denominator = math.lcm(*(t.denominator for t in every))
    if denominator <= finest:
        return Fraction(1, denominator)
    return TICK if TICK.denominator <= finest else MPEG4_TICK


def as_depth(frame: npt.NDArray[Any], dtype: Any) -> npt.NDArray[Any]:
    """A frame as uint8 or uint16, each in its full scale."""
    if frame.dtype == dtype:
        return frame
    if dtype == np.uint16:
        return frame.astype(np.uint16) * np.uint16(257)
    return ((frame.astype(np.uint32) + 128) // 257).astype(np.uint8)


def write_segments(
    sink: Sink, ranges: list[tuple[int, int]], frames: Any, report: Any = None
) -> Iterator[tuple[int, int, int]]:
    """Make the segments that are not there yet, one after the other.

    Args:
        sink: where they go.
        ranges: their frames.
        frames: ``frames(start, stop)`` gives those.
        report: called with ("frames", done, total).

    Returns:
        After each one that was made (number, start, stop).
    """
    total = ranges[-1][1]
    for k, (start, stop) in enumerate(ranges):
        if not sink.place(k).exists():
            sink.write(k, start, _counted(frames(start, stop), start, total, report))
            yield k, start, stop
        elif report is not None:
            report("frames", stop, total)


def _counted(frames: Iterable[Any], start: int, total: int, report: Any) -> Iterator[Any]:
    for t, frame in enumerate(frames, start):
        yield frame
        if report is not None:
            report("frames", t + 1, total)


def _look_at(source: Path, width: int, height: int) -> tuple[Fraction, str]:
    """The shape of a file's pixels, upright (width over height), and the name of its HDR curve, empty for none."""
    if source.is_file():
        with (
            suppress(av.FFmpegError, OSError, ValueError),
            av.open(str(source), metadata_errors="replace") as container,
        ):
            stream = container.streams.video[0]
            aspect = Fraction(stream.sample_aspect_ratio or 1)
            turned = (stream.width, stream.height) == (height, width) and width != height
            curve = _HDR.get(int(stream.codec_context.color_trc or 0), "")
            return (1 / aspect if turned else aspect) if aspect > 0 else Fraction(1), curve
    return Fraction(1), ""
