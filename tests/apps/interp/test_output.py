"""Parts of the output: time bases, depths, segments that join without loss, and files that appear together."""

from __future__ import annotations

from fractions import Fraction as F
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.apps.interp.clips import H, W, textures
from trackime.errors import FormatError, OutputError
from trackime.video import Encoding, open_video
from trackime_apps.interp._segments import Packets, SegmentEncoder, decoding_times, join
from trackime_apps.interp.blend import _blend
from trackime_apps.interp.output import _common_tick, to_depth
from trackime_apps.run import result_folder


class TestTicks:
    @pytest.mark.parametrize(
        ("pts", "rate", "tick"),
        [
            ([F(0), F(1, 60), F(2, 60)], F(60), F(1, 60)),
            ([k * F(1001, 60000) for k in range(4)], F(60000, 1001), F(1001, 60000)),
            ([F(1, 2) + k * F(1, 24) for k in range(4)], F(24), F(1, 24)),
            ([F(1, 10) + k * F(1, 24) for k in range(4)], F(24), F(1, 120)),
            ([F(0), F(1, 25), F(1, 3)], None, F(1, 75)),
            ([F(0), F(1, 999_983), F(1, 3)], None, F(1, 90_000)),
        ],
    )
    def test_exact_where_they_can_be(self, pts: list[F], rate: F | None, tick: F) -> None:
        assert _common_tick(pts, rate, 1_000_000) == tick

    def test_within_what_the_encoder_takes(self) -> None:
        assert _common_tick([F(0), F(1, 70_001)], None, 65_535) == F(1, 60_000)


class TestDepths:
    def test_there_and_back(self) -> None:
        every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
        assert to_depth(every, np.dtype(np.uint8)) is every
        deep = to_depth(every, np.dtype(np.uint16))
        assert deep.min() == 0 and deep.max() == 65535
        np.testing.assert_array_equal(to_depth(deep, np.dtype(np.uint8)), every)

    def test_rounded(self) -> None:
        deep = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
        assert np.abs(to_depth(deep, np.dtype(np.uint8)) - deep / 257).max() <= 0.5


class TestMean:
    @given(st.floats(0.01, 0.99), st.integers(0, 1000))
    @settings(max_examples=20, deadline=None)
    def test_against_the_formula(self, tau: float, seed: int) -> None:
        a, b = np.random.default_rng(seed).random((2, 5, 6, 4)).astype(np.float32)
        np.testing.assert_allclose(
            _blend(a[..., :3], b[..., :3], tau), (1 - tau) * a[..., :3] + tau * b[..., :3], atol=1e-6
        )
        got = _blend(a, b, tau)
        seen = (1 - tau) * a[..., 3:] * a[..., :3] + tau * b[..., 3:] * b[..., :3]  # premultiplied
        np.testing.assert_allclose(got[..., :3] * got[..., 3:], seen, atol=1e-5)

    def test_what_is_hidden_lends_no_colour(self) -> None:
        red = np.array([[[1, 0, 0, 1]]], np.float32)
        hidden = np.array([[[0, 1, 0, 0]]], np.float32)
        np.testing.assert_allclose(_blend(red, hidden, 0.5)[0, 0], [1, 0, 0, 0.5])
        np.testing.assert_allclose(_blend(hidden, hidden, 0.5)[0, 0], [0, 1, 0, 0])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 5), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_decoding_times_of_any_reordering(steps: list[int], reach: int, seed: int) -> None:
    shown = np.cumsum(steps)
    rng = np.random.default_rng(seed)
    order = np.argsort(np.arange(len(shown)) + rng.uniform(0, reach, len(shown)))
    pts = shown[order]
    dts = decoding_times(pts)
    assert (np.diff(dts) > 0).all() and (dts <= pts).all()


class TestSegments:
    @pytest.mark.parametrize(
        ("name", "codec"),
        [("a.mp4", "libx264"), ("a.mkv", "libx265"), ("a.webm", "libvpx-vp9"), ("a.mkv", "ffv1"), ("a.mp4", "mpeg4")],
    )
    def test_joined_they_decode_as_each_alone(self, tmp_path: Path, name: str, codec: str) -> None:
        if codec not in av.codecs_available:
            pytest.skip(f"this build of FFmpeg has no {codec}")
        frames, files = textures(30), []
        encoding = Encoding.make(Path(name).suffix, W, H, F(25), codec=codec)
        for k, start in enumerate(range(0, 30, 10)):
            encoder = SegmentEncoder(encoding, name)
            for t in range(start, start + 10):
                encoder.write(frames[t], t)
            encoder.finish().save(tmp_path / f"{k}.npz")
            files.append(tmp_path / f"{k}.npz")
        join(tmp_path / name, files, encoding, 1)
        alone = []
        for k, file in enumerate(files):
            join(tmp_path / f"{k}_{name}", [file], encoding, 1)
            alone.append(open_video(tmp_path / f"{k}_{name}").read(0, 10))
        with open_video(tmp_path / name) as video:
            assert video.warnings == () and len(video) == 30
            np.testing.assert_allclose(video.info.pts, np.arange(30) / 25, atol=1e-3 if "mp4" not in name else 1e-9)
            np.testing.assert_array_equal(video.read(0, 30), np.concatenate(alone))
            np.testing.assert_array_equal(video.read(13, 14)[0], alone[1][3])  # reached by seeking

    def test_a_broken_one_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "0.npz").write_bytes(b"cut off")
        for load in (Packets.load, Packets.times):
            with pytest.raises(FormatError, match="expected an encoded segment"):
                load(tmp_path / "0.npz")


class TestBeside:
    fails = False

    def make(self, tmp_path: Path, **how: Any) -> None:
        with result_folder(tmp_path / "o.d", "toy", {}, **how) as result:
            assert result is not None
            made = result.folder.with_name("movie.bin")
            result.beside[made] = tmp_path / "o.bin"
            made.write_bytes(b"new")
            (result.checkpoint / "stage").write_text("kept")
            if self.fails:
                raise OutputError("no")

    def test_appears_with_the_folder(self, tmp_path: Path) -> None:
        self.make(tmp_path)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["o.bin", "o.d"]
        assert (tmp_path / "o.bin").read_bytes() == b"new"

    @pytest.mark.parametrize("resume", [False, True])
    def test_or_not_at_all(self, tmp_path: Path, resume: bool) -> None:
        self.fails = True
        (tmp_path / "o.bin").write_bytes(b"old")
        with pytest.raises(OutputError):
            self.make(tmp_path, resume=resume)
        assert (tmp_path / "o.bin").read_bytes() == b"old"
        assert [p.name for p in tmp_path.rglob("movie.bin")] == []
