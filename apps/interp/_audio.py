"""The sound of a result: packets copied, or decoded, stretched and encoded again.

Times are those of the source, less `origin`, so that sound and frames keep their offset whatever a container starts
with.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from trackime.errors import OutputError

_log = logging.getLogger(__name__)

_FALLBACK = {".webm": ("libopus",), ".mkv": ("libopus", "aac")}
"""Encoders of sound that cannot be copied, by suffix, best first; for other suffixes AAC."""

_UNFIT = {
    ".mp4": ("pcm_", "vorbis", "flac"),
    ".m4v": ("pcm_", "vorbis", "flac"),
    ".mov": ("opus", "vorbis", "flac"),
}
"""Prefixes of codecs that FFmpeg lists as supported but refuses to write, or that few players read."""

_POSITIVE = (".mkv", ".webm")
"""Containers without negative times: the samples that prime a decoder count as sound there."""

_MS = Fraction(1, 1000)

_BITRATE = 96_000
"""Bits per second and channel of re-encoded sound."""


@dataclass(frozen=True)
class AudioStream:
    """An audio stream of the source, and whether it is copied or encoded again.

    Attributes:
        source: the file.
        index: its number among the file's audio streams.
        encoder: FFmpeg's encoder; empty: packets are copied.
        slow: how many times longer it lasts.
    """

    source: Path
    index: int
    encoder: str = ""
    slow: Fraction = Fraction(1)


def origin(source: Path, first: Fraction, suffix: str, sounds: Sequence[AudioStream]) -> Fraction:
    """The second of a source that is second 0 of its result: the start of the stream that starts first.

    Args:
        source: the file.
        first: when its frames start.
        suffix: of the result, lower case.
        sounds: its audio streams.
    """
    if not sounds:
        return first
    begins = [first]
    with av.open(str(source), metadata_errors="replace") as container:
        for sound in sounds:
            stream = container.streams.audio[sound.index]
            begin = _first(container, stream) * Fraction(stream.time_base or 0)
            if suffix in _POSITIVE and not sound.encoder:
                # The samples that prime the decoder (1,024 of AAC) have negative times. The header of Matroska gives
                # their number; in mp4 it is unknown, and everything must start later.
                known = Fraction(stream.codec_context.delay or 0, stream.codec_context.sample_rate)
                begins.append(begin + known if begin + known < -_MS else max(begin, Fraction(0)))
            else:
                begins.append(max(begin, Fraction(0)))
    return min(begins)


def _first(container: Any, stream: Any) -> int:
    """The time of a stream's first packet, in its ticks."""
    for packet in container.demux(stream):
        if packet.pts is not None:
            return int(packet.pts)
    return 0


def has_sound(source: Path) -> bool:
    """Whether a path is a file with an audio stream."""
    if not source.is_file():
        return False
    with suppress(av.FFmpegError, OSError, ValueError), av.open(str(source), metadata_errors="replace") as container:
        return bool(container.streams.audio)
    return False


def choose_streams(source: Path, suffix: str, slow: Fraction = Fraction(1)) -> list[AudioStream]:
    """The audio streams of a file for a result of that suffix; a warning is logged where one is encoded again.

    Args:
        source: the file.
        suffix: of the result, lower case.
        slow: how many times longer the sound has to last.
    """
    found = []
    with av.open(str(source), metadata_errors="replace") as container:
        for index, stream in enumerate(container.streams.audio):
            if stream.codec_context is None:
                _log.warning("audio stream %d: this build of FFmpeg does not know its codec: left out", index)
                continue
            name = stream.codec_context.codec.canonical_name
            if slow == 1 and can_copy(suffix, name):
                found.append(AudioStream(source, index))
                continue
            encoder = _encoder(suffix)
            if slow == 1:
                _log.warning("%s cannot hold %s audio: encoded again as %s (mkv keeps it)", suffix, name, encoder)
            found.append(AudioStream(source, index, encoder, slow))
    return found


def can_copy(suffix: str, codec: str) -> bool:
    """Whether audio of that codec can be copied into a file of that suffix."""
    if codec.startswith(_UNFIT.get(suffix, ())):
        return False
    kind = {".mkv": "matroska", ".m4v": "mp4"}.get(suffix, suffix[1:])
    return codec in _supported(kind)


def _supported(kind: str) -> set[str]:
    with av.open(os.devnull, "w", format=kind) as container:
        return set(container.supported_codecs)


def _encoder(suffix: str) -> str:
    for name in _FALLBACK.get(suffix, ("aac",)):
        if name in av.codecs_available:
            return name
    raise OutputError(f"this build of FFmpeg has no encoder of audio for {suffix}: pass --audio none")


class AudioTrack:
    """An audio track of the result.

    Args:
        sound: the stream it is made from.
        output: the container; the track is added to it at once.
        origin: seconds of the source that are second 0 of the result.
        end: second of the result at which the frames end; sound is trimmed to it.
    """

    def __init__(self, sound: AudioStream, output: Any, origin: Fraction, end: Fraction) -> None:
        self.sound, self._origin, self._end = sound, origin, end
        self._input = av.open(str(sound.source), metadata_errors="replace")
        self._stream = self._input.streams.audio[sound.index]
        if sound.encoder:
            context = self._stream.codec_context
            rate = 48_000 if sound.encoder == "libopus" else min(context.sample_rate, 96_000)
            self._out = output.add_stream(sound.encoder, rate=rate)
            # Opus and AAC share these layouts; others are mixed down.
            channels = min(context.layout.nb_channels, 2)
            self._out.layout = "stereo" if channels == 2 else "mono"
            self._out.bit_rate = _BITRATE * channels
        else:
            self._out = output.add_stream_from_template(self._stream)
        with suppress(AttributeError):
            language = self._stream.language
            if language:
                self._out.metadata["language"] = language

    def close(self) -> None:
        """Close the source."""
        self._input.close()

    def packets(self) -> Iterator[Any]:
        """Its packets in order, ready to be muxed."""
        yield from self._encoded() if self.sound.encoder else self._copied()

    def _copied(self) -> Iterator[Any]:
        base = Fraction(self._stream.time_base or 1)
        shift = round(self._origin / base)
        for packet in self._demux():
            if packet.pts is None or packet.size == 0:
                continue
            packet.pts -= shift
            if packet.dts is not None:
                packet.dts -= shift
            # Packets cannot be cut: the last one may exceed the end by some milliseconds.
            if packet.pts * base >= self._end:
                break
            packet.stream = self._out
            yield packet

    def _demux(self) -> Iterator[Any]:
        try:
            yield from self._input.demux(self._stream)
        except (av.FFmpegError, OSError) as error:
            _log.warning("%s: the audio ends early: %s", self.sound.source, getattr(error, "strerror", None) or error)

    def _encoded(self) -> Iterator[Any]:
        for frame in self._frames():
            yield from self._out.encode(frame)
        yield from self._out.encode(None)

    def _frames(self) -> Iterator[Any]:
        """Frames with the times and the length of the result."""
        rate = self._out.rate
        total: int | None = None
        written = 0
        begin = 0
        for frame in self._filtered():
            if total is None:
                begin = round((self._begin - self._origin) * self.sound.slow * rate)
                total = round(self._end * rate) - begin
            if written >= total:
                break
            left = total - written
            if frame.samples > left:
                frame = _head(frame, left)
            frame.pts, frame.time_base = begin + written, Fraction(1, rate)
            written += frame.samples
            yield frame

    def _filtered(self) -> Iterator[Any]:
        """Decoded frames, holes filled with silence, stretched, in the encoder's rate, layout and format."""
        graph: Any = None
        for frame in self._decoded():
            if graph is None:
                self._begin = Fraction(frame.pts or 0) * frame.time_base
                graph = self._graph(frame)
            graph.push(frame)
            yield from _pull(graph)
        if graph is not None:
            graph.push(None)
            yield from _pull(graph)

    def _decoded(self) -> Iterator[Any]:
        for packet in self._demux():
            try:
                yield from packet.decode()
            except (av.EOFError, EOFError):
                return
            except (av.FFmpegError, OSError) as error:
                _log.debug("%s: %s", self.sound.source, error)

    def _graph(self, frame: Any) -> Any:
        graph, out = av.filter.Graph(), self._out
        last = graph.add_abuffer(
            sample_rate=frame.sample_rate, format=frame.format.name, layout=frame.layout.name, time_base=frame.time_base
        )
        form = f"sample_rates={out.rate}:channel_layouts={out.layout.name}:sample_fmts={out.format.name}"
        steps = [("aresample", "async=1")]
        steps += [("atempo", f"{tempo:.9f}") for tempo in tempos(self.sound.slow)]
        if self.sound.slow != 1:
            # atempo drops the last fraction of a second.
            steps += [("apad", "pad_dur=0.5")]
        steps += [("aresample", str(out.rate)), ("aformat", form)]
        for name, arguments in steps:
            step = graph.add(name, arguments)
            last.link_to(step)
            last = step
        last.link_to(graph.add("abuffersink"))
        graph.configure()
        return graph


def tempos(slow: Fraction) -> list[float]:
    """Factors of at least 0.5, the least of FFmpeg's atempo, whose product makes sound last `slow` times longer."""
    steps = []
    while slow > 2:
        steps.append(0.5)
        slow /= 2
    return [*steps, float(1 / slow)] if slow != 1 else steps


def _pull(graph: Any) -> Iterator[Any]:
    while True:
        try:
            yield graph.pull()
        except (av.BlockingIOError, BlockingIOError, av.EOFError, EOFError):
            return


def _head(frame: Any, samples: int) -> Any:
    """The first samples of a frame."""
    data = frame.to_ndarray()
    channels = len(frame.layout.channels)
    cut = data[:, :samples] if frame.format.is_planar else data[:, : samples * channels]
    head = av.AudioFrame.from_ndarray(cut.copy(), format=frame.format.name, layout=frame.layout.name)
    head.sample_rate = frame.sample_rate
    return head
