"""Cuts: found where they are, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from trackime.errors import InputError, ShapeError
from trackime.video import find_cuts

H, W = 90, 160


def scene(seed: int) -> np.ndarray:
    """A large picture uint8 [2H, 6W, 3] with detail at several scales and colours of its own."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((2 * H, 6 * W, 3), np.float32) + rng.uniform(40, 215, 3)
    for cell, strength in ((60, 60), (20, 40), (6, 20)):
        coarse = rng.normal(0, strength, (2 * H // cell + 2, 6 * W // cell + 2, 3)).astype(np.float32)
        picture += cv2.resize(coarse, (6 * W, 2 * H), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255).astype(np.uint8)


def shot(seed: int, frames: int = 12, speed: float = 1.0) -> np.ndarray:
    """A pan over `scene(seed)`, `speed` pixels a frame, with noise. uint8 [T, H, W, 3]."""
    picture, rng = scene(seed), np.random.default_rng(seed + 1000)
    views = np.stack([picture[20 : 20 + H, int(t * speed) : int(t * speed) + W] for t in range(frames)])
    return np.clip(views + rng.normal(0, 3, views.shape), 0, 255).astype(np.uint8)


def object_shot(frames: int = 24) -> np.ndarray:
    """A still scene that a large object crosses in a few frames."""
    video = shot(1, frames, 0.0)
    for t in range(frames):
        x = 24 * (t - 6)
        if -60 < x < W:
            video[t, 10:80, max(0, x) : max(0, x + 60)] = (220, 40, 40)
    return video


def with_flash(length: int, value: int = 250) -> np.ndarray:
    video = shot(2, 24)
    video[10 : 10 + length] = value
    return video


def brightness(curve: np.ndarray) -> np.ndarray:
    video = shot(3, len(curve)).astype(np.float32) * curve[:, None, None, None]
    return np.clip(video, 0, 255).astype(np.uint8)


def dissolve() -> np.ndarray:
    weight = np.clip((np.arange(36) - 8) / 20, 0, 1)[:, None, None, None]
    return (shot(4, 36) * (1 - weight) + shot(5, 36) * weight).astype(np.uint8)


def test_concatenated_shots() -> None:
    video = np.concatenate([shot(seed, 10 + seed) for seed in range(6)])
    assert find_cuts(video) == [10, 21, 33, 46, 60]


@pytest.mark.parametrize("seed", range(0, 60, 10))
def test_every_pair(seed: int) -> None:
    assert find_cuts(np.concatenate([shot(seed, 9), shot(seed + 1, 9, 3.0)])) == [9]


NO_CUTS: dict[str, Callable[[], np.ndarray]] = {
    "one frame": lambda: shot(0, 1),
    "two frames": lambda: shot(0, 2),
    "still": lambda: np.repeat(shot(0, 1), 20, 0),
    "black": lambda: np.zeros((20, H, W, 3), np.uint8),
    "noise on black": lambda: np.random.default_rng(0).integers(0, 6, (20, H, W, 3), np.uint8),
    "slow pan": lambda: shot(0, 30, 1.0),
    "fast pan": lambda: shot(0, 30, 20.0),
    "pan beyond reach": lambda: shot(0, 12, 60.0),
    "object": object_shot,
    "flash of one frame": lambda: with_flash(1),
    "flash of three frames": lambda: with_flash(3),
    "black frames": lambda: with_flash(2, 0),
    "light goes on": lambda: brightness(np.where(np.arange(24) < 12, 0.5, 1.1)),
    "fade out": lambda: brightness(np.linspace(1, 0, 24)),
    "fast fade in": lambda: brightness(np.clip(np.arange(24) / 12, 0, 1)),
    "dissolve": dissolve,
    "repeated frames": lambda: np.repeat(shot(0, 12, 8.0), 3, 0),
}


@pytest.mark.parametrize("name", NO_CUTS)
def test_no_cuts(name: str) -> None:
    assert find_cuts(NO_CUTS[name]()) == []


def test_cut_beside_the_ends() -> None:
    first, second = shot(10, 12), shot(11, 12)
    assert find_cuts(np.concatenate([first[:1], second[:1]])) == [1]
    assert find_cuts(np.concatenate([first, second[:2]])) == [12]
    assert find_cuts(np.concatenate([first[:2], second])) == [2]


def test_cut_to_a_still_and_to_black() -> None:
    assert find_cuts(np.concatenate([shot(7, 12), np.repeat(shot(8, 1), 12, 0)])) == [12]
    assert find_cuts(np.concatenate([shot(7, 12), np.zeros((12, H, W, 3), np.uint8)])) == [12]


def test_flash_at_a_cut() -> None:
    video = np.concatenate([shot(2, 14), shot(3, 14)])
    video[5] = 250
    assert find_cuts(video) == [14]


def test_tiny_and_narrow_frames() -> None:
    assert find_cuts(np.zeros((3, 1, 1, 3), np.uint8)) == []
    assert find_cuts(np.concatenate([shot(0, 8), shot(1, 8)])[:, :, :7]) in ([], [8])
    assert find_cuts(np.concatenate([shot(0, 8), shot(1, 8)])[:, :, :40]) == [8]


def test_progress_and_bad_input() -> None:
    seen: list[tuple[str, int, int]] = []
    find_cuts(shot(0, 40), progress=lambda *step: seen.append(step))
    assert seen[-1] == ("cuts", 40, 40) and [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    for threshold in (0.0, 1.0, float("nan")):
        with pytest.raises(InputError, match="threshold"):
            find_cuts(shot(0, 2), threshold=threshold)
    with pytest.raises(ShapeError):
        find_cuts(np.zeros((2, 3), np.uint8))
