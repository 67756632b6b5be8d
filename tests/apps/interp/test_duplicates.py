"""Duplicates: found among motion, whatever compression does to them, and none in scenes that stand still."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from trackime.video import open_video
from trackime_apps.interp._duplicates import duplicates_of, find_duplicates

H, W = 72, 112


def moving(places: list[float], noise: float = 0.0, small: bool = False) -> np.ndarray:
    """A texture at each of those places (pixels to the right), uint8 [T, H, W, 3]; small: a patch of it moves alone."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(30, 225, (10, 40, 3), np.uint8)
    wide = cv2.resize(coarse, (320, H), interpolation=cv2.INTER_CUBIC)
    frames = []
    for x in places:
        shift = np.float32([[1, 0, -x], [0, 1, 0]])
        shown = cv2.warpAffine(wide, shift, (W, H), flags=cv2.INTER_LINEAR)
        if small:
            still = wide[:, :W].copy()
            still[20:44, 30:60] = shown[20:44, 30:60]
            shown = still
        frames.append(np.clip(shown + rng.normal(0, noise, shown.shape) + 0.5, 0, 255).astype(np.uint8))
    return np.stack(frames)


def compressed(path: Path, frames: np.ndarray, crf: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": str(crf), "g": "12"})
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        for k, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


TWOS = [3.0 * (k // 2) for k in range(20)]
PULLDOWN = [2.0 * (4 * k // 5) for k in range(25)]
HOLD = [2.0 * k for k in range(8)] + [16.0] * 9 + [16 + 2.0 * k for k in range(8)]
EASE = [0, 4, 7, 9, 10, 10.5, 10.7, 10.75, 10.75, 10.8, 11, 11.5, 12.5, 14.5, 17.5, 21.5]


class TestFound:
    @pytest.mark.parametrize("small", [False, True])
    @pytest.mark.parametrize("places", [TWOS, PULLDOWN])
    def test_in_clean_frames(self, places: list[float], small: bool) -> None:
        truth = [t for t in range(1, len(places) - 1) if places[t] == places[t - 1]]
        assert find_duplicates(open_video(moving(places, small=small))) == truth

    @pytest.mark.skipif("libx264" not in av.codecs_available, reason="needs libx264")
    @pytest.mark.parametrize("crf", [18, 32])
    def test_through_compression(self, tmp_path: Path, crf: int) -> None:
        truth = [t for t in range(1, len(TWOS) - 1) if TWOS[t] == TWOS[t - 1]]
        with open_video(compressed(tmp_path / "a.mp4", moving(TWOS), crf)) as video:
            assert find_duplicates(video) == truth

    def test_in_noise(self) -> None:
        truth = [t for t in range(1, len(TWOS) - 1) if TWOS[t] == TWOS[t - 1]]
        assert find_duplicates(open_video(moving(TWOS, noise=3.0))) == truth


class TestNotFound:
    @pytest.mark.parametrize(
        "places",
        [[0.0] * 12, [2.0 * k for k in range(12)], [0.3 * k for k in range(20)], HOLD, EASE, [0.0], [0.0, 0.0]],
    )
    @pytest.mark.parametrize("noise", [0.0, 3.0])
    def test_in_still_or_steady_scenes(self, places: list[float], noise: float) -> None:
        assert find_duplicates(open_video(moving(places, noise))) == []

    def test_where_a_shot_is_a_still_picture(self) -> None:
        frames = np.concatenate([moving([2.0 * k for k in range(6)]), 255 - moving([0.0] * 4), moving([40.0, 42, 44])])
        assert find_duplicates(open_video(frames), cuts=[6, 10]) == []


def test_a_cut_is_no_motion() -> None:
    steps = np.array([0, 9, 0, 9, 0, 9, 9.0])
    assert duplicates_of(steps) == [2, 4]
    assert duplicates_of(steps, cuts=[3]) == [4] and duplicates_of(steps, cuts=[5]) == [2]


def test_progress() -> None:
    reported: list[tuple[str, int, int]] = []
    find_duplicates(open_video(moving(TWOS)), progress=lambda *a: reported.append(a))
    assert reported[-1] == ("duplicates", 20, 20)
