"""New frames by splatting, from motion that is known."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch

from trackime.metrics import psnr
from trackime.video import open_video
from trackime.worlds import make_world
from trackime_apps.interp import (
    FrameMotion,
    InterpConfig,
    InterpInput,
    PairMotion,
    Synthesis,
    interpolate,
    make_interpolator,
    synthesis,
)
from trackime_apps.interp.config import METHODS

H, W = 40, 56


def picture(seed: int = 0, height: int = H, width: int = W) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 2)
    return np.clip((soft - soft.mean()) * 4 + 127, 0, 255).astype(np.uint8)


class Known:
    """A motion that is the same everywhere, or given."""

    def __init__(
        self, flow: Any = (0.0, 0.0), visibility: float = 1.0, quadratic: Any = None, back: Any = None
    ) -> None:
        self.flow, self.visibility, self.quadratic, self.back = flow, visibility, quadratic, back
        self.calls: list[tuple[int, int]] = []

    def between(self, i: int, j: int) -> PairMotion:
        self.calls.append((i, j))

        def field(value: Any) -> torch.Tensor:
            value = np.asarray(value, np.float32)
            full = value if value.ndim == 3 else np.broadcast_to(value[:, None, None], (2, H, W))
            return torch.from_numpy(np.array(full))

        seen = torch.full((H, W), self.visibility)
        bend = None if self.quadratic is None else field(self.quadratic)
        there = field(self.flow)
        return PairMotion(
            FrameMotion(there, seen, bend), FrameMotion(-there if self.back is None else field(self.back), seen, bend)
        )


def make(frames: Any, source: Any, taus: Any = (0.5,)) -> list[np.ndarray]:
    return list(Synthesis(open_video(np.stack(frames)), source)(0, 1, taus))


def test_nothing_moves() -> None:
    a = picture()
    for made in make([a, a], Known(), (0.2, 0.7)):
        assert made.dtype == np.float32 and np.abs(made - a / 255).max() < 1e-5


def test_a_whole_shift_is_exact() -> None:
    wide = picture(1, H, W + 8)
    a, b, middle = wide[:, 8:], wide[:, :-8], wide[:, 4 : W + 4]
    (made,) = make([a, b], Known((8, 0)))
    # The four columns on either side are known from one frame alone, and lie in the other at its edge.
    assert np.abs(made - middle / 255)[:, 5:-5].max() < 0.01
    assert np.abs(made - middle / 255)[:, :5].mean() < 0.02 > np.abs(made - middle / 255)[:, -5:].mean()


def test_quadratic_motion_is_followed() -> None:
    wide = picture(2, H, W + 8)
    a, b, middle = wide[:, 8:], wide[:, :-8], wide[:, 2 : W + 2]  # it has moved by 6 of 8 pixels half-way
    (made,) = make([a, b], Known((8, 0), quadratic=(-8, 0)))
    assert np.abs(made - middle / 255)[:, 8:-8].max() < 0.01


def test_backwards_is_the_same() -> None:
    a, b = picture(3), picture(4)
    there = make([a, b], Known((2.3, -1.2), 0.6), (0.3, 0.5))
    back = make([b, a], Known((-2.3, 1.2), 0.6), (0.5, 0.7))
    for first, second in zip(there, back[::-1], strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)


def test_strips_are_what_the_whole_is(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    flow = cv2.GaussianBlur(rng.normal(0, 60, (H, W, 2)).astype(np.float32), (0, 0), 3).transpose(2, 0, 1)
    source = Known(flow, 0.8, back=-flow[:, ::-1])
    frames = [picture(6), picture(7)]
    (whole,) = make(frames, source, (0.4,))
    for rows in (1, 7, 13):
        monkeypatch.setattr(synthesis, "_TILE", rows * W)
        (tiled,) = make(frames, source, (0.4,))
        np.testing.assert_allclose(tiled, whole, atol=2e-6)


def test_occluded_pixels_do_not_count() -> None:
    """A square before a still ground: the ground it uncovers comes from the other frame."""
    ground, thing = picture(8), picture(9, 16, 16) // 2 + 100
    frames, flow, back, seen = [], np.zeros((2, H, W), np.float32), np.zeros((2, H, W), np.float32), []
    for x in (8, 14, 20):
        frame = ground.copy()
        frame[12:28, x : x + 16] = thing
        frames.append(frame)
    flow[0, 12:28, 8:24], back[0, 12:28, 20:36] = 12, -12
    for covered in ((24, 36), (8, 20)):
        sight = torch.ones(H, W)
        sight[12:28, covered[0] : covered[1]] = 0
        seen.append(sight)

    class Source:
        def between(self, i: int, j: int) -> PairMotion:
            return PairMotion(
                FrameMotion(torch.from_numpy(flow), seen[0]), FrameMotion(torch.from_numpy(back), seen[1])
            )

    (made,) = make([frames[0], frames[2]], Source())
    off = np.abs(made - frames[1] / 255).mean(2)
    assert off.mean() < 0.01 and np.median(off) < 1e-4 and (off > 0.1).mean() < 0.05


def test_holes_are_filled() -> None:
    """Everything moves apart from a line: what opens is neither black nor missing."""
    flow = np.zeros((2, H, W), np.float32)
    flow[0, :, : W // 2], flow[0, :, W // 2 :] = -10, 10
    a = np.full((H, W, 3), 200, np.uint8)
    (made,) = make([a, a], Known(flow, back=np.zeros((2, H, W))))
    assert np.abs(made - 200 / 255).max() < 0.01


def test_brightness_changes_evenly() -> None:
    a = picture(10) // 2 + 30
    b = np.clip(a * 1.4, 0, 255).astype(np.uint8)
    half = np.where(np.arange(W) < W // 2, 1.0, 0.0)

    class OneSided(Known):
        """Half of either frame is visible in the other one."""

        def between(self, i: int, j: int) -> PairMotion:
            both = torch.from_numpy(np.tile(half, (H, 1)).astype(np.float32))
            still = torch.zeros(2, H, W)
            return PairMotion(FrameMotion(still, both), FrameMotion(still, both))

    (made,) = make([a, b], OneSided())
    assert np.abs(made - a * 1.2 / 255).mean() < 0.02


def test_transparent_pixels_contribute_no_colour(tmp_path: Any) -> None:
    for t in range(2):
        frame = np.zeros((H, W, 4), np.uint8)
        frame[..., :3] = (0, 0, 255)  # blue in BGR order below: red, but not to be seen
        frame[:, 10 : W - 10] = (0, 255, 0, 255)
        cv2.imwrite(str(tmp_path / f"{t}.png"), frame)
    (made,) = Synthesis(open_video(tmp_path), Known())(0, 1, [0.5])
    assert made.shape == (H, W, 4)
    np.testing.assert_allclose(made[:, 12:-12], np.broadcast_to([0, 1, 0, 1], (H, W - 24, 4)), atol=1e-4)
    assert made[:, :8, 3].max() < 1e-4


def test_frames_are_read_once() -> None:
    video = open_video(np.stack([picture(k) for k in range(3)]))
    read: list[int] = []
    real = video.pixels
    video.pixels = lambda t0, t1: (read.append(t0), real(t0, t1))[1]  # type: ignore[method-assign]
    between = Synthesis(video, Known())
    for i in range(2):
        assert len(list(between(i, i + 1, [0.25, 0.5, 0.75]))) == 3
    assert read == [0, 1, 2]


@pytest.mark.parametrize("size", [(1, 1), (3, 20), (17, 33)])
@pytest.mark.parametrize("method", METHODS)
def test_any_size_any_length(method: str, size: tuple[int, int]) -> None:
    frames = np.stack([picture(k, *size) for k in range(3)])
    made = [frame for frame, _ in interpolate(frames, config=InterpConfig(factor=2, method=method, cuts=0.0, points=4))]
    assert len(made) == 6 and all(f.shape == (*size, 3) and f.dtype == np.uint8 for f in made)


def test_tracks_beat_flow_beats_the_mean() -> None:
    world = make_world(seed=3, width=256, height=144, frames=13, objects=3, speed=6.0, noise=0.0)
    frames = world.video
    scores = {}
    for method, changes in {"mean": {}, "flow": {"curved": False}, "tracks": {}}.items():
        kept = open_video(np.ascontiguousarray(frames[::2]))
        between = make_interpolator(InterpInput(kept, InterpConfig(method=method, points=60, **changes)))
        made = [next(between(i, i + 1, [0.5])) for i in range(1, 5)]
        scores[method] = np.mean([psnr(m, frames[2 * i + 1]) for i, m in enumerate(made, 1)])
    assert InterpConfig().method == "tracks"
    assert scores["mean"] + 1 < scores["flow"] < scores["tracks"] - 0.3, scores
