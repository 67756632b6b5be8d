"""`interpolate` as a function: frames with exact times, saved as a video or as images, and the video closed."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trackime_apps
from tests.apps.interp.clips import clip, heard, shown, textures
from trackime.errors import InputError, OutputError, VideoError
from trackime.progress import Report
from trackime.video import Video, open_video
from trackime_apps import cli
from trackime_apps.interp import InterpConfig, interpolate, run

MEAN = InterpConfig(method="mean", segment=7)


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 frames at 24/s with sound."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return clip(path, textures(12), sound="aac", clicks=(0.25,), seconds=0.5)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Video]:
    """The videos that are opened."""
    found: list[Video] = []

    def open_it(*a: Any) -> Video:
        found.append(open_video(*a))
        return found[-1]

    monkeypatch.setattr(run, "open_video", open_it)
    return found


@pytest.mark.skipif(not hasattr(trackime_apps, "interpolate"), reason="not among the package's names")
def test_five_lines(mp4: Path, tmp_path: Path) -> None:
    smooth = trackime_apps.interpolate(str(mp4), factor=2)
    smooth.save(str(tmp_path / "smooth.mp4"))
    assert len(shown(tmp_path / "smooth.mp4")[0]) == len(smooth) == 24


def test_frames_and_exact_times(mp4: Path) -> None:
    smooth = interpolate(mp4, fps="60000/1001", config=MEAN)
    assert len(smooth) == 30 and smooth.times == [k * Fraction(1001, 60000) for k in range(30)]
    pairs = list(smooth)
    assert [time for _, time in pairs] == smooth.times
    assert all(frame.dtype == np.uint8 and frame.shape == (48, 64, 3) for frame, _ in pairs)
    with open_video(mp4) as video:
        np.testing.assert_array_equal(pairs[0][0], video.pixels(0, 1)[0])
    for (frame, _), again in zip(pairs, smooth.frames(), strict=True):  # it can be iterated again
        np.testing.assert_array_equal(frame, again)


def test_arguments_replace_those_of_the_config() -> None:
    frames = textures(4)
    assert len(interpolate(frames, config=InterpConfig(factor=3, method="mean"))) == 12
    assert len(interpolate(frames, slow=2, config=InterpConfig(factor=3, method="mean"))) == 8
    with pytest.raises(InputError, match="expected --factor, --fps or --slow"):
        interpolate(frames)
    with pytest.raises(InputError, match="--factor excludes"):
        interpolate(frames, factor=2, fps=60)


def test_saved_as_a_video(mp4: Path, tmp_path: Path) -> None:
    smooth = interpolate(mp4, factor=2, config=MEAN)
    smooth.save(tmp_path / "new" / "smooth.mp4")
    times, length = shown(tmp_path / "new" / "smooth.mp4")
    np.testing.assert_allclose(times, np.arange(24) / 48, atol=1e-9)
    assert length == pytest.approx(0.5) and heard(tmp_path / "new" / "smooth.mp4")[0] == pytest.approx(0.25, abs=0.01)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["smooth.mp4"]
    typed = ["--factor", "2", "--method", "mean", "--segment", "7", "--quiet", "-o", str(tmp_path / "typed.mp4")]
    assert cli.main(["interpolate", str(mp4), *typed]) == 0
    assert (tmp_path / "typed.mp4").read_bytes() == (tmp_path / "new" / "smooth.mp4").read_bytes()


def test_saved_as_images(mp4: Path, tmp_path: Path) -> None:
    done = []
    smooth = interpolate(mp4, factor=2, config=MEAN, progress=Report(lambda *step: done.append(step)))
    smooth.save(tmp_path / "smooth")
    with open_video(tmp_path / "smooth") as video:
        assert video.info.names == tuple(f"{k:05d}" for k in range(24))
        for frame, saved in zip(smooth.frames(), video, strict=True):
            np.testing.assert_array_equal(frame, saved)
    assert done[-1] == ("frames", 24, 24) and [p.name for p in tmp_path.iterdir()] == ["smooth"]
    with pytest.raises(OutputError, match="is not empty"):
        smooth.save(tmp_path / "smooth")


def test_saved_whole_or_not_at_all(mp4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "o.mp4").write_bytes(b"old")
    smooth = interpolate(mp4, factor=2, config=MEAN)
    for path, message in ((mp4, "another name than that of the input"), (tmp_path / "o.avi", r"expected \.mp4")):
        with pytest.raises(InputError, match=message):
            smooth.save(path)
    monkeypatch.setattr(smooth, "_interpolator", lambda i, j, taus: iter(()))
    for name in ("o.mp4", "o"):
        with pytest.raises(ValueError, match="zip"):
            smooth.save(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["o.mp4"] and (tmp_path / "o.mp4").read_bytes() == b"old"


class TestClosing:
    def test_what_it_opened_is_closed(self, mp4: Path, opened: list[Video]) -> None:
        with interpolate(mp4, factor=2, config=MEAN) as smooth:
            next(iter(smooth))
        with pytest.raises(VideoError, match="closed already"):
            next(smooth.frames())
        smooth = interpolate(mp4, factor=2, config=MEAN)
        del smooth
        assert len(opened) == 2
        for video in opened:
            with pytest.raises(VideoError, match="closed already"):
                video.read(0, 1)

    def test_after_a_fault(self, mp4: Path, opened: list[Video], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run, "find_cuts", lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            interpolate(mp4, factor=2, config=MEAN)
        with pytest.raises(VideoError, match="closed already"):
            opened[0].read(0, 1)

    def test_what_it_was_given_stays_open(self, mp4: Path) -> None:
        with open_video(mp4) as video:
            with interpolate(video, factor=2, config=MEAN) as smooth:
                assert len(list(smooth)) == 24
            assert video.read(0, 1).shape == (1, 48, 64, 3)
