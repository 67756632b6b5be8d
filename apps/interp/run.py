"""The application as a function: a video in, the frames of the result out, in order, made when they are needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from weakref import finalize

import numpy as np

from trackime.arrays import Float32, UInt8
from trackime.devices import resolve_device
from trackime.errors import InputError
from trackime.ime import DEFAULT_SEGMENTER
from trackime.progress import Report, silent
from trackime.segmenters import PointSegmenter
from trackime.trackers import PointTracker
from trackime.types import Tracks
from trackime.video import Video, find_cuts, open_video

from ._duplicates import find_duplicates
from .config import DEFAULT_TRACKER, InterpConfig
from .interpolator import InterpInput, Pixels
from .methods import make_interpolator
from .output import Sink, open_sink
from .timeline import Marks, SourceTimes, Target, Timeline, by_factor, by_rate, parse_rate, slowed

_DEFAULT = InterpConfig()

_Watch = Callable[[Iterable[Pixels], int], Iterable[Pixels]]
"""``watch(frames, start)`` passes on frames of a result, of which the first has the number `start`."""


class Interpolation:
    """The frames of a result with their times, made while they are iterated; only a few are held.

    Use it as a context manager, or `close` it, to close the video that `interpolate` opened for it; otherwise that
    happens when the object is garbage-collected.

    Args:
        given: the video and what is known of it.
        progress: called with (stage, done, total) while frames are saved.
        owned: the video is closed with this object.

    Attributes:
        given: the input.
        timeline: which frames there are and when they are shown.

    Raises:
        InputError: the config gives no number of frames; tracks of another video.
    """

    def __init__(self, given: InterpInput, progress: Report = silent, owned: bool = False) -> None:
        given.config.check_rate()
        if given.tracks is not None:
            given.tracks.check(given.video.info)
        self.given, self._progress = given, progress
        self.timeline = _make_timeline(given)
        self._interpolator = make_interpolator(given)
        self._release = finalize(self, given.video.close) if owned else None

    def __len__(self) -> int:
        return len(self.timeline)

    def __iter__(self) -> Iterator[tuple[Pixels, Fraction]]:
        return zip(self.frames(), self.times, strict=True)

    @property
    def times(self) -> list[Fraction]:
        """When each frame is shown: exact seconds on the clock of the input."""
        return self.timeline.pts

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Pixels]:
        """Frames start .. stop - 1 of the result, uint8 or uint16 [H, W, C], depth and alpha as in `Video.pixels`.

        An input frame is returned unchanged. The frames do not depend on where the range begins, provided that it does
        not separate the new frames between one pair (see `Timeline.segments`).

        Raises:
            InputError: not 0 <= start <= stop <= len.
        """
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise InputError(f"frames: expected 0 <= start <= stop <= {len(self)}, got [{start}, {stop})")
        return self._make(start, stop)

    def _make(self, start: int, stop: int) -> Iterator[Pixels]:
        video, k = self.given.video, start
        while k < stop:
            target = self.timeline[k]
            if target.is_source:
                yield video.pixels(target.i, target.i + 1)[0]
                k += 1
                continue
            group = [target]
            while k + len(group) < stop and _pair(self.timeline[k + len(group)]) == _pair(target):
                group.append(self.timeline[k + len(group)])
            made = self._interpolator(target.i, target.j, [float(t.tau) for t in group])
            for _, frame in zip(group, made, strict=True):
                yield _quantise(frame, video.depth)
            k += len(group)

    def write(self, sink: Sink, progress: Report = silent, watch: _Watch | None = None) -> int:
        """Write all frames to a sink, skipping the segments it has already.

        Args:
            sink: where to; see `open_sink`.
            progress: called with ("frames", done, total); measures the stages "frames" and "joining".
            watch: sees the frames on their way to the sink, segment by segment.

        Returns:
            How many new frames were made in this run.
        """
        made = 0
        ranges = self.timeline.segments(self.given.config.segment)
        with progress.stage("frames"):
            for k, (start, stop) in enumerate(ranges):
                if not sink.place(k).exists():
                    frames = self.frames(start, stop)
                    sink.write(k, start, self._counted(watch(frames, start) if watch else frames, start, progress))
                    made += sum(not target.is_source for target in self.timeline.targets[start:stop])
                progress("frames", stop, len(self))
        with progress.stage("joining"):
            sink.finish(len(ranges))
        return made

    def _counted(self, frames: Iterable[Pixels], start: int, progress: Report) -> Iterator[Pixels]:
        for t, frame in enumerate(frames, start + 1):
            yield frame
            progress("frames", t, len(self))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result, atomically: a video with its sound (.mp4, .m4v, .mov, .mkv, .webm), or a folder of images.

        A file of that name is replaced.

        Args:
            path: with a video's suffix; without one, the folder for images %05d.png (with alpha, 8 or 16 bits).

        Raises:
            InputError: another suffix, a codec or depth that such a file cannot hold, the input itself.
            OutputError: it cannot be written, a folder that is not empty.
        """
        with open_sink(self.given, self.timeline, Path(path)) as sink:
            self.write(sink, self._progress)

    def close(self) -> None:
        """Close the video, where it is this object's own."""
        if self._release is not None:
            self._release()

    def __enter__(self) -> Interpolation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def interpolate(
    video: str | os.PathLike[str] | UInt8 | Video,
    *,
    factor: int | None = None,
    fps: str | float | Fraction | None = None,
    slow: float | None = None,
    config: InterpConfig = _DEFAULT,
    tracker: PointTracker | str = DEFAULT_TRACKER,
    segmenter: PointSegmenter | str = DEFAULT_SEGMENTER,
    device: str = "auto",
    tracks: Tracks | None = None,
    progress: Report = silent,
) -> Interpolation:
    """Frames between those of a video.

    Cuts and duplicates are searched here; points are tracked and frames made while the result is iterated or saved.

    Args:
        video: a path, a folder of frames, uint8 [T, H, W, 3] RGB, or an open `Video`, which stays open.
        factor: frames in place of each input frame; the duration stays.
        fps: frames per second of the result: 60, "60000/1001".
        slow: how many times longer the result lasts. Of these three at least one, here or in `config`; what is given
            here replaces all three of `config`.
        config: all switches.
        tracker, segmenter: names, or models, of what tracks points, where the method does and no tracks are given.
        device: auto, cpu, cuda, cuda:N or mps.
        tracks: of the whole video, used in place of tracking.
        progress: called with (stage, done, total).

    Raises:
        VideoError: a video that cannot be read.
        InputError: none of factor, fps and slow; values that exclude each other or are out of range; input_fps of a
            video that has times; tracks of another video.
        DeviceError: no such device.
    """
    if not (factor is fps is slow is None):
        rate = str(fps) if isinstance(fps, Fraction) else fps
        config = replace(config, factor=factor, fps=rate, slow=slow)
    config.check_rate()
    place, owned = str(resolve_device(device)), not isinstance(video, Video)
    opened = open_video(video, None if config.input_fps is None or not owned else parse_rate(config.input_fps))
    try:
        marks = find_marks(opened, config, progress)
        return Interpolation(InterpInput(opened, config, marks, tracks, tracker, segmenter, place), progress, owned)
    except BaseException:
        if owned:
            opened.close()
        raise


def find_marks(video: Video, config: InterpConfig, progress: Report = silent) -> Marks:
    """Cuts and duplicates of a video, as far as the config wants them; one pass for each."""
    cuts = find_cuts(video, config.cuts, progress) if config.cuts else []
    return Marks(tuple(cuts), tuple(find_duplicates(video, cuts, progress=progress)) if config.dedup else ())


def _make_timeline(given: InterpInput) -> Timeline:
    times, config, marks = SourceTimes(given.video.info.pts), given.config, given.marks
    if config.factor is not None:
        return by_factor(times, config.factor, config.tail, marks)
    if config.fps is not None:
        return by_rate(times, parse_rate(config.fps), config.tail, config.slowness, marks)
    return slowed(times, config.slowness, config.tail, marks)


def _pair(target: Target) -> tuple[int, int] | None:
    return None if target.is_source else (target.i, target.j)


def _quantise(frame: Float32, depth: int) -> Pixels:
    """A frame in [0, 1] as uint8, or as uint16 where the depth is above 8 bits: rounded, clipped."""
    dtype = np.uint8 if depth <= 8 else np.uint16
    most = np.iinfo(dtype).max
    return np.clip(frame * np.float32(most) + np.float32(0.5), 0, most).astype(dtype)
