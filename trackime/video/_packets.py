"""The packet index of a video file: presentation times and safe places to start decoding, without decoding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import av


@dataclass
class Packets:
    """Index of a file's packets.

    Attributes:
        ticks: presentation times of the frames that will be shown, increasing, in the stream's time base.
        starts: (pts, dts) of the packets from which all later frames decode exactly, in order.
        reliable: times are whole, unique and the container's own.
        promise: how the packets fall short of the header's duration, in words; empty where they do not.
        corrupt: the demuxer found damage.
        dropped: frames before the first safe start, which do not decode.
        hole: frames that seem to be missing between others, in words; empty where there are none.
    """

    ticks: list[int]
    starts: list[tuple[int, int | None]]
    reliable: bool
    promise: str
    corrupt: bool
    dropped: int
    hole: str = ""

    @property
    def trusted(self) -> bool:
        """Whether the packets alone determine the frames, without decoding the file once."""
        return self.reliable and not self.promise and not self.corrupt and bool(self.ticks)


@dataclass
class _Packet:
    pts: int | None
    dts: int | None
    start: bool
    shown: bool


def read_packets(container: Any, stream: Any) -> Packets:
    """Pass over all packets of all streams (the end of the other streams shows whether the file is complete)."""
    found: list[_Packet] = []
    corrupt, end = False, 0.0
    try:
        for packet in container.demux():
            if packet.size == 0:
                continue
            if packet.pts is not None and packet.time_base:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index == stream.index:
                found.append(_look(packet, stream))
                corrupt = corrupt or packet.is_corrupt
    except (av.FFmpegError, OSError):
        corrupt = True
    return _index(found, corrupt, container, stream, end)


def _look(packet: Any, stream: Any) -> _Packet:
    codec = stream.codec_context.name
    shown = not packet.is_discard
    if codec.startswith(("libvpx", "vp8")) and not codec.endswith("vp9"):
        # RFC 6386, 9.1: show_frame is bit 4 of the first byte; alternate references are never shown.
        shown = shown and bool(bytes(packet)[0] >> 4 & 1)
    start = packet.is_keyframe
    if start and codec in ("h264", "hevc"):
        start = decodes_alone(bytes(packet), codec, stream.codec_context.extradata)
    return _Packet(packet.pts, packet.dts, start, shown)


def _index(found: list[_Packet], corrupt: bool, container: Any, stream: Any, end: float) -> Packets:
    times = [p.pts for p in found if p.pts is not None]
    ordered = all(a < b for a, b in pairwise(times))
    reliable = len(times) == len(found) and len(set(times)) == len(times)
    # AVI has no presentation times: with reordered frames the demuxer's are guesses.
    reliable = reliable and (ordered or "avi" not in container.format.name.split(","))
    starts: list[tuple[int, int | None]] = []
    latest: int | None = None
    for p in found:
        if p.pts is None:
            continue
        if p.start and (latest is None or p.pts > latest):
            starts.append((p.pts, p.dts))
        latest = p.pts if latest is None else max(latest, p.pts)
    shown = sorted(p.pts for p in found if p.shown and p.pts is not None)
    if not starts:
        reliable = False
    first = starts[0][0] if starts and reliable else None
    ticks = [pts for pts in shown if first is None or pts >= first]
    promise = _broken_promise(container, stream, len(found), ticks, end)
    return Packets(ticks, starts, reliable, promise, corrupt, len(shown) - len(ticks), _hole(container, stream, ticks))


def _hole(container: Any, stream: Any, ticks: list[int]) -> str:
    """Jumps in the times of a Matroska file that is regular otherwise.

    Its demuxer skips damage silently. (In mp4 damage shifts no times; elsewhere the rate is not known.)
    """
    if "matroska" not in container.format.name.split(",") or len(ticks) < 3:
        return ""
    gaps = [b - a for a, b in pairwise(ticks)]
    interval = sorted(gaps)[len(gaps) // 2]
    jumps = [t for t, gap in enumerate(gaps) if gap > 1.5 * interval]
    # Times are whole milliseconds: a step of one is rounding.
    steady = sum(abs(gap - interval) <= 1 for gap in gaps)
    if not jumps or steady + len(jumps) < len(gaps) or len(jumps) > 0.1 * len(gaps) + 1:
        return ""
    lost = sum(round(gaps[t] / interval) - 1 for t in jumps)
    return f"about {lost} frames are missing after frame {jumps[0]}: dropped when recorded, or a damaged file"


def _broken_promise(container: Any, stream: Any, packets: int, ticks: list[int], end: float) -> str:
    """The header's duration against the end of the last packet of any stream."""
    formats = set(container.format.name.split(","))
    if not formats & {"mov", "mp4", "matroska", "webm", "avi"} or packets == stream.frames > 0:
        return ""
    if container.duration is None or not ticks:
        return ""
    # Writers disagree whether an offset of the first frame counts: without it no complete file counts as truncated.
    promised = container.duration / av.time_base
    gaps = sorted(b - a for a, b in pairwise(ticks))
    interval = float(gaps[len(gaps) // 2] * stream.time_base) if gaps else 0.04
    if promised - end <= 1.5 * interval + 0.005:
        return ""
    frames = f"{stream.frames} frames, " if stream.frames else ""
    return f"the header promises {frames}{promised:.3f} s, the data ends at {end:.3f} s"


def decodes_alone(data: bytes, codec: str, extradata: bytes | None) -> bool:
    """Whether an H.264 or HEVC key packet is one from which every frame shown later decodes exactly.

    True for IDR (H.264) and IRAP (HEVC) pictures, and for an H.264 recovery point of zero frames: other packets
    that containers flag as key frames (gradual refresh) are not.
    """
    recovers = False
    for unit in _units(data, codec, extradata):
        if codec == "hevc":
            kind = unit[0] >> 1 & 0x3F
            if kind < 32:
                return 16 <= kind <= 21
        else:
            kind = unit[0] & 0x1F
            if kind == 6:
                recovers = recovers or _is_recovery_point(unit)
            elif 1 <= kind <= 5:
                return kind == 5 or recovers
    return False


def _is_recovery_point(unit: bytes) -> bool:
    """H.264 D.1.8: SEI payload type 6 whose recovery_frame_cnt, ue(v), is 0: its first bit is 1."""
    place = 1
    while place + 2 < len(unit) and unit[place] != 0x80:
        kind = size = 0
        while place < len(unit) and unit[place] == 0xFF:
            kind, place = kind + 255, place + 1
        kind, place = kind + unit[place], place + 1
        while place < len(unit) and unit[place] == 0xFF:
            size, place = size + 255, place + 1
        if place + 1 >= len(unit):
            return False
        size, place = size + unit[place], place + 1
        if kind == 6:
            return bool(unit[place] & 0x80)
        place += size
    return False


def _units(data: bytes, codec: str, extradata: bytes | None) -> Iterator[bytes]:
    """NAL units of a packet: with length prefixes (mp4, mkv; their size is in extradata) or start codes."""
    minimum, offset = (23, 21) if codec == "hevc" else (7, 4)
    if extradata and len(extradata) >= minimum and extradata[0] == 1:
        width, place = (extradata[offset] & 3) + 1, 0
        while place + width < len(data):
            size = int.from_bytes(data[place : place + width], "big")
            place += width
            if size:
                yield data[place : place + size]
            place += size
    else:
        for unit in data.split(b"\x00\x00\x01")[1:]:
            if unit:
                yield unit
