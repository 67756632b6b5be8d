"""Writing: what is read back, exact rates and times, and that nothing half-written is left."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from trackime.errors import InputError, OutputError, ShapeError
from trackime.video import VideoWriter, encoding, exact_rate, open_video, writing


def smooth(count: int = 10, height: int = 48, width: int = 64) -> np.ndarray:
    """Smooth colours that move: what 4:2:0 keeps well. uint8 [T, H, W, 3]."""
    coarse = np.random.default_rng(2).integers(0, 255, (5, 7, 3), np.uint8)
    wide = cv2.resize(coarse, (width + count, height), interpolation=cv2.INTER_CUBIC)
    return np.stack([wide[:, t : t + width] for t in range(count)])


def write(path: Path, frames: np.ndarray, **options: Any) -> Path:
    with VideoWriter(path, frames.shape[2], frames.shape[1], **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


class TestRoundTrip:
    @pytest.mark.parametrize("name", ["a.mp4", "a.m4v", "a.mov", "a.mkv", "a.webm", "a.avi"])
    def test_every_suffix(self, tmp_path: Path, name: str) -> None:
        frames = smooth()
        video = open_video(write(tmp_path / "new" / name, frames, fps=25))
        assert len(video) == 10 and video.warnings == ()
        np.testing.assert_array_equal(video.info.pts, np.arange(10) / 25)
        off = video.read(0, 10).astype(float) - frames
        # A wrong colour matrix (601 read as 709) is off by 5 levels and more in green.
        assert np.abs(off).mean() < 7 and np.abs(off.mean((0, 1, 2))).max() < 2.5

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (47, 63), (47, 64), (48, 63)])
    def test_odd_sizes_are_padded(self, tmp_path: Path, height: int, width: int) -> None:
        frames = smooth(4, height, width)
        video = open_video(write(tmp_path / "a.mp4", frames, fps=25))
        assert (video.info.width, video.info.height) == (width + width % 2, height + height % 2)
        got = video.read(0, 4)[:, :height, :width].astype(float)
        assert np.abs(got - frames).mean() < 8

    @pytest.mark.parametrize("fps", [29.97, 23.976, 24, 59.94, Fraction(25, 2), 12.5])
    def test_exact_rates(self, tmp_path: Path, fps: float) -> None:
        video = open_video(write(tmp_path / "a.mp4", smooth(), fps=fps))
        rate = exact_rate(fps)
        np.testing.assert_array_equal(video.info.pts, [float(k / rate) for k in range(10)])
        with av.open(str(tmp_path / "a.mp4")) as container:
            assert container.streams.video[0].average_rate == rate

    @pytest.mark.parametrize(
        ("name", "codec", "off"),
        [("a.mp4", None, 0.5 / 90000), ("a.mov", "mpeg4", 0.5 / 60000), ("a.mkv", None, 6e-4), ("a.webm", None, 6e-4)],
    )
    def test_times(self, tmp_path: Path, name: str, codec: str | None, off: float) -> None:
        pts = 7.3 + np.cumsum(np.random.default_rng(4).uniform(0.01, 0.2, 10))
        video = open_video(write(tmp_path / name, smooth(), pts=pts, codec=codec))
        np.testing.assert_allclose(video.info.pts, pts, rtol=0, atol=off + 1e-9)

    def test_times_frame_by_frame(self, tmp_path: Path) -> None:
        with VideoWriter(tmp_path / "a.mp4", 64, 48) as writer:
            for k, frame in enumerate(smooth(4)):
                writer.write(frame, pts=k * k / 10)
        np.testing.assert_allclose(open_video(tmp_path / "a.mp4").info.pts, [0, 0.1, 0.4, 0.9], atol=1e-9)

    def test_times_below_zero_are_moved(self, tmp_path: Path) -> None:
        video = open_video(write(tmp_path / "a.mp4", smooth(3), pts=[-0.5, 0.0, 0.25]))
        np.testing.assert_allclose(video.info.pts, [0, 0.5, 0.75], atol=1e-9)

    def test_quality(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (5, 48, 64, 3), np.uint8)
        for codec in ("libx264", "mpeg4"):
            sizes = [write(tmp_path / "a.mkv", noise, fps=25, codec=codec, crf=crf).stat().st_size for crf in (6, 45)]
            assert sizes[0] > 2 * sizes[1]


class TestFallback:
    def test_missing_encoder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(encoding, "_can_encode", lambda name: name == "mpeg4")
        for codec in (None, "libx264"):
            write(tmp_path / "a.mp4", smooth(), fps=25, codec=codec)
            with av.open(str(tmp_path / "a.mp4")) as container:
                assert container.streams.video[0].codec_context.name == "mpeg4"
        with pytest.raises(InputError, match=r"no video encoder 'libvpx-vp9', it has mpeg4"):
            VideoWriter(tmp_path / "a.webm", 4, 4, fps=25)

    @pytest.mark.parametrize("codec", ["no such thing", "aac", "hevc_cuvid"])
    def test_not_an_encoder(self, tmp_path: Path, codec: str) -> None:
        with pytest.raises(InputError, match="no video encoder"):
            VideoWriter(tmp_path / "a.mp4", 4, 4, fps=25, codec=codec)


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"fps": 0}, "fps"),
            ({"fps": float("nan")}, "fps"),
            ({"fps": 25, "pts": [0.0]}, "got both"),
            ({"fps": 25, "width": 0}, "at least 1x1"),
            ({"fps": 25, "crf": 99}, "crf"),
            ({"fps": 25, "name": "a.gif"}, r"expected a name in \.mp4, .*, got '\.gif'"),
            ({"fps": 25, "name": "a"}, "no suffix"),
            ({"pts": [0.0], "name": "a.avi"}, "regular rate only"),
        ],
    )
    def test_arguments(self, tmp_path: Path, options: dict[str, Any], match: str) -> None:
        with pytest.raises(InputError, match=match):
            VideoWriter(tmp_path / options.pop("name", "a.mp4"), options.pop("width", 4), 4, **options)

    @pytest.mark.parametrize(
        ("frame", "match"),
        [
            (np.zeros((47, 64, 3), np.uint8), r"expected shape \[48, 64, 3\], got \[47, 64, 3\]"),
            (np.zeros((48, 64), np.uint8), r"\[48, 64\]"),
            (np.zeros((48, 64, 3), np.float32), "not float32"),
            ("frame", "frame"),
        ],
    )
    def test_frames(self, tmp_path: Path, frame: Any, match: str) -> None:
        with pytest.raises(ShapeError, match=match), VideoWriter(tmp_path / "a.mp4", 64, 48, fps=25) as writer:
            writer.write(smooth(1)[0])
            writer.write(frame)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("pts", [[0.0], [0.0, 0.0], [1.0, 0.5], [0.0, float("nan")], [0.0, 1e-7]])
    def test_times(self, tmp_path: Path, pts: list[float]) -> None:
        with pytest.raises(InputError, match=r"pts|times"):
            write(tmp_path / "a.mp4", smooth(2), pts=pts)
        assert list(tmp_path.iterdir()) == []

    def test_times_twice_or_never(self, tmp_path: Path) -> None:
        for options, pts in (({"fps": 25}, 0.0), ({"pts": [0.0]}, 0.0), ({}, None)):
            with pytest.raises(InputError, match="write"), VideoWriter(tmp_path / "a.mp4", 64, 48, **options) as writer:
                writer.write(smooth(1)[0], pts=pts)

    def test_outside_of_with(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="inside"):
            VideoWriter(tmp_path / "a.mp4", 64, 48, fps=25).write(smooth(1)[0])


class TestNothingIsLeft:
    def test_no_frames(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="no frame was written"):
            write(tmp_path / "a.mp4", np.zeros((0, 48, 64, 3), np.uint8), fps=25)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
    def test_interrupted(self, tmp_path: Path, error: type[BaseException]) -> None:
        (tmp_path / "a.mp4").write_bytes(b"old")
        with pytest.raises(error), VideoWriter(tmp_path / "a.mp4", 64, 48, fps=25) as writer:
            writer.write(smooth(1)[0])
            raise error
        assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
        assert (tmp_path / "a.mp4").read_bytes() == b"old"

    def test_errors_of_the_block_stay_themselves(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError), VideoWriter(tmp_path / "a.mp4", 64, 48, fps=25):
            (tmp_path / "other").read_bytes()
        assert list(tmp_path.iterdir()) == []

    def test_folder_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(OutputError, match="cannot write"):
            write(tmp_path / "file" / "a.mp4", smooth(1), fps=25)

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    def test_disk_full(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # The temporary name leads to a device that is always full.
        def onto_full(path: str, *args: Any, **kwargs: Any) -> Any:
            Path(path).symlink_to("/dev/full")
            return real(path, *args, **kwargs)

        real = av.open
        monkeypatch.setattr(writing.av, "open", onto_full)
        with pytest.raises(OutputError, match=r"cannot write .*a\.mkv"):
            write(tmp_path / "a.mkv", smooth(), fps=25)
        assert list(tmp_path.iterdir()) == []

    def test_replaces_an_older_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.mp4").write_bytes(b"old")
        assert len(open_video(write(tmp_path / "a.mp4", smooth(3), fps=25))) == 3
        assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (25, Fraction(25)),
        (29.97, Fraction(30000, 1001)),
        (30000 / 1001, Fraction(30000, 1001)),
        (23.976, Fraction(24000, 1001)),
        (23.98, Fraction(1199, 50)),
        (59.94, Fraction(60000, 1001)),
        (12.5, Fraction(25, 2)),
        (1 / 3, Fraction(1, 3)),
        (np.float32(25), Fraction(25)),
        (Fraction(123457, 1000), Fraction(123457, 1000)),
    ],
)
def test_exact_rate(fps: Any, expected: Fraction) -> None:
    assert exact_rate(fps) == expected
