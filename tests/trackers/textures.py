"""Videos of random texture whose motion is known exactly."""

from __future__ import annotations

import cv2
import numpy as np
from torch import Tensor

from trackime.geometry import to_torch

H, W, T = 96, 128, 9


def texture(seed: int, height: int, width: int) -> np.ndarray:
    """uint8 [height, width, 3] with detail at several scales."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.float32)
    for sigma in (1.5, 4, 10):
        layer = cv2.GaussianBlur(rng.normal(size=image.shape).astype(np.float32), (0, 0), sigma)
        image += layer / layer.std()
    return np.clip(128 + 30 * image, 0, 255).astype(np.uint8)


def shifting(dx: int, dy: int, frames: int = T, height: int = H, width: int = W, seed: int = 0) -> Tensor:
    """[1, frames, 3, height, width]: a texture that moves by (dx, dy) a frame, exactly."""
    margin_x, margin_y = abs(dx) * frames, abs(dy) * frames
    big = texture(seed, height + 2 * margin_y, width + 2 * margin_x)
    views = [
        big[margin_y - t * dy : margin_y - t * dy + height, margin_x - t * dx : margin_x - t * dx + width]
        for t in range(frames)
    ]
    return to_torch(np.stack(views))[None]


def covered(frames: int = T, seed: int = 3) -> Tensor:
    """[1, frames, 3, H, W]: a moving texture with a square that passes over it: points get lost and come back."""
    video = shifting(1, 0, frames, seed=seed).clone()
    square = to_torch(texture(seed + 1, 40, 40)[None])[0]
    for t in range(frames):
        x = 6 * t
        video[0, t, :, 20:60, x : x + 40] = square[:, :, : max(0, min(40, W - x))]
    return video
