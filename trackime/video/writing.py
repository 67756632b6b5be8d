"""Writing video files: atomic, exact rates and times, any frame size."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np

from trackime.arrays import PixelArray
from trackime.errors import InputError, OutputError
from trackime.files import atomic
from trackime.video.encoding import Encoding

_log = logging.getLogger(__name__)


def exact_rate(fps: float | Fraction) -> Fraction:
    """Frames a second as an exact fraction: 29.97 is 30000/1001, 25.0 is 25.

    Rates within 0.0005 of n * 1000 / 1001 are taken as that (23.976, 29.97, 59.94), others to the nearest fraction
    with a denominator up to 1001.

    Raises:
        InputError: not finite, or not in [1/1000, 1000].
    """
    if isinstance(fps, bool) or not isinstance(fps, int | float | Fraction | np.number):
        raise InputError(f"fps: expected a number, got {fps!r}")
    value = fps if isinstance(fps, Fraction) else float(fps)
    if not 0.001 <= value <= 1000:
        raise InputError(f"fps: expected 0.001 .. 1000 frames/s, got {fps}")
    if isinstance(value, Fraction):
        return value
    whole = round(value)
    if whole and abs(value - whole) < 1e-6:
        return Fraction(whole)
    ntsc = Fraction(round(value * 1.001) * 1000, 1001)
    if ntsc and abs(value - ntsc) < 5e-4:
        return ntsc
    return Fraction(value).limit_denominator(1001)


class _Abandoned(Exception):
    """Closes the file when the block of a `VideoWriter` fails."""


class VideoWriter:
    """Writes frames to a video file; a context manager. The file appears when the block succeeds.

    With an exception in the block, Ctrl-C included, nothing is left. Colours are BT.709 (avi: BT.601), limited range,
    4:2:0, and marked as such. Odd sizes, which 4:2:0 does not have, are padded by repeating the last column or row.

    Args:
        path: mp4, m4v, mov, mkv, webm or avi by suffix. Missing folders are made; an existing file is replaced.
        width: frame width in pixels.
        height: frame height in pixels.
        fps: a regular rate; frame k is shown at k / fps exactly. Floats are read by `exact_rate`.
        pts: one time a frame in seconds, increasing; instead of `fps`, or given frame by frame to `write`. Kept to
            1/90000 s in mp4 and mov (1/60000 s with mpeg4), to 1 ms in mkv and webm. Where the first is below 0, all
            are moved to begin at 0.
        codec: name of an FFmpeg encoder; None: the best there is for the suffix. "libx264" falls back to "mpeg4".
        crf: quality of x264, x265, VP9 and AV1, 0 (lossless) .. 51 or 63; 18 is visually nearly lossless.
        options: further options of the encoder, e.g. ``{"preset": "veryfast"}``.
        depth: bits a channel, 8 or 10 (where the encoder takes them).

    Raises:
        InputError: unknown suffix or encoder, sizes, rates or times that cannot be used, both `fps` and `pts`.
        OutputError: the folder cannot be written, the disk is full, no frame was written.
        ShapeError: a frame that is not uint8 (of 10 bits: uint16) [height, width, 3].
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        width: int,
        height: int,
        fps: float | Fraction | None = None,
        pts: Iterable[float] | None = None,
        codec: str | None = None,
        crf: int = 18,
        options: dict[str, str] | None = None,
        depth: int = 8,
    ) -> None:
        if fps is not None and pts is not None:
            raise InputError("VideoWriter: expected fps or pts, got both")
        self.path, self.frames = Path(path), 0
        suffix = self.path.suffix.lower()
        self._rate = None if fps is None else exact_rate(fps)
        self.encoding = Encoding.make(
            suffix, width, height, self._rate, codec=codec, crf=crf, options=options, depth=depth
        )
        if self._rate is None and suffix == ".avi":
            raise InputError(f"{self.path}: avi holds a regular rate only: expected fps, or an mp4, mkv or webm file")
        self._times: Iterator[float] | None = None if pts is None else iter(pts)
        self._tick = self.encoding.tick
        self._stack: ExitStack | None = None
        self._container: Any = None
        self._last: int | None = None
        self._shift: Fraction = Fraction(0)

    def __enter__(self) -> VideoWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic(self.path))
            try:
                self._container = av.open(str(temporary), "w", options=self._container_options())
                stack.callback(self._abandon)
                self._stream = self._add_stream()
            except (av.FFmpegError, OSError, ValueError) as error:
                raise OutputError(f"cannot write {self.path}: {getattr(error, 'strerror', None) or error}") from None
            self._stack = stack.pop_all()
        return self

    def write(self, frame: PixelArray, pts: float | None = None) -> None:
        """Append a frame.

        Args:
            frame: uint8 [height, width, 3], RGB; of 10 bits uint16 in its full scale, 0 .. 65535.
            pts: its time in seconds, where neither `fps` nor `pts` was given to the writer.

        Raises:
            ShapeError, InputError, OutputError: see the class.
        """
        if self._container is None:
            raise InputError(f"{self.path}: expected write inside `with VideoWriter(...)`")
        self.encoding.check(frame)
        self._mux(self.encoding.picture(frame, self._next_tick(pts)))
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stack, self._stack = self._stack, None
        assert stack is not None
        if error is not None:
            # The block's own error passes unchanged: its OSError is not one of writing this file.
            with suppress(_Abandoned), stack:
                raise _Abandoned
            return
        with stack:
            if not self.frames:
                raise OutputError(f"{self.path}: no frame was written")
            self._mux(None)
            container, self._container = self._container, None
            try:
                container.close()
            except (av.FFmpegError, OSError) as fault:
                raise OutputError(f"cannot write {self.path}: {fault.strerror or fault}") from None

    def _next_tick(self, pts: float | None) -> int:
        if self._rate is not None:
            if pts is not None:
                raise InputError("write: expected no pts with a regular fps")
            return self.frames
        if self._times is not None:
            if pts is not None:
                raise InputError("write: expected no pts in addition to those given to VideoWriter")
            pts = next(self._times, None)
            if pts is None:
                raise InputError(f"{self.path}: more frames than times: expected {self.frames} frames")
        if pts is None:
            raise InputError("write: expected pts, since VideoWriter has neither fps nor pts")
        if not np.isfinite(pts):
            raise InputError(f"pts: expected finite seconds, got {pts} for frame {self.frames}")
        seconds = Fraction(float(pts))
        if self._last is None and seconds < 0:
            self._shift = -seconds
        tick = round((seconds + self._shift) / self._tick)
        if self._last is not None and tick <= self._last:
            raise InputError(f"pts: expected increasing by at least {self._tick} s, got {pts} for frame {self.frames}")
        self._last = tick
        return tick

    def _container_options(self) -> dict[str, str]:
        # mp4 stores the time of the first frame in units of the movie, which are milliseconds by default.
        movie = self._rate is None and self.path.suffix.lower() in (".mp4", ".m4v", ".mov")
        return {"movie_timescale": str(self._tick.denominator)} if movie else {}

    def _add_stream(self) -> Any:
        stream = self._container.add_stream(self.encoding.codec, rate=self._rate or Fraction(30))
        stream.options = self.encoding.options
        self.encoding.configure(stream.codec_context)
        return stream

    def _mux(self, picture: Any) -> None:
        try:
            for packet in self._stream.encode(picture):
                self._container.mux(packet)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise OutputError(f"cannot write {self.path}: {getattr(error, 'strerror', None) or error}") from None

    def _abandon(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            try:
                container.close()
            except (av.FFmpegError, OSError) as error:
                _log.debug("%s: %s", self.path, error)
