"""Sound: copied, encoded again, stretched; the first and the last click where they were."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.apps.interp.clips import clip, heard, shown, textures
from trackime_apps.interp._audio import can_copy, choose_streams, has_sound, tempos
from trackime_apps.interp._segments import decoding_times

SECONDS, CLICKS = 1.25, (0.05, 1.2)  # 30 frames at 24/s


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """sources("a.mp4", "aac", ...): a clip with sound, made once."""
    folder, made = tmp_path_factory.mktemp("sound"), {}

    def source(name: str, codec: str, **how: Any) -> Path:
        key = (name, codec, *how.items())
        if key not in made:
            path = folder / f"{len(made)}_{name}"
            settings = {"clicks": CLICKS, "seconds": SECONDS, **how}
            made[key] = clip(path, textures(30), sound=codec, **settings)
        return made[key]

    return source


@pytest.mark.parametrize(
    ("name", "codec", "out", "kept"),
    [
        ("a.mp4", "aac", "o.mp4", "aac"),
        ("a.mp4", "aac", "o.mov", "aac"),
        ("a.mp4", "aac", "o.mkv", "aac"),
        ("a.mp4", "aac", "o.webm", "opus"),
        ("a.ts", "aac", "o.mp4", "aac"),
        ("a.mkv", "libopus", "o.mp4", "opus"),
        ("a.mkv", "libopus", "o.webm", "opus"),
        ("a.mkv", "libopus", "o.mov", "aac"),
        ("a.mov", "pcm_s16le", "o.mov", "pcm_s16le"),
        ("a.mov", "pcm_s16le", "o.mkv", "pcm_s16le"),
        ("a.mov", "pcm_s16le", "o.mp4", "aac"),
    ],
)
def test_in_sync_to_the_first_and_last_click(
    run: Any, tmp_path: Path, sources: Any, name: str, codec: str, out: str, kept: str
) -> None:
    source = sources(name, codec)
    ran = run("interpolate", source, "--fps", "60", "--method", "mean", "--cuts", 0, "-o", tmp_path / out)
    assert ran.code == 0
    with av.open(str(tmp_path / out)) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == kept
    copied = kept == codec.removeprefix("lib")
    assert ("encoded again" in ran.err) == (not copied)
    before, after = heard(source), heard(tmp_path / out)
    # Matroska rounds to milliseconds, on both sides.
    limit = 1e-3 + 1e-6 if copied else 2e-3
    assert abs(after[0] - before[0]) < limit and abs(after[1] - before[1]) < limit
    assert SECONDS - 1e-3 <= after[2] < SECONDS + 0.03  # a packet of AAC, and its padding, is 21 ms
    assert len(shown(tmp_path / out)[0]) == 75


@pytest.mark.parametrize("how", [{"late": 0.25, "clicks": (0.4, 1.2), "seconds": 1.0}, {"video_late": 0.5}])
@pytest.mark.parametrize("out", ["o.mp4", "o.mkv"])
def test_sound_and_pictures_that_begin_apart_stay_apart(
    run: Any, tmp_path: Path, sources: Any, how: dict[str, Any], out: str
) -> None:
    source = sources("a.mkv", "pcm_s16le" if out == "o.mkv" else "aac", **how)
    assert run("interpolate", source, "--factor", "2", "--method", "mean", "-o", tmp_path / out, "--quiet").code == 0
    np.testing.assert_allclose(heard(tmp_path / out)[:2], heard(source)[:2], atol=2e-3)


def test_sound_is_trimmed_to_the_pictures(run: Any, tmp_path: Path, sources: Any) -> None:
    source = sources("a.mp4", "aac", seconds=3.0, clicks=(0.05, 1.2, 2.9))
    assert run("interpolate", source, "--factor", "2", "--method", "mean", "-o", tmp_path / "o.mp4").code == 0
    first, last, end = heard(tmp_path / "o.mp4")
    assert abs(first - 0.05) < 2e-3 and abs(last - 1.2) < 3e-3 and SECONDS <= end < SECONDS + 0.03


def test_slow_drops_it_with_a_word(run: Any, tmp_path: Path, sources: Any) -> None:
    ran = run("interpolate", sources("a.mp4", "aac"), "--slow", "2", "--method", "mean", "-o", tmp_path / "o.mp4")
    assert ran.code == 0 and "--audio stretch keeps it" in ran.err
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert not container.streams.audio
    ran = run("interpolate", sources("a.mp4", "aac"), "--slow", "2", "--audio", "copy", "-o", tmp_path / "p.mp4")
    assert ran.code == 2 and "expected stretch or none" in ran.err


@pytest.mark.parametrize("slow", ["2", "2.5"])
def test_stretched(run: Any, tmp_path: Path, sources: Any, slow: str) -> None:
    typed = ["--slow", slow, "--audio", "stretch", "--method", "mean"]
    assert run("interpolate", sources("a.mp4", "aac"), *typed, "-o", tmp_path / "o.mp4").code == 0
    first, last, end = heard(tmp_path / "o.mp4")
    # atempo overlaps windows of about 40 ms: a click lands anywhere in its own.
    assert abs(first - 0.05 * float(slow)) < 0.08 and abs(last - 1.2 * float(slow)) < 0.08
    assert abs(end - SECONDS * float(slow)) < 0.03


def test_stretching_keeps_the_pitch(run: Any, tmp_path: Path) -> None:
    path, rate = tmp_path / "a.mkv", 48_000
    clip(path, textures(24), sound="pcm_s16le", seconds=1.0)
    tone = (0.5 * 32767 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(np.int16)
    with av.open(str(path)) as old, av.open(str(tmp_path / "b.mkv"), "w") as new:
        video = new.add_stream_from_template(old.streams.video[0])
        track = new.add_stream("pcm_s16le", rate=rate)
        track.layout = "mono"
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                new.mux(packet)
        frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        new.mux(track.encode(frame))
        new.mux(track.encode(None))
    typed = ["--slow", "3", "--audio", "stretch", "--method", "mean"]
    assert run("interpolate", tmp_path / "b.mkv", *typed, "-o", tmp_path / "o.mp4").code == 0
    with av.open(str(tmp_path / "o.mp4")) as container:
        wave = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    middle = wave[rate : 2 * rate]
    assert abs(np.abs(np.fft.rfft(middle)).argmax() - 440) <= 2


def test_none(run: Any, tmp_path: Path, sources: Any) -> None:
    typed = ["--factor", "2", "--audio", "none", "--method", "mean"]
    assert run("interpolate", sources("a.mp4", "aac"), *typed, "-o", tmp_path / "o.mp4").code == 0
    assert has_sound(sources("a.mp4", "aac")) and not has_sound(tmp_path / "o.mp4")


def test_every_stream_is_kept(run: Any, tmp_path: Path, sources: Any) -> None:
    with av.open(str(sources("a.mp4", "aac"))) as old, av.open(str(tmp_path / "two.mkv"), "w") as new:
        video, a, b = (new.add_stream_from_template(s) for s in (*old.streams.video, *old.streams.audio * 2))
        b.metadata["language"] = "deu"
        for packet in old.demux():
            if packet.dts is None:
                continue
            copies = [video] if packet.stream.type == "video" else [a, b]
            for stream in copies:
                packet.stream = stream
                new.mux(packet)
    typed = ["--factor", "2", "--method", "mean"]
    assert run("interpolate", tmp_path / "two.mkv", *typed, "-o", tmp_path / "o.mkv").code == 0
    with av.open(str(tmp_path / "o.mkv")) as container:
        assert [s.language for s in container.streams.audio][1] == "deu"


class TestParts:
    def test_choose(self, sources: Any) -> None:
        source = sources("a.mp4", "aac")
        assert [s.encoder for s in choose_streams(source, ".mp4")] == [""]
        assert [s.encoder for s in choose_streams(source, ".webm")] == ["libopus"]
        assert [s.encoder for s in choose_streams(source, ".mp4", Fraction(2))] == ["aac"]

    def test_what_fits_where(self) -> None:
        assert (
            can_copy(".mkv", "pcm_s16le")
            and can_copy(".mp4", "aac")
            and can_copy(".mp4", "mp3")
            and can_copy(".webm", "opus")
        )
        assert not can_copy(".webm", "aac") and not can_copy(".mp4", "pcm_s16le") and not can_copy(".mov", "opus")

    @pytest.mark.parametrize(
        "slow", [Fraction(1), Fraction(3, 2), Fraction(2), Fraction(5), Fraction(8), Fraction(17, 16)]
    )
    def test_tempos(self, slow: Fraction) -> None:
        steps = tempos(slow)
        assert all(0.5 <= step < 1 for step in steps)
        assert np.prod(steps) == pytest.approx(float(1 / slow))

    @pytest.mark.parametrize("pts", [[0], [0, 1, 2, 3], [0, 4, 2, 1, 3, 5], [0, 30, 10, 70, 40, 90], [5, 8, 6, 9]])
    def test_decoding_times(self, pts: list[int]) -> None:
        dts = decoding_times(np.array(pts))
        assert len(dts) == len(pts) and (np.diff(dts) > 0).all() and (dts <= pts).all()
        if pts == sorted(pts):
            assert dts.tolist() == pts
