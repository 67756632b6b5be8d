"""The command `interpolate`: what it writes, exact times, what it refuses, and how it resumes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import weakref
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from tests.apps.interp.clips import H, W, clip, shown, textures
from trackime.errors import InputError
from trackime.video import VideoWriter, open_video, write_image
from trackime.video._containers import FileFrames
from trackime_apps.interp import InterpConfig, interpolate, methods
from trackime_apps.interp.config import METHODS

MEAN = ["--method", "mean"]
SIDECARS = ["config.toml", "frames.csv", "result.json", "sheet.png"]


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 frames at 24/s with sound."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return clip(path, textures(24), sound="aac", clicks=(0.5,), seconds=1.0)


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "frames.csv", newline="") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> dict[str, bytes]:
    """Every file that must be the same from run to run."""
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "result.json"}


def images(folder: Path, frames: np.ndarray) -> Path:
    folder.mkdir()
    for t, frame in enumerate(frames):
        write_image(folder / f"{t:03d}.png", frame)
    return folder


class TestVideo:
    @pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm"])
    def test_count_and_duration_are_exact(self, run: Any, mp4: Path, tmp_path: Path, suffix: str) -> None:
        out = tmp_path / f"o.{suffix}"
        ran = run("interpolate", mp4, "--fps", "60", *MEAN, "-o", out)
        assert ran.code == 0 and "60 frames, 46 of them new, 1.000 s" in ran.out
        times, length = shown(out)
        exact = suffix in ("mp4", "mov")
        # Matroska: milliseconds, and the 21 ms that prime the decoder of AAC come before the first frame.
        start = 0.0 if suffix != "mkv" else 1024 / 48_000
        np.testing.assert_allclose(times, start + np.arange(60) / 60, atol=1e-9 if exact else 1.1e-3)
        if exact:
            assert length == pytest.approx(1.0, abs=1e-9)
            with av.open(str(out)) as container:
                assert container.streams.video[0].average_rate == 60
        assert sorted(p.name for p in tmp_path.iterdir()) == [out.name, f"{out.name}.d"]
        assert sorted(p.name for p in (tmp_path / f"{out.name}.d").iterdir()) == SIDECARS
        table = rows(tmp_path / f"{out.name}.d")
        assert len(table) == 60 and table[1]["name"] == "00001"
        assert (table[1]["i"], table[1]["j"], float(table[1]["tau"])) == ("0", "1", 0.4)
        np.testing.assert_allclose([float(row["pts"]) for row in table], times, atol=1.1e-3)
        record = json.loads((tmp_path / f"{out.name}.d" / "result.json").read_text())
        assert record["command"] == "interpolate" and record["output"]["frames"] == 60
        assert record["output"]["duration"] == 1.0 and record["video"]["frames"] == 24

    @pytest.mark.parametrize(
        ("typed", "frames", "seconds"),
        [
            (["--factor", "3"], 72, 1.0),
            (["--factor", "2", "--no-tail"], 47, 47 / 48),
            (["--fps", "23.976"], 24, 24 * 1.001 / 24),
            (["--fps", "59.94"], 60, 1.001),
            (["--slow", "2"], 48, 2.0),
            (["--slow", "2.5"], 60, 2.5),
            (["--slow", "2", "--fps", "30"], 60, 2.0),
        ],
    )
    def test_rates(self, run: Any, mp4: Path, tmp_path: Path, typed: list[str], frames: int, seconds: float) -> None:
        assert run("interpolate", mp4, *typed, *MEAN, "--audio", "none", "-o", tmp_path / "o.mp4").code == 0
        times, length = shown(tmp_path / "o.mp4")
        assert len(times) == frames and length == pytest.approx(seconds, abs=1e-6)

    @pytest.mark.parametrize("name", ["v.mkv", "v.mp4"])
    def test_variable_rates_are_kept_to(self, run: Any, tmp_path: Path, name: str) -> None:
        ticks = [0, 40, 100, 120, 300, 333]
        clip(tmp_path / name, textures(6), ticks=ticks)
        assert run("interpolate", tmp_path / name, "--factor", "2", *MEAN, "-o", tmp_path / f"o_{name}").code == 0
        middles = [(a + b) / 2 for a, b in zip(ticks, [*ticks[1:], 333 + 40], strict=True)]
        expected = np.sort([*ticks, *middles]) / 1000
        np.testing.assert_allclose(shown(tmp_path / f"o_{name}")[0], expected, atol=1e-6 if "mp4" in name else 6e-4)

    @pytest.mark.parametrize("count", [1, 2])
    def test_short_videos(self, run: Any, tmp_path: Path, count: int) -> None:
        clip(tmp_path / "s.mp4", textures(count), fps=Fraction(25))
        assert run("interpolate", tmp_path / "s.mp4", "--factor", "4", *MEAN, "-o", tmp_path / "o.mp4").code == 0
        times, length = shown(tmp_path / "o.mp4")
        assert len(times) == 4 * count and length == pytest.approx(count / 25)

    def test_odd_sizes(self, run: Any, tmp_path: Path) -> None:
        folder = images(tmp_path / "in", textures(3, 33, 47))
        typed = ["--factor", "2", "--input-fps", "24", *MEAN]
        assert run("interpolate", folder, *typed, "-o", tmp_path / "o.mp4").code == 0
        with open_video(tmp_path / "o.mp4") as video:
            assert (video.info.width, video.info.height, len(video)) == (48, 34, 6)
            assert video.info.fps == pytest.approx(48)

    def test_the_pictures_are_right(self, run: Any, mp4: Path, tmp_path: Path) -> None:
        assert run("interpolate", mp4, "--factor", "2", *MEAN, "--crf", "4", "-o", tmp_path / "o.mp4").code == 0
        with open_video(mp4) as old, open_video(tmp_path / "o.mp4") as new:
            for k in (0, 7, 20, 46, 47):
                i, j = k // 2, min(23, (k + 1) // 2)
                truth = (old.pixels(i, i + 1)[0].astype(float) + old.pixels(j, j + 1)[0]) / 2
                light = (new.pixels(k, k + 1)[0] - truth) @ [0.2126, 0.7152, 0.0722]  # noise's colours suffer by 4:2:0
                assert np.abs(light).mean() < 4 and abs(light.mean()) < 0.5

    @pytest.mark.parametrize("turn", [0, 90])
    def test_the_shape_of_pixels_is_kept(self, run: Any, tmp_path: Path, turn: int) -> None:
        with av.open(str(tmp_path / "a.mp4"), "w") as container:
            stream: Any = container.add_stream("libx264", rate=24)
            stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
            stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
            if turn:
                stream.set_display_rotation(turn)
            for image in textures(3):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        assert run("interpolate", tmp_path / "a.mp4", "--factor", "2", *MEAN, "-o", tmp_path / "o.mp4").code == 0
        with av.open(str(tmp_path / "o.mp4")) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height) == ((H, W) if turn else (W, H))
            assert stream.sample_aspect_ratio == (Fraction(3, 4) if turn else Fraction(4, 3))

    def test_hdr_is_not_claimed(self, run: Any, tmp_path: Path) -> None:
        with av.open(str(tmp_path / "a.mp4"), "w") as container:
            stream: Any = container.add_stream("libx264", rate=24)
            stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
            stream.codec_context.color_trc = 16
            for image in textures(3):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        ran = run("interpolate", tmp_path / "a.mp4", "--factor", "2", *MEAN, "-o", tmp_path / "o.mp4")
        assert ran.code == 0 and "the video is HDR (PQ)" in ran.err
        with av.open(str(tmp_path / "o.mp4")) as container:
            assert container.streams.video[0].codec_context.color_trc == 1

    def test_it_is_marked_as_it_is(self, run: Any, mp4: Path, tmp_path: Path) -> None:
        typed = ["--factor", "2", "--codec", "libx264", "--preset", "ultrafast", "--crf", "30", *MEAN]
        assert run("interpolate", mp4, *typed, "-o", tmp_path / "o.mkv").code == 0
        with av.open(str(tmp_path / "o.mkv")) as container:
            context = container.streams.video[0].codec_context
            assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)


class TestDepth:
    @pytest.fixture
    def deep(self, tmp_path: Path) -> Path:
        frames = textures(6).astype(np.uint16) * 257
        try:
            with VideoWriter(tmp_path / "deep.mp4", W, H, fps=24, depth=10, crf=4) as writer:
                for frame in frames:
                    writer.write(frame)
        except InputError:
            pytest.skip("no encoder of 10 bits in this build of FFmpeg")
        return tmp_path / "deep.mp4"

    def test_ten_bits_stay(self, run: Any, deep: Path, tmp_path: Path) -> None:
        assert run("interpolate", deep, "--factor", "2", *MEAN, "-o", tmp_path / "o.mp4").code == 0
        with open_video(tmp_path / "o.mp4") as video:
            assert video.depth == 10 and len(video) == 12
        assert run("interpolate", deep, "--factor", "2", "--depth", "8", *MEAN, "-o", tmp_path / "p.mp4").code == 0
        with open_video(tmp_path / "p.mp4") as video:
            assert video.depth == 8

    def test_where_they_cannot_a_line_says_so(self, run: Any, deep: Path, tmp_path: Path) -> None:
        typed = ["--factor", "2", "--codec", "mpeg4", *MEAN]
        ran = run("interpolate", deep, *typed, "-o", tmp_path / "o.mp4")
        assert ran.code == 0 and "8 of the video's 10 bits are kept" in ran.err
        ran = run("interpolate", deep, *typed, "--depth", "10", "-o", tmp_path / "p.mp4")
        assert ran.code == 2 and "mpeg4 takes 10 bits" in ran.err

    def test_to_images_of_sixteen(self, run: Any, deep: Path, tmp_path: Path) -> None:
        assert run("interpolate", deep, "--factor", "2", *MEAN, "-o", tmp_path / "o").code == 0
        with open_video(deep) as old, open_video(tmp_path / "o" / "00002.png") as new:
            assert new.depth == 16
            np.testing.assert_array_equal(new.pixels(0, 1)[0], old.pixels(1, 2)[0])


class TestImages:
    @pytest.mark.parametrize("channels", [3, 4])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_input_frames_are_themselves(self, run: Any, tmp_path: Path, channels: int, dtype: Any) -> None:
        most = np.iinfo(dtype).max
        frames = np.random.default_rng(1).integers(0, most + 1, (4, 20, 30, channels), dtype)
        frames[..., 3:] |= 1  # visible everywhere, if little
        folder = images(tmp_path / "in", frames)
        typed = ["--factor", "2", "--input-fps", "12", "--cuts", 0, *MEAN]
        assert run("interpolate", folder, *typed, "-o", tmp_path / "o").code == 0
        names = [f"{k:05d}.png" for k in range(8)]
        assert sorted(p.name for p in (tmp_path / "o").iterdir()) == [*names, *SIDECARS]
        for k in range(8):
            got = open_video(tmp_path / "o" / names[k]).pixels(0, 1)[0]
            assert got.dtype == dtype
            if k % 2 == 0 or k == 7:
                np.testing.assert_array_equal(got, frames[k // 2])
                continue
            a, b = frames[k // 2].astype(float), frames[k // 2 + 1].astype(float)
            truth = (a + b) / 2
            if channels == 4:
                truth[..., :3] = (a[..., 3:] * a[..., :3] + b[..., 3:] * b[..., :3]) / (a[..., 3:] + b[..., 3:])
            assert np.abs(got - truth).max() <= 0.51 + most * 2e-7
        assert float(rows(tmp_path / "o")[3]["pts"]) == 1.5 / 12

    def test_alpha_is_left_out_of_videos_with_a_word(self, run: Any, tmp_path: Path) -> None:
        folder = images(tmp_path / "in", np.full((2, 16, 16, 4), 99, np.uint8))
        ran = run("interpolate", folder, "--factor", "2", *MEAN, "-o", tmp_path / "o.mp4")
        assert ran.code == 0 and "holds no alpha" in ran.err

    def test_what_is_of_videos_is_refused(self, run: Any, mp4: Path, tmp_path: Path) -> None:
        ran = run("interpolate", mp4, "--factor", "2", "--codec", "libx264", *MEAN, "-o", tmp_path / "o")
        assert ran.code == 2 and "of videos" in ran.err and list(tmp_path.iterdir()) == []


class TestMarks:
    def test_a_cut_is_not_interpolated(self, run: Any, tmp_path: Path) -> None:
        one, other = textures(12, 96, 128), textures(12, 96, 128, seed=9) // 4 + np.array([0, 0, 160], np.uint8)
        clip(tmp_path / "c.mp4", np.concatenate([one, other]))
        assert run("interpolate", tmp_path / "c.mp4", "--factor", "4", *MEAN, "-o", tmp_path / "o").code == 0
        record = json.loads((tmp_path / "o" / "result.json").read_text())
        assert record["cuts"] == [12]
        assert [(r["i"], r["j"]) for r in rows(tmp_path / "o")[44:49]] == [("11", "11")] * 3 + [("12", "12")] * 2
        with open_video(tmp_path / "c.mp4") as video, open_video(tmp_path / "o" / "00046.png") as held:
            np.testing.assert_array_equal(held[0], video.pixels(11, 12)[0])

    def test_duplicates_are_replaced_when_asked(self, run: Any, tmp_path: Path) -> None:
        twos = np.repeat(textures(20)[::2], 2, 0)
        folder = images(tmp_path / "in", twos)
        typed = ["--factor", "1", "--input-fps", "24", *MEAN]
        assert run("interpolate", folder, *typed, "--dedup", "-o", tmp_path / "o").code == 0
        record = json.loads((tmp_path / "o" / "result.json").read_text())
        assert record["duplicates"] == list(range(1, 19, 2)) and record["output"]["new"] == 9
        assert (rows(tmp_path / "o")[3]["i"], rows(tmp_path / "o")[3]["j"]) == ("2", "4")
        assert run("interpolate", folder, *typed, "-o", tmp_path / "p").code == 0
        assert json.loads((tmp_path / "p" / "result.json").read_text())["output"]["new"] == 0


class TestRefused:
    @pytest.mark.parametrize(
        ("typed", "code", "said"),
        [
            ([], 2, "expected --factor, --fps or --slow"),
            (["--factor", "2", "--fps", "60"], 2, "--factor excludes"),
            (["--factor", "0"], 2, "expected 1 .. 1000"),
            (["--fps", "quick"], 2, "expected frames/s as 60"),
            (["--fps", "0"], 2, "fps"),
            (["--slow", "0.5"], 2, "slow: expected 1"),
            (["--factor", "2", "--method", "magic"], 2, "unknown method 'magic'"),
            (["--factor", "2", "--audio", "stretch"], 2, "goes with --slow"),
            (["--factor", "2", "--crf", "99"], 2, "crf"),
            (["--factor", "2", "--cuts", "2"], 2, "cuts"),
            (["--factor", "2", "--depth", "12"], 2, "depth"),
            (["--factor", "2", "--codec", "none_such"], 2, "no video encoder 'none_such'"),
            (["--factor", "2", "--preset", "none_such"], 1, "libx264 fails"),
            (["--factor", "2", "--input-fps", "24"], 2, "has frame times of its own"),
            (["--factor", "2", "--segment", "0"], 2, "segment"),
            (["--factor", "2", "--tracks", "gone.npz"], 1, "gone.npz"),
        ],
    )
    def test_bad_options_are_one_line(
        self, run: Any, mp4: Path, tmp_path: Path, typed: list[str], code: int, said: str
    ) -> None:
        ran = run("interpolate", mp4, *typed, "-o", tmp_path / "o.mp4")
        assert ran.code == code and said in ran.err and len(ran.err.splitlines()) == 1
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["o.avi", "o.gif", "o.png"])
    def test_names(self, run: Any, mp4: Path, tmp_path: Path, name: str) -> None:
        ran = run("interpolate", mp4, "--factor", "2", "-o", tmp_path / name)
        assert ran.code == 2 and "expected .mp4" in ran.err

    def test_the_input_itself(self, run: Any, tmp_path: Path) -> None:
        clip(tmp_path / "a.mp4", textures(2))
        ran = run("interpolate", tmp_path / "a.mp4", "--factor", "2", "-o", tmp_path / "a.mp4", "--overwrite")
        assert ran.code == 2 and "another name" in ran.err

    def test_what_is_there_is_kept(self, run: Any, mp4: Path, tmp_path: Path) -> None:
        out = tmp_path / "o.mp4"
        out.write_bytes(b"mine")
        for flags in ([], ["--resume"]):
            ran = run("interpolate", mp4, "--factor", "2", *MEAN, "-o", out, *flags)
            assert ran.code == 1 and "pass --overwrite" in ran.err and out.read_bytes() == b"mine"
        assert run("interpolate", mp4, "--factor", "2", *MEAN, "-o", out, "--overwrite").code == 0
        assert len(shown(out)[0]) == 48

    def test_finished_is_skipped_and_other_settings_refused(self, run: Any, mp4: Path, tmp_path: Path) -> None:
        typed = ["interpolate", mp4, "--factor", "2", *MEAN, "-o", tmp_path / "o.mp4", "--resume"]
        assert run(*typed).code == 0
        assert "finished already" in run(*typed).out
        assert "other input or settings" in run(*typed, "--crf", "30").err
        (tmp_path / "o.mp4").unlink()
        ran = run(*typed)
        assert ran.code == 1 and "is gone" in ran.err

    def test_settings_again_from_the_config(self, run: Any, mp4: Path, tmp_path: Path) -> None:
        typed = ["--fps", "60000/1001", "--segment", "30", *MEAN]
        assert run("interpolate", mp4, *typed, "-o", tmp_path / "a.mp4").code == 0
        config = tmp_path / "a.mp4.d" / "config.toml"
        assert run("interpolate", mp4, "--config", config, "-o", tmp_path / "b.mp4").code == 0
        assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


class TestInterrupted:
    @pytest.mark.parametrize("out", ["o.mp4", "o"])
    def test_resumes_to_the_same_bytes(
        self, run: Any, mp4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
    ) -> None:
        typed = ["interpolate", mp4, "--factor", "3", "--segment", "16", *MEAN]
        assert run(*typed, "-o", tmp_path / "whole" / out).code == 0
        made: list[int] = []

        def broken(after: int) -> Any:
            real = methods.make_interpolator

            def make(*a: Any, **k: Any) -> Any:
                between = real(*a, **k)

                def call(i: int, j: int, taus: Any) -> Any:
                    made.append(i)
                    if i == after:
                        raise KeyboardInterrupt
                    return between(i, j, taus)

                return call

            return make

        with monkeypatch.context() as patch:
            patch.setattr("trackime_apps.interp.run.make_interpolator", broken(12))
            assert run(*typed, "-o", tmp_path / "left" / out).code == 130
            assert not (tmp_path / "left").exists()
            assert run(*typed, "-o", tmp_path / "resumed" / out, "--resume").code == 130
            made.clear()
            patch.setattr("trackime_apps.interp.run.make_interpolator", broken(99))
            assert run(*typed, "-o", tmp_path / "resumed" / out, "--resume").code == 0
        assert min(made) >= 10  # two segments of 16 frames and a bit were done
        assert files(tmp_path / "resumed") == files(tmp_path / "whole")
        assert not [p for p in (tmp_path / "resumed").iterdir() if p.name.startswith(".")]

    def test_after_being_killed(self, run: Any, mp4: Path, tmp_path: Path) -> None:
        typed = ["interpolate", str(mp4), "--factor", "2", "--segment", "8", *MEAN]
        assert run(*typed, "-o", tmp_path / "whole" / "o.mp4").code == 0
        code = (
            "import sys, time\nfrom trackime_apps import cli\nfrom trackime_apps.interp import blend\n"
            "real = blend._blend\nblend._blend = lambda *a: (time.sleep(0.05), real(*a))[1]\n"
            "sys.exit(cli.main(sys.argv[1:]))"
        )
        out = tmp_path / "killed" / "o.mp4"
        child = subprocess.Popen(
            [sys.executable, "-c", code, *typed, "-o", str(out), "--resume"], start_new_session=True
        )
        segments = tmp_path / "killed" / ".o.mp4.d.partial" / "checkpoint" / "segments"
        try:
            for _ in range(600):
                if len(list(segments.glob("[0-9]*.npz"))) >= 2 or child.poll() is not None:
                    break
                time.sleep(0.05)
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        assert len(list(segments.glob("[0-9]*.npz"))) >= 2 and not out.exists()
        assert run(*typed, "-o", out, "--resume").code == 0
        assert files(tmp_path / "killed") == files(tmp_path / "whole")

    def test_a_method_that_fails_leaves_nothing(
        self, run: Any, mp4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("trackime_apps.interp.run.make_interpolator", lambda *a, **k: lambda i, j, taus: iter(()))
        ran = run("interpolate", mp4, "--factor", "2", *MEAN, "-o", tmp_path / "o.mp4")
        assert ran.code == 1 and "unexpected ValueError" in ran.err and list(tmp_path.iterdir()) == []


class TestMethods:
    def test_the_library(self) -> None:
        frames = textures(5)
        result = interpolate(frames, factor=2, config=InterpConfig(cuts=0.0, method="mean"))
        made = [frame for frame, _ in result]
        assert len(made) == len(result) == 10 and result.timeline.rate == 50
        np.testing.assert_array_equal(made[4], frames[2])
        assert np.abs(made[3] - (frames[1] / 2 + frames[2] / 2)).max() <= 0.51
        with pytest.raises(InputError, match="expected 0 <= start"):
            list(result.frames(3, 99))


class TestCost:
    @pytest.mark.parametrize("method", METHODS)
    def test_decoded_in_order_and_in_bounded_memory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
    ) -> None:
        path, restarts = clip(tmp_path / "long.mp4", np.concatenate([textures(50)] * 2)), list[FileFrames]()
        real = FileFrames._restart
        monkeypatch.setattr(FileFrames, "_restart", lambda self, n: (restarts.append(self), real(self, n))[1])
        monkeypatch.setattr("trackime.video._containers._KEPT_FRAMES", 2)
        with open_video(path) as video:
            result = interpolate(video, fps="40", config=InterpConfig(cuts=0.0, method=method, points=8))
            restarts.clear()
            held: list[Any] = []
            alive = 0
            for frame in result.frames():
                held.append(weakref.ref(frame))
                alive = max(alive, sum(ref() is not None for ref in held[-50:]))
        # Motion estimation reads ahead with a reader of its own, which starts once.
        assert alive <= 4 and len(restarts) == (method != "mean") == len(set(restarts))


def test_sheet_shows_pairs(run: Any, mp4: Path, tmp_path: Path) -> None:
    assert run("interpolate", mp4, "--factor", "2", *MEAN, "-o", tmp_path / "o").code == 0
    sheet = cv2.imread(str(tmp_path / "o" / "sheet.png"))
    assert sheet is not None and sheet.shape[1] == 3 * (240 + 6) + 6
