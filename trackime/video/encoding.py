"""Encoders, their pixel formats, quality and colours, and the conversion of frames for them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np

from trackime.arrays import PixelArray
from trackime.errors import InputError, ShapeError

_log = logging.getLogger(__name__)

CODECS = {
    ".mp4": ("libx264", "mpeg4"),
    ".m4v": ("libx264", "mpeg4"),
    ".mov": ("libx264", "mpeg4"),
    ".mkv": ("libx264", "mpeg4"),
    ".webm": ("libvpx-vp9", "libvpx"),
    ".avi": ("mpeg4",),
}
"""Encoders by suffix, best first; the next one is used where this build of FFmpeg lacks the first."""

_DEEP_CODECS = {
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".mkv"), ("libx264", "libx265", "libsvtav1")),
    ".webm": ("libvpx-vp9", "libsvtav1"),
}
"""The same for 10 bits a channel: the first one whose build here takes them."""

_PIXELS = {8: ("yuv420p", "yuv422p", "yuv444p"), 10: ("yuv420p10le", "yuv422p10le", "yuv444p10le")}
"""Pixel formats by bits a channel, the most widely played first."""

_LEFT_SITED = ("libx264", "libx265")
"""Encoders whose decoders take 4:2:0's chroma to be at the left pixel of two, between two rows."""

TICK = Fraction(1, 90_000)
"""Time base of frames with times of their own; 90,000 holds 24, 25, 30, 50 and 60 frames/s and 30000/1001 exactly."""

MPEG4_TICK = Fraction(1, 60_000)  # MPEG-4 part 2 takes denominators up to 65,535
# Colour codes of ITU-T H.273, the same for matrix, primaries and transfer. AVI does not store the matrix,
# and decoders then assume BT.601.
_BT709, _BT601 = 1, 6


@dataclass(frozen=True)
class Encoding:
    """How frames of one size are encoded; `make` fills in the defaults.

    Attributes:
        codec: name of an FFmpeg encoder.
        width, height: of the frames. Odd ones, which 4:2:0 does not have, are padded by repeating the last
            column or row.
        tick: time base in seconds.
        rate: frames a second, where they are regular; else a mere hint to the encoder.
        depth: bits a channel, 8 or 10.
        pixels: FFmpeg's name of the pixel format.
        options: of the encoder.
        matrix: code of the colours (H.273): BT.709, limited range; 601 for avi.
        aspect: width of a pixel over its height.
    """

    codec: str
    width: int
    height: int
    tick: Fraction
    rate: Fraction | None
    depth: int = 8
    pixels: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    matrix: int = _BT709
    aspect: Fraction = Fraction(1)

    @classmethod
    def make(
        cls,
        suffix: str,
        width: int,
        height: int,
        rate: Fraction | None = None,
        tick: Fraction | None = None,
        codec: str | None = None,
        crf: int = 18,
        options: dict[str, str] | None = None,
        depth: int = 8,
    ) -> Encoding:
        """The encoding for a file of that suffix.

        Args:
            suffix: of the file, lower case, with its dot.
            width, height: of the frames.
            rate: frames a second, where they are regular.
            tick: time base; None: 1 / rate, or `TICK`.
            codec: name of an FFmpeg encoder; None: the best there is for the suffix and the depth.
            crf: quality of x264, x265, VP9 and AV1, 0 .. 51 or 63.
            options: further options of the encoder.
            depth: bits a channel, 8 or 10.

        Raises:
            InputError: a size, suffix, encoder, crf or depth that cannot be used.
        """
        if width < 1 or height < 1:
            raise InputError(f"video size: expected at least 1x1, got {width}x{height}")
        if not 0 <= crf <= 63:
            raise InputError(f"crf: expected 0 .. 63, got {crf}")
        if depth not in _PIXELS:
            raise InputError(f"depth: expected 8 or 10 bits a channel, got {depth}")
        codec = find_encoder(suffix, codec, depth)
        if tick is None:
            tick = 1 / rate if rate else MPEG4_TICK if codec == "mpeg4" else TICK
        pixels = _pixel_format(codec, depth)
        assert pixels is not None
        matrix = _BT601 if suffix == ".avi" else _BT709
        every = {**_quality(codec, crf), **(options or {})}
        return cls(codec, int(width), int(height), tick, rate, depth, pixels, every, matrix)

    def configure(self, context: Any) -> None:
        """Set up a codec context, or that of a stream, which has not been opened yet."""
        if self.codec == "libsvtav1":
            # It tells its life story on stderr by itself, whatever FFmpeg's log level is; 1: errors alone.
            os.environ.setdefault("SVT_LOG", "1")
        context.width, context.height = self.width + self.width % 2, self.height + self.height % 2
        context.pix_fmt = self.pixels
        context.framerate = self.rate or Fraction(30)
        context.time_base = self.tick
        context.colorspace = context.color_primaries = context.color_trc = self.matrix
        context.color_range = 1
        if self.aspect != 1:
            context.sample_aspect_ratio = self.aspect

    def check(self, frame: Any) -> None:
        """Raise ShapeError for anything but uint8 (of 10 bits: uint16, full scale) [height, width, 3], RGB."""
        shape, dtype = (self.height, self.width, 3), np.uint8 if self.depth == 8 else np.uint16
        if not isinstance(frame, np.ndarray) or frame.shape != shape:
            raise ShapeError("frame", f"[{self.height}, {self.width}, 3]", getattr(frame, "shape", ()))
        if frame.dtype != dtype:
            expected = f"[{self.height}, {self.width}, 3] of {np.dtype(dtype)}, not {frame.dtype}"
            raise ShapeError("frame", expected, frame.shape)

    def picture(self, frame: PixelArray, ticks: int) -> Any:
        """A frame, as `check` wants it, as the encoder wants it, shown at `ticks`."""
        self.check(frame)
        if self.height % 2 or self.width % 2:
            frame = np.pad(frame, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        layout = "rgb24" if self.depth == 8 else "rgb48le"
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=layout)
        if self.pixels == "yuv420p10le" and self.codec in _LEFT_SITED:
            picture = _halved(picture.reformat(format="yuv444p10le", dst_colorspace=self.matrix))
        else:
            picture = picture.reformat(format=self.pixels, dst_colorspace=self.matrix)
        picture.pts, picture.time_base = ticks, self.tick
        picture.colorspace, picture.color_range = self.matrix, 1
        return picture


def _halved(picture: Any) -> Any:
    """A yuv444p10le frame of even size as yuv420p10le with colours at the left of each pair of pixels, where readers
    of H.264 and H.265 take them to be (H.264, figure 6-1); FFmpeg's conversion leaves them in the middle."""
    luma, *chroma = (
        np.frombuffer(plane, np.uint16).reshape(picture.height, -1)[:, : picture.width] for plane in picture.planes
    )
    across, down = np.array([0.25, 0.5, 0.25]), np.array([0.5, 0.5])
    small = [
        cv2.sepFilter2D(c.copy(), -1, across, down, anchor=(1, 0), borderType=cv2.BORDER_REPLICATE)[::2, ::2]
        for c in chroma
    ]
    half = av.VideoFrame(picture.width, picture.height, "yuv420p10le")
    for plane, values in zip(half.planes, (luma, *small), strict=True):
        rows = np.zeros((values.shape[0], plane.line_size // 2), np.uint16)
        rows[:, : values.shape[1]] = values
        plane.update(rows.tobytes())
    return half


def find_encoder(suffix: str, codec: str | None = None, depth: int = 8) -> str:
    """The encoder to use for a file of that suffix.

    Raises:
        InputError: an unknown suffix, an encoder that is not there or does not take that depth.
    """
    if suffix not in CODECS:
        raise InputError(f"video file: expected a name in {', '.join(CODECS)}, got {suffix or 'no suffix'!r}")
    if depth > 8:
        return _deep_encoder(suffix, codec, depth)
    wanted = CODECS[suffix] if codec is None else (codec, "mpeg4") if codec == "libx264" else (codec,)
    for name in wanted:
        if _can_encode(name):
            if _pixel_format(name, depth) is None:
                raise InputError(f"codec: {name} takes none of {', '.join(_PIXELS[depth])}")
            if name != wanted[0]:
                _log.warning("this build of FFmpeg has no encoder %s: %s is used", wanted[0], name)
            return name
    raise InputError(f"codec: this build of FFmpeg has no video encoder {wanted[0]!r}, it has {_names(8)} ...")


def _deep_encoder(suffix: str, codec: str | None, depth: int) -> str:
    wanted: Sequence[str] = _DEEP_CODECS.get(suffix, ()) if codec is None else (codec,)
    for name in wanted:
        if _can_encode(name) and _pixel_format(name, depth) is not None:
            return name
    named = f"this build's {codec}" if codec else f"no encoder here for {suffix}"
    allowed = _names(depth)
    raise InputError(f"{named} takes {depth} bits a channel: expected a codec of {allowed or '(none)'}, or 8 bits")


def _can_encode(name: str) -> bool:
    """Whether this build of FFmpeg has a video encoder of that name."""
    try:
        return av.codecs_available.__contains__(name) and av.Codec(name, "w").type == "video"
    except (av.FFmpegError, ValueError):
        return False


def _pixel_format(codec: str, depth: int) -> str | None:
    """The pixel format in which an encoder takes frames of that depth; None: it does not."""
    takes = {f.name for f in av.Codec(codec, "w").video_formats or ()}
    return next((name for name in _PIXELS[depth] if not takes or name in takes), None)


def _names(depth: int) -> str:
    every = dict.fromkeys(c for table in (CODECS, _DEEP_CODECS) for names in table.values() for c in names)
    return ", ".join(c for c in every if _can_encode(c) and _pixel_format(c, depth) is not None)


def _quality(codec: str, crf: int) -> dict[str, str]:
    if codec == "libx264":
        # With x264's macroblock tree the same frames were not the same file from run to run (its bytes changed with
        # the allocator's fill pattern); without it they are.
        return {"crf": str(min(crf, 51)), "mbtree": "0"}
    if codec == "libx265":
        # x265 reports on stderr by itself, whatever FFmpeg's log level is.
        return {"crf": str(min(crf, 51)), "x265-params": "log-level=error"}
    if codec == "libsvtav1":
        return {"crf": str(crf), "preset": "8"}
    if codec in ("libvpx-vp9", "libvpx"):
        return {"crf": str(crf), "b": "0" if codec == "libvpx-vp9" else "8M", "cpu-used": "4", "deadline": "good"}
    if codec == "mpeg4":
        # Quantiser 1 .. 31; crf 18 looks about like 3.
        quantiser = str(min(31, max(1, round(crf / 6))))
        return {"qmin": quantiser, "qmax": quantiser}
    return {}
