"""Reading: every frame by every way, exact times, and input that is not as it should be."""

from __future__ import annotations

import gc
import os
import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackime.errors import InputError, ShapeError, TrackimeError, VideoError
from trackime.video import Video, open_video
from trackime.video import _containers as containers
from trackime.video._packets import decodes_alone

T, H, W = 40, 48, 64

# file name -> encoder, options: reordered frames, open groups of pictures, gradual refresh, hidden frames
FILES: dict[str, tuple[str, dict[str, str]]] = {
    "bframes.mp4": ("libx264", {"g": "12", "bf": "3"}),
    "open.mkv": ("libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}),
    "refresh.mp4": ("libx264", {"g": "12", "bf": "0", "x264-params": "intra-refresh=1"}),
    "vp9.webm": ("libvpx-vp9", {"g": "15", "deadline": "realtime"}),
    "vp8.webm": ("libvpx", {"g": "15", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    "plain.avi": ("mpeg4", {}),
    "reordered.avi": ("mpeg4", {"bf": "2"}),
    "stream.ts": ("mpeg2video", {"bf": "2", "g": "10"}),
    "raw.h264": ("libx264", {"bf": "2"}),
}


def textures(count: int = T, height: int = H, width: int = W) -> np.ndarray:
    """A texture that moves two pixels a frame, uint8 [T, H, W, 3]."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 255, (height // 6 + 16, width // 6 + 16, 3), np.uint8)
    wide = cv2.resize(coarse, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
    return np.stack([wide[t % 60 : t % 60 + height, 2 * t % 80 : 2 * t % 80 + width] for t in range(count)])


def encode(
    path: Path,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    frames: np.ndarray | None = None,
    ticks: list[int] | None = None,
    pix_fmt: str = "yuv420p",
    muxer: dict[str, str] | None = None,
    rotation: int = 0,
) -> Path:
    """Write a file by PyAV alone, so that reading is not tested against our own writer."""
    if codec not in av.codecs_available:
        pytest.skip(f"this build of FFmpeg has no {codec}")
    frames = textures() if frames is None else frames
    base = Fraction(1, 25) if ticks is None else Fraction(1, 1000)
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream: Any = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], pix_fmt
        stream.codec_context.time_base = base
        if rotation:
            stream.set_display_rotation(rotation)
        for k, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = (k if ticks is None else ticks[k]), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def sequential(path: Path) -> np.ndarray:
    """The oracle: everything decoded in order."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest, folder: Path) -> Path:
    path = folder / request.param
    return path if path.exists() else encode(path, *FILES[request.param])


@pytest.fixture
def mp4(folder: Path) -> Path:
    path = folder / "bframes.mp4"
    return path if path.exists() else encode(path, *FILES["bframes.mp4"])


class TestFrames:
    @pytest.mark.parametrize("kept", [1, 64 << 20])
    def test_same_pixels_however_reached(self, file: Path, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(containers, "_KEPT_BYTES", kept)
        truth = sequential(file)
        with open_video(file) as video:
            assert video.info.width == W and video.info.height == H and len(video) == len(truth)
            rng = np.random.default_rng(0)
            for t in rng.permutation(len(truth))[:12]:
                np.testing.assert_array_equal(video[t], truth[t])
            for t0, frames in video.chunks(7, reverse=True):
                np.testing.assert_array_equal(frames, truth[t0 : t0 + len(frames)])
            for t0, frames in video.chunks(11, start=3):
                np.testing.assert_array_equal(frames, truth[t0 : t0 + len(frames)])
            for t0 in (20, 12, 25, 0):
                np.testing.assert_array_equal(video.read(t0, t0 + 10), truth[t0 : t0 + 10])

    def test_chunks(self) -> None:
        video = open_video(textures(10))
        assert [(t0, len(f)) for t0, f in video.chunks(4)] == [(0, 4), (4, 4), (8, 2)]
        assert [t0 for t0, _ in video.chunks(4, start=1, stop=9, reverse=True)] == [5, 1]
        assert list(video.chunks(4, start=3, stop=3)) == []

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 15), st.booleans())
    def test_chunks_cover_the_range_once(self, a: int, b: int, size: int, reverse: bool) -> None:
        frames = textures(12, 4, 6)
        start, stop = min(a, b), max(a, b)
        chunks = list(open_video(frames).chunks(size, start, stop, reverse))
        got = [f for _, f in (chunks[::-1] if reverse else chunks)]
        np.testing.assert_array_equal(np.concatenate([frames[:0], *got]), frames[start:stop])

    @pytest.mark.parametrize("kind", ["file", "array"])
    def test_clips_and_readers_are_closed_with_their_video(self, mp4: Path, kind: str) -> None:
        video = open_video(mp4 if kind == "file" else np.zeros((40, 8, 8, 3), np.uint8))
        clip = video.clip(5, 30)
        handles = [clip, clip.clip(2, 12), video.again(), clip.again(), clip.again().clip(0, 3)]
        for handle in handles:
            assert len(handle.read(0, 2)) == 2
        video.close()
        for handle in [video, *handles]:
            for use in (lambda v: v.read(0, 1), lambda v: v[0], lambda v: v.clip(0, 1), lambda v: v.again()):
                with pytest.raises(VideoError, match="closed already"):
                    use(handle)

    def test_a_clip_keeps_its_file_where_nobody_holds_its_video(self, mp4: Path) -> None:
        clip = open_video(mp4).clip(5, 8)
        gc.collect()
        with open_video(mp4) as video, clip:
            np.testing.assert_array_equal(clip.read(0, 3), video.read(5, 8))

    def test_clip_of_a_clip(self, mp4: Path) -> None:
        with open_video(mp4) as video:
            clip = video.clip(5, 30).clip(2, 12)
            assert len(clip) == 10 and clip.info.names[0] == "00007"
            np.testing.assert_array_equal(clip.info.pts, video.info.pts[7:17])
            np.testing.assert_array_equal(clip.read(1, 4), video.read(8, 11))
            clip.close()
            video.read(0, 1)
            with pytest.raises(VideoError, match="closed"):
                clip.read(0, 1)
        with pytest.raises(VideoError, match="closed"):
            video.read(0, 1)

    def test_a_video_comes_back_as_it_is(self) -> None:
        video = open_video(textures(3))
        assert open_video(video) is video
        assert len(list(video)) == 3

    def test_arrays_are_copied_when_read(self) -> None:
        frames = textures(3)
        video = open_video(frames, fps=Fraction(30000, 1001))
        video.read(0, 3)[:] = 0
        video[1][:] = 0
        np.testing.assert_array_equal(video.read(0, 3), textures(3))
        np.testing.assert_array_equal(video.info.pts, np.arange(3) * 1001 / 30000)

    def test_flat_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(containers, "_KEPT_BYTES", 1 << 18)
        frames = np.tile(textures(50), (12, 1, 1, 1))
        path = encode(tmp_path / "long.mp4", options={"preset": "ultrafast"}, frames=frames)
        peaks = []
        for stop in (100, 600):
            with open_video(path) as video:
                tracemalloc.start()
                for _ in video.chunks(8, stop=stop):
                    pass
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
        assert peaks[1] < peaks[0] * 1.2 + 50_000


class TestTimes:
    @pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.mov"])
    def test_variable_rate_and_offset(self, tmp_path: Path, name: str) -> None:
        ticks = np.cumsum(np.random.default_rng(1).integers(5, 90, T)) + 3000
        video = open_video(encode(tmp_path / name, ticks=[int(t) for t in ticks]))
        np.testing.assert_array_equal(video.info.pts, ticks / 1000)
        assert video.warnings == ()

    def test_regular_rate(self, file: Path) -> None:
        video = open_video(file)
        np.testing.assert_allclose(np.diff(video.info.pts), 1 / 25, atol=1e-9)
        assert any("times are missing" in w for w in video.warnings) == (file.suffix == ".h264")

    def test_files_have_their_own_times(self, mp4: Path) -> None:
        with pytest.raises(InputError, match="times of its own"):
            open_video(mp4, fps=30)

    def test_frames_hidden_by_an_edit_list(self, tmp_path: Path) -> None:
        path = encode(tmp_path / "cut.mp4", ticks=[40 * k - 200 for k in range(T)])
        truth = sequential(path)
        with open_video(path) as video:
            assert len(video) == len(truth) and video.info.pts[0] >= 0
            np.testing.assert_array_equal(video.read(0, len(video)), truth)


class TestPixels:
    @pytest.mark.parametrize("rotation", [90, 180, -90])
    def test_rotation(self, tmp_path: Path, rotation: int) -> None:
        path = encode(tmp_path / "turned.mp4", rotation=rotation)
        video = open_video(path)
        expected = np.rot90(sequential(path), rotation // 90, axes=(1, 2))
        assert (video.info.height, video.info.width) == expected.shape[1:3]
        np.testing.assert_array_equal(video.read(0, T), expected)

    @pytest.mark.parametrize("matrix", [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0), (0, 1, -1, 0)])
    def test_display_matrix(self, matrix: tuple[int, int, int, int]) -> None:
        frame = av.VideoFrame.from_ndarray(textures(1)[0], format="rgb24")
        image = textures(1)[0]
        a, b, c, d = matrix
        # The definition, pixel by pixel: x' = a x + c y, y' = b x + d y, then moved into the frame.
        y, x = np.mgrid[:H, :W]
        x2, y2 = a * x + c * y, b * x + d * y
        expected = np.zeros((int(np.ptp(y2)) + 1, int(np.ptp(x2)) + 1, 3), np.uint8)
        expected[y2 - y2.min(), x2 - x2.min()] = image
        np.testing.assert_array_equal(containers.upright(frame, matrix, (W, H)), expected)

    @pytest.mark.parametrize(
        ("name", "codec", "pix_fmt"),
        [("deep.mkv", "ffv1", "yuv420p10le"), ("grey.mkv", "ffv1", "gray"), ("alpha.mkv", "ffv1", "bgra")],
    )
    def test_formats(self, tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
        flat = np.full((3, H + 1, W + 1, 3), 130, np.uint8)
        video = open_video(encode(tmp_path / name, codec, frames=flat, pix_fmt=pix_fmt))
        frames = video.read(0, 3)
        assert frames.shape == (3, H + 1, W + 1, 3) and frames.dtype == np.uint8
        assert np.abs(frames.astype(int) - 130).max() <= 2

    def test_one_frame(self, tmp_path: Path) -> None:
        video = open_video(encode(tmp_path / "one.mp4", frames=textures(1)))
        assert len(video) == 1 and video.info.fps == 25 and video[0].shape == (H, W, 3)


class TestFolders:
    def write(self, folder: Path, names: list[str], frames: np.ndarray | None = None) -> None:
        frames = textures(len(names)) if frames is None else frames
        for name, frame in zip(names, frames, strict=True):
            cv2.imwrite(str(folder / name), frame[..., ::-1])

    def test_natural_order_and_names(self, tmp_path: Path) -> None:
        self.write(tmp_path, ["frame1.png", "frame2.png", "frame10.PNG"])
        (tmp_path / "notes.txt").write_text("x")
        (tmp_path / ".hidden.png").write_text("x")
        (tmp_path / "more.png").mkdir()
        video = open_video(tmp_path, fps=10)
        assert video.info.names == ("frame1", "frame2", "frame10")
        np.testing.assert_array_equal(video.info.pts, [0, 0.1, 0.2])
        np.testing.assert_array_equal(video.read(0, 3), textures(3))

    def test_one_image(self, tmp_path: Path) -> None:
        self.write(tmp_path, ["a.jpg"])
        assert len(open_video(tmp_path / "a.jpg")) == 1

    @pytest.mark.parametrize("shape", [(H, W), (H, W, 4)])
    def test_grey_and_alpha(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        cv2.imwrite(str(tmp_path / "0.png"), np.full(shape, 77, np.uint8))
        assert (open_video(tmp_path)[0] == 77).all()

    def test_other_size_names_the_file(self, tmp_path: Path) -> None:
        self.write(tmp_path, ["0.png"])
        self.write(tmp_path, ["1.png"], textures(1, H + 2, W))
        with pytest.raises(VideoError, match=r"1\.png: expected 64x48 as in the first frame, got 64x50"):
            open_video(tmp_path)

    def test_broken_and_vanished_frames(self, tmp_path: Path) -> None:
        self.write(tmp_path, ["0.png", "1.png", "2.png"])
        data = (tmp_path / "1.png").read_bytes()
        (tmp_path / "1.png").write_bytes(b"nothing of the kind")
        video = open_video(tmp_path)
        with pytest.raises(VideoError, match=r"1\.png: not an image"):
            video.read(0, 3)
        (tmp_path / "1.png").write_bytes(data)
        (tmp_path / "2.png").unlink()
        with pytest.raises(VideoError, match=r"2\.png: cannot be read"):
            video.read(0, 3)

    def test_twice_the_same_name(self, tmp_path: Path) -> None:
        self.write(tmp_path, ["0.png", "0.jpg"])
        with pytest.raises(VideoError, match="two files for frame '0'"):
            open_video(tmp_path)


class TestBadInput:
    @pytest.mark.parametrize(
        ("array", "error", "match"),
        [
            (np.zeros((0, 4, 4, 3), np.uint8), InputError, "at least one frame"),
            (np.zeros((4, 4, 3), np.uint8), ShapeError, r"\[T, H, W, 3\]"),
            (np.zeros((2, 4, 4), np.uint8), ShapeError, r"\[T, H, W, 3\]"),
            (np.zeros((2, 3, 4, 4), np.uint8), ShapeError, r"\[T, H, W, 3\]"),
            (np.full((2, 4, 4, 3), np.nan), InputError, "expected uint8"),
            (np.array(["x"]), ShapeError, "video"),
            ([1, 2], InputError, "got list"),
            (None, InputError, "got NoneType"),
        ],
    )
    def test_arrays(self, array: Any, error: type[Exception], match: str) -> None:
        with pytest.raises(error, match=match):
            open_video(array)

    @pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), "25", True])
    def test_rates(self, fps: Any) -> None:
        with pytest.raises(InputError, match="fps"):
            open_video(textures(2), fps=fps)

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(VideoError, match="no such file"):
            open_video(tmp_path / "no.mp4")
        with pytest.raises(VideoError, match="found none"):
            open_video(tmp_path)
        with pytest.raises(TrackimeError):
            open_video("a\0b.mp4")

    @pytest.mark.parametrize(("data", "match"), [(b"", "empty"), (b"just some text\n" * 40, "not a video")])
    @pytest.mark.parametrize("name", ["x.mp4", "x.mkv"])
    def test_not_a_video(self, tmp_path: Path, data: bytes, match: str, name: str) -> None:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(VideoError, match=match):
            open_video(tmp_path / name)

    def test_audio_only(self, tmp_path: Path) -> None:
        path = tmp_path / "sound.mp4"
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream("aac", rate=8000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        with pytest.raises(VideoError, match="expected a video stream, got: audio"):
            open_video(path)

    def test_out_of_range(self, mp4: Path) -> None:
        with open_video(mp4) as video:
            for bad in (T, -1, 10**12):
                with pytest.raises(InputError, match=r"expected 0 \.\. 39"):
                    video[bad]
            with pytest.raises(InputError, match="whole number"):
                video[1.5]  # type: ignore[index]
            with pytest.raises(InputError, match="whole number"):
                video.read(0, 2.0)  # type: ignore[arg-type]
            for t0, t1 in ((0, T + 1), (-1, 3), (5, 4)):
                with pytest.raises(InputError, match="<= 40"):
                    video.read(t0, t1)
            with pytest.raises(InputError, match="clip"):
                video.clip(3, 3)
            with pytest.raises(InputError, match="chunk size"):
                video.chunks(0)
            assert video.read(3, 3).shape == (0, H, W, 3)


class TestDamage:
    def test_no_index(self, mp4: Path, tmp_path: Path) -> None:
        (tmp_path / "half.mp4").write_bytes(mp4.read_bytes()[: mp4.stat().st_size // 2])
        with pytest.raises(VideoError, match="not a video that can be read"):
            open_video(tmp_path / "half.mp4")

    @pytest.mark.parametrize("name", ["t.mkv", "t.mp4", "t.avi", "t.webm"])
    def test_truncated(self, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
        codec = {".avi": "mpeg4", ".webm": "libvpx"}.get(Path(name).suffix, "libx264")
        whole = encode(tmp_path / name, codec, {"bf": "0"}, muxer={"movflags": "faststart"} if "mp4" in name else None)
        truth = sequential(whole)
        share = 0.8 if name == "t.avi" else 0.67  # half of so small an avi is its header
        whole.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
        with open_video(whole) as video:
            assert 3 < len(video) < T
            assert len(video.warnings) == 1 and "truncated" in video.warnings[0]
            assert "the header promises" in caplog.text
            np.testing.assert_array_equal(video.read(0, len(video) - 2), truth[: len(video) - 2])

    def test_hole(self, tmp_path: Path) -> None:
        path = encode(tmp_path / "hole.mkv", ticks=[40 * k if k < 20 else 40 * k + 400 for k in range(T)])
        assert "10 frames are missing after frame 19" in open_video(path).warnings[0]

    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("name", ["bframes.mp4", "open.mkv", "plain.avi"])
    def test_flipped_bits(self, folder: Path, tmp_path: Path, name: str, seed: int) -> None:
        source = folder / name
        data = bytearray((source if source.exists() else encode(source, *FILES[name])).read_bytes())
        for place in np.random.default_rng(seed).integers(len(data) // 3, len(data) // 2, 20):
            data[place] ^= 1 << int(place) % 8
        (tmp_path / name).write_bytes(data)
        with open_video(tmp_path / name) as video, open_video(tmp_path / name) as other:
            frames = np.concatenate([f for _, f in video.chunks(8)])
            assert len(frames) == len(video)
            for t in (30, 12, 35, 3, 20):
                if t < len(video) and not set(other.warnings) ^ set(video.warnings):
                    np.testing.assert_array_equal(other[t], frames[t])

    def test_frames_that_do_not_decode_are_named(self, mp4: Path, tmp_path: Path) -> None:
        data = bytearray(mp4.read_bytes())
        with av.open(str(mp4)) as container:
            packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
        for place, size in packets[14:17]:
            data[place : place + size] = bytes(size)
        (tmp_path / "zeros.mp4").write_bytes(data)
        with open_video(tmp_path / "zeros.mp4") as video:
            frames = video.read(0, T)
            assert len(video) == T and "replaced by the frame before" in video.warnings[0]
            for t in (39, 16, 2):
                np.testing.assert_array_equal(video[t], frames[t])

    @pytest.mark.skipif(os.name == "nt", reason="open files cannot be removed there")
    def test_vanishes_between_open_and_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(containers, "_KEPT_BYTES", 1)
        path = encode(tmp_path / "gone.h264", *FILES["raw.h264"])
        video: Video = open_video(path)
        path.unlink()
        with pytest.raises(VideoError, match=r"gone\.h264"):
            video.read(10, 12)
            video.read(0, 1)


@pytest.mark.parametrize(
    ("codec", "units", "expected"),
    [
        ("h264", [b"\x67\x00", b"\x65\x88"], True),
        ("h264", [b"\x41\x9a"], False),
        ("h264", [b"\x06\x06\x01\xc4\x80", b"\x41\x9a"], True),  # recovery point, 0 frames
        ("h264", [b"\x06\x06\x01\x2c\x80", b"\x41\x9a"], False),  # recovery point, 4 frames
        ("h264", [b"\x06\x05\x01\x00\x06\x01\xc4\x80", b"\x41\x9a"], True),
        ("h264", [b"\x06\xff"], False),
        ("hevc", [b"\x40\x01", b"\x26\x01\xaf"], True),
        ("hevc", [b"\x2a\x01\xaf"], True),
        ("hevc", [b"\x02\x01\xd0"], False),
    ],
)
def test_decodes_alone(codec: str, units: list[bytes], expected: bool) -> None:
    starts = b"".join(b"\0\0\0\1" + unit for unit in units)
    prefixed = b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)
    extradata = bytes([1, *[0] * 3, 0xFF, *[0] * 16, 0xFF, 0])
    assert decodes_alone(starts, codec, None) is expected
    assert decodes_alone(prefixed, codec, extradata) is expected
