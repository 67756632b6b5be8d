"""Segments of a result that are encoded separately, kept as files, and joined to a video without loss.

Every run writes them, so that a resumed run ends with the same bytes.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np

from trackime.arrays import BoolArray, Int64, UInt8
from trackime.errors import OutputError
from trackime.files import atomic, read_npz, reading
from trackime.video import Encoding

from ._audio import AudioStream, AudioTrack
from .interpolator import Pixels

_GLOBAL_HEADER = 1 << 22
"""AV_CODEC_FLAG_GLOBAL_HEADER: parameter sets are in the container's header, once for all segments."""

_FINE = 90_000


@dataclass(frozen=True)
class Packets:
    """Encoded frames of a segment, in the order of decoding.

    Attributes:
        data: uint8, all packets one after the other.
        sizes: int64 [n], their bytes.
        pts: int64 [n], in ticks of the encoding.
        keys: bool [n], whether decoding can start there.
    """

    data: UInt8
    sizes: Int64
    pts: Int64
    keys: BoolArray

    def save(self, path: Path) -> None:
        """Write them as an npz, atomically."""
        with atomic(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, data=self.data, sizes=self.sizes, pts=self.pts, keys=self.keys)

    @classmethod
    def load(cls, path: Path) -> Packets:
        """Read what `save` wrote."""
        with reading(path, "an encoded segment"):
            return cls(**read_npz(path, ("data", "sizes", "pts", "keys")))

    @staticmethod
    def times(path: Path) -> Int64:
        """The presentation times alone."""
        with reading(path, "an encoded segment"):
            return read_npz(path, ("pts",))["pts"]


class SegmentEncoder:
    """Encodes the frames of one segment, independently of the others.

    Args:
        encoding: codec, size, quality.
        name: of the result, for messages.
    """

    def __init__(self, encoding: Encoding, name: str) -> None:
        self._encoding, self._name = encoding, name
        self._found: list[tuple[bytes, int, bool]] = []
        self._context: Any = av.CodecContext.create(encoding.codec, "w")
        encoding.configure(self._context)
        self._context.options = dict(encoding.options)
        self._context.flags |= _GLOBAL_HEADER

    def write(self, frame: Pixels, ticks: int) -> None:
        """Add a frame, shown at `ticks`.

        Raises:
            OutputError: the encoder refuses it.
        """
        self._encode(self._encoding.picture(frame, ticks))

    def finish(self) -> Packets:
        """All packets.

        Raises:
            OutputError: the encoder fails.
        """
        self._encode(None)
        data = np.frombuffer(b"".join(data for data, _, _ in self._found), np.uint8)
        sizes = np.array([len(data) for data, _, _ in self._found], np.int64)
        pts = np.array([pts for _, pts, _ in self._found], np.int64)
        return Packets(data, sizes, pts, np.array([key for _, _, key in self._found], np.bool_))

    def _encode(self, picture: Any) -> None:
        try:
            for packet in self._context.encode(picture):
                self._found.append((bytes(packet), packet.pts, packet.is_keyframe))
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(f"{self._name}: {self._encoding.codec} fails: {reason} (check its options)") from None


def join(
    path: Path,
    segments: Sequence[Path],
    encoding: Encoding,
    last: int,
    sounds: Sequence[AudioStream] = (),
    origin: Fraction = Fraction(0),
    name: str = "",
) -> None:
    """Make a video of encoded segments and sound; only sound that cannot be copied is encoded again.

    Args:
        path: the file; not written atomically.
        segments: files that `Packets.save` wrote, in order.
        encoding: that of all of them.
        last: ticks that the last frame is shown.
        sounds: audio streams.
        origin: seconds of the source that are second 0 of the result.
        name: of the result, for messages.

    Raises:
        OutputError: it cannot be written.
    """
    times = np.concatenate([Packets.times(segment) for segment in segments])
    # mp4 rounds the start of a stream down to such units: a multiple of the video's, fine enough for sound.
    unit = encoding.tick.denominator
    options = {"movie_timescale": str(unit * -(-_FINE // unit))}
    try:
        with ExitStack() as stack:
            movie = path.suffix in (".mp4", ".m4v", ".mov")
            output = stack.enter_context(av.open(str(path), "w", options=options if movie else {}))
            stream = output.add_stream(encoding.codec, rate=encoding.rate or Fraction(30))
            stream.options = dict(encoding.options)
            encoding.configure(stream.codec_context)
            end = (int(times.max()) + last) * encoding.tick
            tracks = [AudioTrack(sound, output, origin, end) for sound in sounds]
            for track in tracks:
                stack.callback(track.close)
            output.start_encoding()
            pictures = _pictures(segments, times, encoding, last, stream)
            for packet in heapq.merge(pictures, *(track.packets() for track in tracks), key=_when):
                output.mux(packet)
    except (av.FFmpegError, OSError, ValueError) as error:
        hint = " (--audio none leaves the sound out)" if sounds else ""
        raise OutputError(f"cannot write {name or path}: {getattr(error, 'strerror', None) or error}{hint}") from None


def _pictures(segments: Sequence[Path], times: Int64, encoding: Encoding, last: int, stream: Any) -> Iterator[Any]:
    dts = decoding_times(times)
    ordered = np.sort(times)
    shown = {int(a): int(b - a) for a, b in pairwise([*ordered.tolist(), int(ordered[-1]) + last])}
    place = 0
    for segment in segments:
        packets, begin = Packets.load(segment), 0
        data = packets.data.tobytes()
        for size, pts, key in zip(packets.sizes.tolist(), packets.pts.tolist(), packets.keys.tolist(), strict=True):
            packet = av.Packet(data[begin : begin + size])
            packet.pts, packet.dts, packet.duration = pts, int(dts[place]), shown[pts]
            packet.time_base, packet.stream, packet.is_keyframe = encoding.tick, stream, key
            begin, place = begin + size, place + 1
            yield packet


def decoding_times(pts: Int64) -> Int64:
    """Increasing decoding times for frames in decoding order, none later than its presentation time.

    The presentation times in order, delayed by as many frames as the decoding order is ahead of them. (Encoders guess
    them at the start of each segment, where they could collide with the one before.)
    """
    ordered = np.sort(pts)
    ahead = int((np.arange(len(pts)) - np.searchsorted(ordered, pts)).max(initial=0))
    # Before the first frame, steps are as long as its own.
    step = int(ordered[1] - ordered[0]) if len(ordered) > 1 else 1
    before = ordered[0] - step * np.arange(ahead, 0, -1)
    return np.concatenate([before, ordered])[: len(pts)]


def _when(packet: Any) -> Fraction:
    return (packet.dts if packet.dts is not None else packet.pts) * packet.time_base
