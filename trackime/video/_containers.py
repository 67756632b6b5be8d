"""Frames of one video file: an index made once without decoding, then random access that is exact.

Frame k is the same pixels however it is reached. Decoding starts only at packets from which every later frame is
decodable (IDR, or a recovery point of zero frames; nothing shown later was coded before it), what is decoded is
matched by its presentation time and never by counting, and where a container cannot be trusted with that (no times,
guessed times, damage) the file is decoded from its beginning, on one thread.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np

from trackime.arrays import Float64, IntArray, PixelArray, UInt8
from trackime.errors import VideoError
from trackime.types import VideoInfo
from trackime.video._packets import Packets, read_packets
from trackime.video.decoded import PixelKind, display_matrix, kind_of, upright

_log = logging.getLogger(__name__)

_KEPT_BYTES = 64 << 20
"""Memory for frames already decoded (in the codec's own pixel format): overlapping windows and reverse chunks reuse
them instead of decoding their group of pictures again."""

_KEPT_FRAMES = 64
"""At most so many: for small frames a decoder's own tables are most of the memory."""

_DEFAULT_FPS = Fraction(25)


@dataclass
class _Scan:
    """Result of decoding the whole file: times in ticks (None: the container has none) and number of faults."""

    ticks: list[int | None]
    faults: int


class FileFrames:
    """Decoded frames of a file, by index.

    Times are the container's own (a file that begins at 5 s has pts[0] = 5). Rotation and mirroring metadata are
    applied; `read` gives 8 bits without alpha, `pixels` keeps depth and alpha; pixel aspect ratio and interlacing are
    ignored. Frames of another size than the first are resized to it.

    Args:
        path: the file.

    Raises:
        VideoError: not a video, no video stream, no frame that decodes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings: list[str] = []
        self._container: Any = None
        self._frames: Iterator[tuple[int, Any]] | None = None
        self._position = 0
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._ordinal = False  # frames are counted from the beginning, not matched by time
        self._regular: Fraction | None = None  # frames a second, where the container has no times
        self._open()
        try:
            self.info = self._index()
        except BaseException:
            self.close()
            raise

    def again(self) -> FileFrames:
        """Another reader of the same file; the index is shared."""
        other = copy(self)
        other._container, other._frames, other._kept, other._position = None, None, OrderedDict(), 0
        other._open()
        return other

    def close(self) -> None:
        """Close the file."""
        self._frames = None
        self._kept.clear()
        if self._container is not None:
            self._container.close()
            self._container = None

    def read(self, t0: int, t1: int) -> UInt8:
        """Frames t0 .. t1 - 1, uint8 [t1 - t0, H, W, 3]."""
        return self._read(t0, t1, PixelKind(), False)

    def pixels(self, t0: int, t1: int) -> PixelArray:
        """The same frames as the file has them, converted exactly: `kind.dtype` [t1 - t0, H, W, `kind.channels`]."""
        return self._read(t0, t1, self.kind, True)

    # Reading

    def _read(self, t0: int, t1: int, kind: PixelKind, exact: bool) -> PixelArray:
        out = np.empty((t1 - t0, self.info.height, self.info.width, kind.channels), kind.dtype)
        if not self._fill(out, t0, kind, exact):
            self._give_up_seeking()
            if not self._fill(out, t0, kind, exact):
                raise VideoError(f"{self.path}: frames {t0} .. {t1 - 1} do not decode any more: has the file changed?")
        return out

    def _fill(self, out: PixelArray, t0: int, kind: PixelKind, exact: bool) -> bool:
        """Write frames t0 on into `out`; False where one of them does not decode or is damaged."""
        rows: dict[int, list[int]] = {}
        for row, number in enumerate(self._number[t0 : t0 + len(out)]):
            rows.setdefault(int(number), []).append(row)
        for number in [n for n in rows if n in self._kept]:
            self._convert(self._kept[number], out, rows.pop(number), kind, exact)
        if not rows:
            return True
        first, last = min(rows), max(rows)
        if self._frames is None or first < self._position or self._start_for(first)[0] > self._position:
            self._restart(first)
        assert self._frames is not None
        for number, frame in self._frames:
            if frame is None or (frame.is_corrupt and not self._ordinal):
                return False
            self._position = number + 1
            self._keep(number, frame)
            if number in rows:
                self._convert(frame, out, rows.pop(number), kind, exact)
            if number >= last:
                break
        else:
            self._frames = None
        return not rows

    def _keep(self, number: int, frame: Any) -> None:
        size = max(1, sum(plane.buffer_size for plane in frame.planes))
        self._kept[number] = frame
        while len(self._kept) > min(_KEPT_FRAMES, max(2, _KEPT_BYTES // size)):
            self._kept.popitem(last=False)

    def _convert(self, frame: Any, out: PixelArray, rows: list[int], kind: PixelKind, exact: bool) -> None:
        image = upright(frame, self._matrix, self._size, kind, exact)
        for row in rows:
            out[row] = image

    def _start_for(self, number: int) -> tuple[int, int | None]:
        """The last place to decode from for frame `number`: (its frame number, its entry in the packet index)."""
        if self._ordinal:
            return 0, None
        place = bisect_right(self._start_frames, number) - 1
        return (self._start_frames[place], place) if place >= 0 else (0, None)

    def _restart(self, number: int) -> None:
        self._frames = None
        self._position, place = self._start_for(number)
        if self._ordinal:
            self._reopen()
            self._frames = enumerate(frame for frame in self._decode(self._demux()) if frame is not None)
            return
        packets = self._packets_from(place)
        self._frames = self._match_frames(packets, None if place is None else self._starts[place][0])

    def _packets_from(self, place: int | None) -> Iterator[Any]:
        """Packets from a starting place on; demuxers may seek elsewhere, so the packets are checked."""
        while place is not None and place >= 0:
            pts, dts = self._starts[place]
            for target in {dts if dts is not None else pts, pts}:
                try:
                    self._container.seek(target, stream=self._stream, backward=True, any_frame=False)
                except av.FFmpegError:
                    continue
                found = self._seek_landed(pts)
                if found is not None:
                    return found
            place -= 1
            self._position = self._start_frames[max(place, 0)]
        self._position = 0
        self._reopen()
        return self._demux()

    def _seek_landed(self, pts: int) -> Iterator[Any] | None:
        """The packets from the one shown at `pts` on, or None where the demuxer landed behind it."""
        packets = self._demux()
        for packet in packets:
            if packet.pts == pts and packet.is_keyframe:
                return chain([packet], packets)
            if packet.size == 0 or (packet.is_keyframe and packet.pts is not None and packet.pts > pts):
                return None
        return None

    def _demux(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self._stream)
        except (av.FFmpegError, OSError) as error:
            _log.debug("%s: %s", self.path, error)
            yield None  # the container ends here: the decoder is flushed all the same

    def _decode(self, packets: Iterator[Any]) -> Iterator[Any]:
        """Frames in presentation order; None where a packet could not be decoded."""
        for packet in packets:
            try:
                yield from self._stream.codec_context.decode(None) if packet is None else packet.decode()
            except (av.EOFError, EOFError):
                return
            except (av.FFmpegError, OSError):
                yield None

    def _match_frames(self, packets: Iterator[Any], start: int | None) -> Iterator[tuple[int, Any]]:
        for frame in self._decode(packets):
            if frame is None:
                yield -1, None
            elif frame.pts is not None and (start is None or frame.pts >= start):
                place = int(np.searchsorted(self._ticks, frame.pts))
                if place < len(self._ticks) and self._ticks[place] == frame.pts:
                    yield place, frame

    # The file

    def _open(self) -> None:
        try:
            self._container = av.open(str(self.path), metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise VideoError(f"{self.path}: not a video that can be read ({reason})") from None
        pictures = [s for s in self._container.streams.video if not _is_cover(s)]
        if not pictures or pictures[0].codec_context is None:
            kinds = sorted({s.type for s in self._container.streams}) or ["none"]
            self.close()
            raise VideoError(f"{self.path}: expected a video stream, got: {', '.join(kinds)}")
        self._stream = pictures[0]
        self._stream.thread_type = "SLICE" if self._ordinal else "AUTO"
        if self._ordinal:
            # Concealment of damage depends on what other threads have done by then.
            self._stream.codec_context.thread_count = 1

    def _reopen(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None
        self._open()

    def _index(self) -> VideoInfo:
        packets = read_packets(self._container, self._stream)
        self._ordinal = not packets.trusted
        self._reopen()
        if packets.trusted:
            self._use(packets, packets.ticks)
        else:
            self._index_by_decoding(packets)
        if packets.dropped:
            self._warn(f"{packets.dropped} frames before the first that can be decoded are left out")
        if packets.hole:
            self._warn(packets.hole)
        self._number: IntArray = np.arange(len(self._ticks))
        first = self._first_frame()
        self._matrix, self.kind = display_matrix(first), kind_of(first)
        self._size = (first.width, first.height)
        turned = self._matrix is not None and self._matrix[0] == 0
        width, height = reversed(self._size) if turned else self._size
        return VideoInfo(width, height, self._times(), source=str(self.path))

    def _use(self, packets: Packets, ticks: list[int]) -> None:
        self._ticks: IntArray = np.array(ticks, np.int64)
        self._starts = packets.starts
        self._start_frames = [int(np.searchsorted(self._ticks, pts)) for pts, _ in self._starts]

    def _index_by_decoding(self, packets: Packets) -> None:
        scan = self._scan()
        if not scan.ticks:
            raise VideoError(f"{self.path}: no frame could be decoded: the file is truncated or damaged")
        if packets.promise:
            self._warn(f"{packets.promise}; {len(scan.ticks)} frames decode and are used: truncated or damaged file")
        elif scan.faults:
            self._warn(f"{len(scan.ticks)} frames decode, {scan.faults} packets do not and are left out: damaged file")
        times = [tick for tick in scan.ticks if tick is not None]
        increasing = len(times) == len(scan.ticks) and all(a < b for a, b in pairwise(times))
        if not increasing:
            rate = self._stream.average_rate or self._stream.guessed_rate or _DEFAULT_FPS
            self._warn(f"frame times are missing or do not increase: a regular {float(rate):g} frames/s is assumed")
            self._regular = Fraction(rate)
            times = list(range(len(scan.ticks)))
        self._use(packets, times)
        # A file that only ends early can be read by seeking up to there.
        if increasing and packets.reliable and times == packets.ticks[: len(times)]:
            self._ordinal = False
            self._reopen()

    def _scan(self) -> _Scan:
        self._frames = None
        self._reopen()
        scan = _Scan([], 0)
        for frame in self._decode(self._demux()):
            if frame is None:
                scan.faults += 1
            else:
                scan.ticks.append(frame.pts)
        return scan

    def _first_frame(self) -> Any:
        self._restart(0)
        assert self._frames is not None
        for number, frame in self._frames:
            if frame is not None:
                self._position = number + 1
                self._keep(number, frame)
                return frame
        raise VideoError(f"{self.path}: no frame could be decoded: the file is damaged, or its codec is not known")

    def _times(self) -> Float64:
        # One correctly rounded division of exact integers.
        unit: Fraction = self._stream.time_base if self._regular is None else Fraction(1) / self._regular
        return np.asarray(self._ticks * unit.numerator / unit.denominator, np.float64)

    def _give_up_seeking(self) -> None:
        """Damage inside the file: decode from the beginning from now on, and report the replaced frames."""
        if self._ordinal:
            return
        self._ordinal = True
        self._kept.clear()
        got = [tick for tick in self._scan().ticks if tick is not None]
        if not got:
            raise VideoError(f"{self.path}: no frame could be decoded: has the file changed?")
        order = np.maximum.accumulate(np.array(got))
        self._number = np.maximum(np.searchsorted(order, self._ticks, side="right") - 1, 0)
        lost = np.flatnonzero(~np.isin(self._ticks, order))
        if len(lost):
            self._warn(f"damaged file: not decoded, replaced by the frame before: {_ranges(lost)}")
        else:
            self._warn("damaged file: some frames are flawed")

    def _warn(self, text: str) -> None:
        message = f"{self.path}: {text}"
        self.warnings.append(message)
        _log.warning("%s", message)


def _is_cover(stream: Any) -> bool:
    # Cover art of a song is a video stream of one picture; PyAV before 14 cannot tell.
    flags = getattr(stream, "disposition", None)
    return flags is not None and bool(getattr(flags, "value", 0) & 0x400)


def _ranges(numbers: IntArray, most: int = 5) -> str:
    """3-5, 9 from [3, 4, 5, 9]; cut after `most` runs."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    texts = [f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs[:most]]
    return ", ".join(texts) + (" ..." if len(runs) > most else "")
