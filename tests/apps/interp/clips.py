"""Videos with sound for tests of `interpolate`, made by PyAV alone; and where the clicks in a video's sound are."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

H, W, RATE = 48, 64, 48_000


def textures(count: int, height: int = H, width: int = W, seed: int = 0) -> np.ndarray:
    """A texture that moves 2 px a frame, uint8 [T, H, W, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 40, 3), np.uint8)
    wide = cv2.resize(coarse, (width + 2 * count, height), interpolation=cv2.INTER_CUBIC)
    return np.stack([wide[:, 2 * t : 2 * t + width] for t in range(count)])


def clip(
    path: Path,
    frames: np.ndarray,
    fps: Fraction = Fraction(24),
    ticks: list[int] | None = None,
    sound: str = "",
    clicks: tuple[float, ...] = (),
    seconds: float = 0.0,
    late: float = 0.0,
    video_late: float = 0.0,
) -> Path:
    """Write a file.

    Args:
        path: mp4, mkv, mov ...
        frames: uint8 [T, H, W, 3].
        fps: of regular frames.
        ticks: times of the frames in milliseconds, instead.
        sound: FFmpeg's encoder; empty: none.
        clicks: seconds at which the sound clicks; it is silent otherwise.
        seconds: how long the sound is.
        late, video_late: when sound and pictures begin.
    """
    for name in ("libx264", sound or "libx264"):
        if name not in av.codecs_available:
            pytest.skip(f"this build of FFmpeg has no {name}")
    base = 1 / fps if ticks is None else Fraction(1, 1000)
    if video_late:
        base = Fraction(1, 24_000)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=fps, options={"g": "8", "crf": "12", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.codec_context.time_base = base
        track: Any = container.add_stream(sound, rate=RATE) if sound else None
        if track is not None:
            track.layout = "mono"
        container.start_encoding()
        for k, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            at = Fraction(k) / fps if ticks is None else Fraction(ticks[k], 1000)
            frame.pts, frame.time_base = round((at + Fraction(video_late)) / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track is not None:
            wave = np.zeros((1, round(seconds * RATE)), np.float32)
            for second in clicks:
                wave[0, round((second - late) * RATE) :][:48] = 0.9
            form = track.format.name
            data = wave if form.startswith("flt") else np.round(wave * 32767).astype(np.int16)
            for begin in range(0, data.shape[1], 960):
                part = av.AudioFrame.from_ndarray(data[:, begin : begin + 960].copy(), format=form, layout="mono")
                part.sample_rate, part.time_base = RATE, Fraction(1, RATE)
                part.pts = begin + round(late * RATE)
                container.mux(track.encode(part))
            container.mux(track.encode(None))
    return path


def heard(path: Path) -> tuple[float, float, float]:
    """(first click, last click, end of the sound) in seconds from the file's first picture."""
    parts, rate, begin = [], RATE, 0.0
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            if not parts:
                begin, rate = float(frame.pts * frame.time_base), frame.sample_rate
            data = frame.to_ndarray().astype(np.float64)
            data = data[0] if frame.format.is_planar else data.reshape(-1, len(frame.layout.channels))[:, 0]
            parts.append(data / 32768 if frame.format.name.startswith("s16") else data)
    with av.open(str(path)) as container:
        first = next(container.decode(video=0))
        shown = float(first.pts * first.time_base)
    wave = np.concatenate(parts)
    loud = np.flatnonzero(np.abs(wave) > 0.35)
    start = begin - shown
    return start + loud[0] / rate, start + loud[-1] / rate, start + len(wave) / rate


def shown(path: Path) -> tuple[list[float], float]:
    """(times of the frames, duration of the video stream) in seconds as the container has them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        length = float((stream.duration or 0) * stream.time_base)
        return sorted(float(frame.pts * frame.time_base) for frame in container.decode(video=0)), length
