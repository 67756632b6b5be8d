"""Depth and alpha: what a source has beyond 8 bits of RGB, read and written."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from trackime.errors import InputError, ShapeError, VideoError
from trackime.video import Encoding, VideoWriter, find_encoder, open_video, read_image, write_image
from trackime.video.decoded import kind_of
from trackime.video.encoding import _can_encode, _pixel_format
from trackime.video.images import image_header, read_pixels

T, H, W = 12, 48, 64


def ramps(channels: int = 3) -> np.ndarray:
    """Smooth colours that move, in steps far finer than 8 bits. float64 [T, H, W, C] in [0, 1]."""
    t, y, x = np.mgrid[:T, :H, :W] / np.array([T, H, W])[:, None, None, None]
    planes = [0.2 + 0.5 * x + 0.05 * t, 0.3 + 0.4 * y - 0.05 * t, 0.6 - 0.3 * x + 0.2 * y, 0.1 + 0.8 * y]
    return np.stack(planes[:channels], -1)


def encode(path: Path, codec: str, pixels: str, options: dict[str, str] | None = None, rotation: int = 0) -> Path:
    """A file by PyAV alone, BT.709, of `ramps`."""
    if codec not in av.codecs_available or pixels not in {f.name for f in av.Codec(codec, "w").video_formats or ()}:
        pytest.skip(f"this build of FFmpeg has no {codec} of {pixels}")
    alpha = any(c.is_alpha for c in av.VideoFormat(pixels).components)
    frames = np.round(ramps(4 if alpha else 3) * 65535).astype(np.uint16)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = W, H, pixels
        stream.codec_context.time_base = Fraction(1, 25)
        if "gray" not in pixels:
            stream.codec_context.colorspace, stream.codec_context.color_range = 1, 1
        if rotation:
            stream.set_display_rotation(rotation)
        for k, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgba64le" if alpha else "rgb48le")
            frame = frame.reformat(format=pixels, dst_colorspace=1)
            frame.pts, frame.time_base = k, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


DEEP = {
    "a.mp4": ("libx264", "yuv420p10le", 10),
    "b.mp4": ("libx265", "yuv420p10le", 10),
    "c.mkv": ("libx265", "yuv444p12le", 12),
    "d.mkv": ("libvpx-vp9", "yuv420p10le", 10),
    "e.mkv": ("ffv1", "yuv422p10le", 10),
    "f.mkv": ("ffv1", "gbrp12le", 12),
    "g.mkv": ("ffv1", "gray16le", 16),
    "h.mov": ("prores_ks", "yuv422p10le", 10),
}
QUIET = {"libx264": {"g": "4", "qp": "0"}, "libx265": {"x265-params": "log-level=error:keyint=4:lossless=1"}}


class TestDeepVideo:
    @pytest.mark.parametrize("name", DEEP)
    def test_more_than_eight_bits_come_through(self, tmp_path: Path, name: str) -> None:
        codec, pixels, depth = DEEP[name]
        with open_video(encode(tmp_path / name, codec, pixels, QUIET.get(codec))) as video:
            assert video.depth == depth and not video.alpha
            got = video.pixels(0, T)
            assert got.dtype == np.uint16 and got.shape == (T, H, W, 3)
            truth = ramps()
            if "gray" in pixels:
                truth = np.repeat((truth @ [0.299, 0.587, 0.114])[..., None], 3, -1)
            off = got / 65535 - truth
            # FFmpeg's way to 4:2:0 moves colours half a pixel from where H.264 says they are: 0.8 of a level here.
            sited = "gray" in pixels or (pixels == "yuv420p10le" and codec != "libvpx-vp9")
            assert np.abs(off).mean() < 1 / 255
            assert np.abs(off.mean((0, 1, 2))).max() < (1.0 if sited else 0.25) / 255
            if "gray" not in pixels:
                levels = np.unique(got[0, H // 2, :, 0])
                assert len(levels) > 40  # of 64 columns over 127 levels of 8 bits; in 8 bits some columns agree
            eight = video.read(0, T)
            assert eight.dtype == np.uint8
            assert np.abs(eight / 255 - got / 65535).mean() < 2 / 255

    def test_the_same_pixels_however_reached(self, tmp_path: Path) -> None:
        with open_video(encode(tmp_path / "a.mp4", "libx264", "yuv420p10le", {"g": "4", "bf": "2"})) as video:
            truth = video.pixels(0, T)
            for t in np.random.default_rng(0).permutation(T):
                np.testing.assert_array_equal(video.pixels(int(t), int(t) + 1)[0], truth[t])
            np.testing.assert_array_equal(video.clip(3, 9).pixels(1, 4), truth[4:7])
            assert video.clip(3, 9).depth == 10

    def test_read_and_pixels_share_what_is_decoded(self, tmp_path: Path) -> None:
        with open_video(encode(tmp_path / "a.mp4", "libx264", "yuv420p10le")) as video:
            video.pixels(0, 4)
            position = video._source._position  # type: ignore[attr-defined]
            video.read(0, 4)
            assert video._source._position == position  # type: ignore[attr-defined]

    def test_rotation(self, tmp_path: Path) -> None:
        upright = open_video(encode(tmp_path / "a.mp4", "libx264", "yuv420p10le", {"crf": "4"})).pixels(0, 1)[0]
        turned = open_video(encode(tmp_path / "b.mp4", "libx264", "yuv420p10le", {"crf": "4"}, 90))
        assert (turned.info.width, turned.info.height) == (H, W)
        np.testing.assert_array_equal(turned.pixels(0, 1)[0], np.rot90(upright))

    def test_bad(self, tmp_path: Path) -> None:
        video = open_video(encode(tmp_path / "a.mp4", "libx264", "yuv420p10le"))
        with pytest.raises(InputError, match="expected 0 <= t0"):
            video.pixels(0, T + 1)
        video.close()
        with pytest.raises(VideoError, match="closed"):
            video.pixels(0, 1)


class TestAlpha:
    @pytest.mark.parametrize(
        ("name", "codec", "pixels", "depth"),
        [
            ("a.mov", "png", "rgba", 8),
            ("b.mkv", "ffv1", "yuva420p", 8),
            ("c.mov", "prores_ks", "yuva444p10le", 10),
            ("d.mkv", "ffv1", "gbrap12le", 12),
        ],
    )
    def test_of_videos(self, tmp_path: Path, name: str, codec: str, pixels: str, depth: int) -> None:
        with open_video(encode(tmp_path / name, codec, pixels)) as video:
            assert video.alpha and video.depth >= depth
            got = video.pixels(0, T)
            most = np.iinfo(got.dtype).max
            assert got.shape == (T, H, W, 4) and (most == 255) == (depth == 8)
            assert np.abs(got / most - ramps(4)).mean() < 2 / 255
            assert video.read(0, T).shape == (T, H, W, 3)


class TestPlain:
    def test_eight_bits_come_without_the_fast_ways_darkness(self, tmp_path: Path) -> None:
        frames = np.round(ramps() * 255).astype(np.uint8)
        with VideoWriter(tmp_path / "a.mp4", W, H, fps=25, crf=4) as writer:
            for frame in frames:
                writer.write(frame)
        with open_video(tmp_path / "a.mp4") as video:
            assert video.depth == 8 and not video.alpha
            exact, fast = video.pixels(0, T).astype(float), video.read(0, T).astype(float)
        assert exact.shape == fast.shape and np.abs(exact - fast).max() < 8
        assert abs((exact - frames).mean()) < 0.5 < abs((fast - frames).mean())
        np.testing.assert_array_equal(open_video(frames).pixels(2, 7), frames[2:7])


class TestImages:
    @pytest.mark.parametrize("channels", [3, 4])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_round_trip_bit_by_bit(self, tmp_path: Path, channels: int, dtype: Any) -> None:
        frames = np.round(ramps(channels) * np.iinfo(dtype).max).astype(dtype)
        for t, frame in enumerate(frames):
            write_image(tmp_path / f"{t}.png", frame)
        video = open_video(tmp_path)
        assert video.depth == 8 * np.dtype(dtype).itemsize and video.alpha == (channels == 4)
        np.testing.assert_array_equal(video.pixels(0, T), frames)
        eight = video.read(0, T)
        assert eight.shape == (T, H, W, 3) and np.abs(eight / 255 - ramps()).max() < 1.01 / 255

    def test_colours_below_no_alpha_are_kept(self, tmp_path: Path) -> None:
        image = np.dstack([np.full((4, 5, 3), (10, 200, 30), np.uint8), np.zeros((4, 5), np.uint8)])
        write_image(tmp_path / "a.png", image)
        np.testing.assert_array_equal(open_video(tmp_path / "a.png").pixels(0, 1)[0], image)

    def test_a_mixed_folder_has_the_most_of_all(self, tmp_path: Path) -> None:
        write_image(tmp_path / "0.png", np.full((4, 5, 3), 7, np.uint8))
        write_image(tmp_path / "1.png", np.full((4, 5, 3), 700, np.uint16))
        write_image(tmp_path / "2.png", np.full((4, 5, 4), 9, np.uint8))
        cv2.imwrite(str(tmp_path / "3.png"), np.full((4, 5), 11, np.uint8))
        cv2.imwrite(str(tmp_path / "4.jpg"), np.full((4, 5), 128, np.uint8))
        video = open_video(tmp_path)
        assert (video.depth, video.alpha) == (16, True)
        got = video.pixels(0, 5)[:, 0, 0]
        assert got.tolist()[:4] == [
            [7 * 257] * 3 + [65535], [700] * 3 + [65535], [9 * 257] * 4, [11 * 257] * 3 + [65535],
        ]  # fmt: skip
        assert got[4, 3] == 65535 and abs(got[4, 0] / 257 - 128) < 2

    def test_headers(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "a.png"), np.zeros((3, 7, 4), np.uint16))
        header = image_header(tmp_path / "a.png")
        assert header is not None and header.size == (7, 3) and (header.kind.depth, header.kind.alpha) == (16, True)
        (tmp_path / "b.png").write_bytes(b"no image")
        assert image_header(tmp_path / "b.png") is None and image_header(tmp_path / "none.png") is None
        for load in (read_image, lambda file: read_pixels(file, header.kind)):
            with pytest.raises(VideoError, match="not an image"):
                load(tmp_path / "b.png")


class TestWriting:
    @pytest.mark.parametrize(
        ("name", "codec"), [("a.mp4", None), ("a.mkv", "libx265"), ("a.webm", None), ("a.mkv", "ffv1")]
    )
    def test_ten_bits(self, tmp_path: Path, name: str, codec: str | None) -> None:
        try:
            find_encoder(Path(name).suffix, codec, 10)
        except InputError:
            pytest.skip("no encoder of 10 bits in this build of FFmpeg")
        frames = np.round(ramps() * 65535).astype(np.uint16)
        with VideoWriter(tmp_path / name, W, H, fps=25, codec=codec, crf=4, depth=10) as writer:
            for frame in frames:
                writer.write(frame)
        with open_video(tmp_path / name) as video:
            assert video.depth == 10 and len(video) == T
            off = video.pixels(0, T) / 65535 - ramps()
            assert np.abs(off).mean() < 1 / 255 and np.abs(off.mean((0, 1, 2))).max() < 0.25 / 255
        with av.open(str(tmp_path / name)) as container:
            context = container.streams.video[0].codec_context
            assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)

    def test_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="mpeg4 takes 10 bits"):
            VideoWriter(tmp_path / "a.mp4", W, H, fps=25, codec="mpeg4", depth=10)
        with pytest.raises(InputError, match=r"no encoder here for \.avi"):
            VideoWriter(tmp_path / "a.avi", W, H, fps=25, depth=10)
        with pytest.raises(InputError, match="expected 8 or 10"):
            VideoWriter(tmp_path / "a.mp4", W, H, fps=25, depth=12)
        deep = Encoding.make(".mkv", W, H, Fraction(25), depth=10) if _pixel_format("libx264", 10) else None
        if deep is not None:
            with pytest.raises(ShapeError, match="uint16, not uint8"):
                deep.picture(np.zeros((H, W, 3), np.uint8), 0)

    def test_kinds(self) -> None:
        assert kind_of(av.VideoFrame(4, 4, "gray")).channels == 3
        assert kind_of(av.VideoFrame(4, 4, "ya8")).alpha
        assert not kind_of(av.VideoFrame(4, 4, "pal8")).alpha
        assert _can_encode("mpeg4") and not _can_encode("aac")
