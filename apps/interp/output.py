"""Sinks for the frames of a result: a video with its sound, or a folder of images, written segment by segment."""

from __future__ import annotations

import logging
import math
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np

from trackime.errors import InputError, OutputError
from trackime.files import atomic
from trackime.video import MPEG4_TICK, TICK, Encoding, Video, find_encoder, write_image

from . import _audio as audio
from ._segments import SegmentEncoder, join
from .config import InterpConfig
from .interpolator import InterpInput, Pixels
from .timeline import Timeline

_log = logging.getLogger(__name__)

_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
"""Suffixes of videos that hold exact times and sound; others are refused, a name without one is a folder."""

_FINEST = {"mpeg4": 65_535}
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of H.273


def is_movie(path: Path) -> bool:
    """Whether `path` names a video, not a folder of images.

    Raises:
        InputError: a suffix that is neither.
    """
    suffix = path.suffix.lower()
    if suffix in _SUFFIXES:
        return True
    if suffix and not path.is_dir():
        raise InputError(f"output: expected {', '.join(_SUFFIXES)}, or a folder without suffix, got {path.name!r}")
    return False


@contextmanager
def open_sink(given: InterpInput, timeline: Timeline, path: Path) -> Iterator[Sink]:
    """A sink whose result appears at `path`, whole, when the block ends well; see `is_movie` for what it is.

    Raises:
        InputError: a name, codec or depth that cannot be used, or the input itself.
        OutputError: a folder that is not empty; it cannot be written.
    """
    movie, source = is_movie(path), given.video.info.source
    if source and path.exists() and Path(source).exists() and path.samefile(source):
        raise InputError(f"output: expected another name than that of the input, got {path}")
    if not movie and path.is_dir() and any(path.iterdir()):
        raise OutputError(f"{path} is not empty: expected a new folder")
    with atomic(path) as made, TemporaryDirectory(".part", f".{path.name}.", made.parent) as segments:
        if movie:
            yield Movie(Path(segments), timeline, given, made, path)
        else:
            made.mkdir()
            yield Images(Path(segments), timeline, given, made)


class Sink(ABC):
    """Takes the frames of a result by segments, which it keeps as files in a folder until `finish` joins them."""

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
        """Codec, depth and such, as result.json records them."""

    @abstractmethod
    def place(self, k: int) -> Path:
        """The file of segment k; it exists once it is whole."""

    @abstractmethod
    def write(self, k: int, start: int, frames: Iterable[Pixels]) -> None:
        """Write segment k, whose first frame has the number `start`."""

    @abstractmethod
    def finish(self, count: int) -> None:
        """Make the result of `count` segments."""


class Images(Sink):
    """Images named %05d.png, 8 or 16 bits, with alpha where the video has it.

    Args:
        segments: folder for the segments.
        timeline: of the result.
        given: the video and the config.
        output: folder for the images.

    Raises:
        InputError: settings that only videos have.
    """

    def __init__(self, segments: Path, timeline: Timeline, given: InterpInput, output: Path) -> None:
        config, video = given.config, given.video
        if config.codec or config.preset or config.audio in ("copy", "stretch"):
            raise InputError("--codec, --preset and --audio are of videos: expected -o with a video's suffix")
        super().__init__(segments, timeline)
        self._output = output
        deep = video.depth > 8 if config.depth == "auto" else config.depth != "8"
        self._dtype = _dtype(16 if deep else 8)
        self._alpha = video.alpha

    @property
    def pts(self) -> list[Fraction]:
        return self.timeline.pts

    @property
    def about(self) -> dict[str, Any]:
        return {"images": "png", "depth": 8 * self._dtype.itemsize, "alpha": self._alpha}

    def place(self, k: int) -> Path:
        return self.folder / f"{k:05d}"

    def write(self, k: int, start: int, frames: Iterable[Pixels]) -> None:
        with atomic(self.place(k)) as folder:
            folder.mkdir()
            for t, frame in enumerate(frames, start):
                write_image(folder / f"{t:05d}.png", to_depth(frame, self._dtype))

    def finish(self, count: int) -> None:
        for k in range(count):
            for file in sorted(self.place(k).iterdir()):
                # A hard link, so that an interrupted run still has its segments.
                try:
                    os.link(file, self._output / file.name)
                except OSError:
                    shutil.copy2(file, self._output / file.name)


class Movie(Sink):
    """A video, with the sound of its source.

    Args:
        segments: folder for the segments.
        timeline: of the result.
        given: the video and the config: codec, quality, depth, audio.
        path: the file; not written atomically.
        name: its final name, for messages.

    Raises:
        InputError: a codec or depth that cannot be used for such a file.
    """

    def __init__(self, segments: Path, timeline: Timeline, given: InterpInput, path: Path, name: Path) -> None:
        super().__init__(segments, timeline)
        self._path, self._name = path, name
        config, video = given.config, given.video
        source, slow, suffix = Path(video.info.source), config.slowness, path.suffix.lower()
        wanted = config.audio != "none" and (slow == 1 or config.audio == "stretch") and source.is_file()
        self._sounds = audio.choose_streams(source, suffix, slow) if wanted else []
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

    def write(self, k: int, start: int, frames: Iterable[Pixels]) -> None:
        encoder = SegmentEncoder(self._encoding, str(self._name))
        for t, frame in enumerate(frames, start):
            encoder.write(to_depth(frame[..., :3], _dtype(self._encoding.depth)), self._ticks[t])
        encoder.finish().save(self.place(k))

    def finish(self, count: int) -> None:
        files = [self.place(k) for k in range(count)]
        last = max(1, round(self.timeline.interval / self._encoding.tick))
        join(self._path, files, self._encoding, last, self._sounds, self._origin, str(self._name))


def _choose_encoding(
    suffix: str, config: InterpConfig, video: Video, rate: Fraction | None, pts: Iterable[Fraction]
) -> Encoding:
    """The encoding that the config asks for.

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
    """A time base that represents all times exactly: 1 / rate, or the coarsest; where that is too fine, the default."""
    every = list(pts)
    if rate is not None and rate.numerator <= finest and all((t * rate).denominator == 1 for t in every):
        return 1 / rate
    denominator = math.lcm(*(t.denominator for t in every))
    if denominator <= finest:
        return Fraction(1, denominator)
    return TICK if TICK.denominator <= finest else MPEG4_TICK


def to_depth(frame: Pixels, dtype: np.dtype[Any]) -> Pixels:
    """A frame as uint8 or uint16, each in its full scale."""
    if frame.dtype == dtype:
        return frame
    if dtype == np.uint16:
        return frame.astype(np.uint16) * np.uint16(257)
    return ((frame.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _dtype(depth: int) -> np.dtype[Any]:
    return np.dtype(np.uint8 if depth <= 8 else np.uint16)


def _look_at(source: Path, width: int, height: int) -> tuple[Fraction, str]:
    """The pixel aspect ratio of a file, upright (width over height), and its HDR transfer function, empty for none."""
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
