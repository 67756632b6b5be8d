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
import numpy.typing as npt

from trackime.errors import InputError, OutputError, ShapeError
from trackime.files import atomic

_log = logging.getLogger(__name__)

CODECS = {
    ".mp4": ("libx264", "mpeg4"),
    ".m4v": ("libx264", "mpeg4"),
    ".mov": ("libx264", "mpeg4"),
    ".mkv": ("libx264", "mpeg4"),
    ".webm": ("libvpx-vp9", "libvpx"),
    ".avi": ("mpeg4",),
}
"""Encoders by suffix, best first; the next one serves where this build of FFmpeg lacks the first."""

TICK = Fraction(1, 90_000)
"""Time base of frames with times of their own; 90,000 holds 24, 25, 30, 50 and 60 frames/s and 30000/1001 exactly."""

_MPEG4_TICK = Fraction(1, 60_000)  # MPEG-4 part 2 takes denominators up to 65,535
# Colour codes of ITU-T H.273, the same for matrix, primaries and transfer. AVI has no place to say which matrix was
# used, and without a word readers take BT.601's.
_BT709, _BT601 = 1, 6


def exact_rate(fps: float | Fraction) -> Fraction:
    """Frames a second as the fraction that is meant: 29.97 is 30000/1001, 25.0 is 25.

    Rates within 0.0005 of n * 1000 / 1001 are taken for it (23.976, 29.97, 59.94), others to the nearest fraction
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
    """Unwinds what was opened when the block of a `VideoWriter` fails."""


class VideoWriter:
    """Writes frames to a video file; a context manager. The file appears, whole, when the block ends well.

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
        crf: quality of x264 and VP9, 0 (lossless) .. 51 or 63; 18 can hardly be told from the source.
        options: further options of the encoder, e.g. ``{"preset": "veryfast"}``.

    Raises:
        InputError: unknown suffix or encoder, sizes, rates or times that cannot be used, both `fps` and `pts`.
        OutputError: the folder cannot be written, the disk is full, no frame was written.
        ShapeError: a frame that is not uint8 [height, width, 3].
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
    ) -> None:
        if fps is not None and pts is not None:
            raise InputError("VideoWriter: expected fps or pts, got both")
        if width < 1 or height < 1:
            raise InputError(f"video size: expected at least 1x1, got {width}x{height}")
        if not 0 <= crf <= 63:
            raise InputError(f"crf: expected 0 .. 63, got {crf}")
        self.path, self.width, self.height, self.frames = Path(path), int(width), int(height), 0
        self.codec = _encoder(self.path.suffix.lower(), codec)
        self._rate = None if fps is None else exact_rate(fps)
        if self._rate is None and self.path.suffix.lower() == ".avi":
            raise InputError(f"{self.path}: avi holds a regular rate only: expected fps, or an mp4, mkv or webm file")
        self._times: Iterator[float] | None = None if pts is None else iter(pts)
        self._tick = 1 / self._rate if self._rate else _MPEG4_TICK if self.codec == "mpeg4" else TICK
        self._options = {**_quality(self.codec, crf), **(options or {})}
        self._matrix = _BT601 if self.path.suffix.lower() == ".avi" else _BT709
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

    def write(self, frame: npt.NDArray[np.uint8], pts: float | None = None) -> None:
        """Append a frame.

        Args:
            frame: uint8 [height, width, 3], RGB.
            pts: its time in seconds, where neither `fps` nor `pts` was given to the writer.

        Raises:
            ShapeError, InputError, OutputError: as the class says.
        """
        if self._container is None:
            raise InputError(f"{self.path}: expected write inside `with VideoWriter(...)`")
        shape = (self.height, self.width, 3)
        if not isinstance(frame, np.ndarray) or frame.shape != shape:
            raise ShapeError("frame", f"[{self.height}, {self.width}, 3]", getattr(frame, "shape", ()))
        if frame.dtype != np.uint8:
            raise ShapeError("frame", f"[{self.height}, {self.width}, 3] of uint8, not {frame.dtype}", frame.shape)
        tick = self._next_tick(pts)
        padded = np.pad(frame, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(padded), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace=self._matrix)
        picture.pts, picture.time_base = tick, self._tick
        self._mux(picture)
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stack, self._stack = self._stack, None
        assert stack is not None
        if error is not None:
            # The block's own error goes on as it is: an OSError of its own is not one of writing this file.
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
                raise InputError("write: expected no pts beside a regular fps")
            return self.frames
        if self._times is not None:
            if pts is not None:
                raise InputError("write: expected no pts beside those given to VideoWriter")
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
        # mp4 keeps when the first frame is shown in units of the whole movie: milliseconds, if not told otherwise.
        movie = self._rate is None and self.path.suffix.lower() in (".mp4", ".m4v", ".mov")
        return {"movie_timescale": str(self._tick.denominator)} if movie else {}

    def _add_stream(self) -> Any:
        # A rate is a mere hint to the encoder where frames have times of their own.
        stream = self._container.add_stream(self.codec, rate=self._rate or Fraction(30), options=self._options)
        stream.width, stream.height = self.width + self.width % 2, self.height + self.height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = self._tick
        context.colorspace = context.color_primaries = context.color_trc = self._matrix
        context.color_range = 1
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


def _encoder(suffix: str, codec: str | None) -> str:
    if suffix not in CODECS:
        raise InputError(f"video file: expected a name in {', '.join(CODECS)}, got {suffix or 'no suffix'!r}")
    wanted = CODECS[suffix] if codec is None else (codec, "mpeg4") if codec == "libx264" else (codec,)
    for name in wanted:
        if _can_encode(name):
            if name != wanted[0]:
                _log.warning("this build of FFmpeg has no encoder %s: %s is used", wanted[0], name)
            return name
    known = [name for name in dict.fromkeys(c for names in CODECS.values() for c in names) if _can_encode(name)]
    raise InputError(f"codec: this build of FFmpeg has no video encoder {wanted[0]!r}, it has {', '.join(known)} ...")


def _can_encode(name: str) -> bool:
    try:
        return av.codecs_available.__contains__(name) and av.Codec(name, "w").type == "video"
    except (av.FFmpegError, ValueError):
        return False


def _quality(codec: str, crf: int) -> dict[str, str]:
    if codec == "libx264":
        # With x264's macroblock tree the same frames were not the same file from run to run (its bytes changed with
        # the allocator's fill pattern); without it they are.
        return {"crf": str(min(crf, 51)), "mbtree": "0"}
    if codec == "libx265":
        return {"crf": str(min(crf, 51))}
    if codec in ("libvpx-vp9", "libvpx"):
        return {"crf": str(crf), "b": "0" if codec == "libvpx-vp9" else "8M", "cpu-used": "4", "deadline": "good"}
    if codec == "mpeg4":
        # Quantiser 1 .. 31; crf 18 looks about like 3.
        quantiser = str(min(31, max(1, round(crf / 6))))
        return {"qmin": quantiser, "qmax": quantiser}
    return {}
