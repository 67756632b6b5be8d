"""Pixel conventions: resizing, windows (crops), sampling.

A point is (x, y) with pixel centres at half-integers: the frame spans [0, W] x [0, H]. Resizing a frame from
(h, w) to (h2, w2) therefore maps x to x * w2 / w with no half-pixel terms, and a window whose first column is
x0 maps x to x - x0.
"""

from __future__ import annotations

from typing import overload

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trackime.arrays import FloatArray, IntArray
from trackime.errors import InputError, ShapeError


@overload
def scale_points(xy: FloatArray, size: tuple[int, int], new_size: tuple[int, int]) -> FloatArray: ...
@overload
def scale_points(xy: Tensor, size: tuple[int, int], new_size: tuple[int, int]) -> Tensor: ...
def scale_points(xy: FloatArray | Tensor, size: tuple[int, int], new_size: tuple[int, int]) -> FloatArray | Tensor:
    """Points [..., 2] of a frame of `size` (h, w), in the same frame resized to `new_size` (h, w)."""
    (h, w), (h2, w2) = size, new_size
    if isinstance(xy, Tensor):
        return xy * torch.tensor([w2 / w, h2 / h], dtype=torch.result_type(xy, 1.0), device=xy.device)
    return xy * np.array([w2 / w, h2 / h], dtype=np.result_type(xy.dtype, np.float32))


def resize_frames(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Frames [..., 3, h, w] resized to `size` (h, w), antialiased where they shrink.

    Returns the argument itself when it has that size already.
    """
    if frames.shape[-2:] == size:
        return frames
    flat = frames.reshape(-1, *frames.shape[-3:])
    out = F.interpolate(flat, size, mode="bilinear", align_corners=False, antialias=True)
    return out.reshape(*frames.shape[:-2], *size)


def sample(maps: Tensor, xy: Tensor, padding: str = "border") -> Tensor:
    """Bilinear values of maps at points.

    Args:
        maps: [B, C, h, w].
        xy: [B, N, 2] in pixels of `maps`.
        padding: values outside, as torch's grid_sample: "border" or "zeros".

    Returns:
        [B, N, C].

    Raises:
        ShapeError: ranks or batch sizes that do not agree.
    """
    if maps.ndim != 4 or xy.ndim != 3 or xy.shape[-1] != 2 or len(maps) != len(xy):
        raise ShapeError("xy", f"[{len(maps)}, N, 2] with maps [B, C, h, w]", xy.shape)
    h, w = maps.shape[-2:]
    # align_corners=False puts -1 and 1 on the frame's edges: exactly our [0, w] x [0, h].
    grid = xy * 2 / xy.new_tensor([w, h]) - 1
    out = F.grid_sample(maps, grid[:, None].to(maps.dtype), padding_mode=padding, align_corners=False)
    return out[:, :, 0].transpose(1, 2)


def window_offsets(centres: FloatArray, size: tuple[int, int], frame: tuple[int, int]) -> IntArray:
    """First pixel (x0, y0) of windows centred on points: x0 = clip(floor(cx - w/2 + 0.5), 0, W - w).

    Whole pixels, inside the frame, so that cutting a window resamples nothing.

    Args:
        centres: [..., 2] (x, y) pixels.
        size: the window's (h, w).
        frame: the frame's (H, W).

    Returns:
        int64 [..., 2] (x0, y0).

    Raises:
        InputError: a window larger than the frame.
    """
    (h, w), (frame_h, frame_w) = size, frame
    if h > frame_h or w > frame_w or h < 1 or w < 1:
        raise InputError(f"window: expected (h, w) within the frame {(frame_h, frame_w)}, got {(h, w)}")
    half = np.array([w, h]) / 2
    last = np.array([frame_w - w, frame_h - h])
    first = np.floor(np.asarray(centres, dtype=np.float64) - half + 0.5)
    return np.clip(first, 0, last).astype(np.int64)


def cut_windows(frames: Tensor, offsets: IntArray, size: tuple[int, int]) -> Tensor:
    """One window of each frame, moving with `offsets`.

    Args:
        frames: [T, 3, H, W].
        offsets: int [T, 2] (x0, y0), inside the frame.
        size: the windows' (h, w).

    Returns:
        [T, 3, h, w], a copy.
    """
    h, w = size
    return torch.stack([f[:, y0 : y0 + h, x0 : x0 + w] for f, (x0, y0) in zip(frames, offsets.tolist(), strict=True)])


def to_torch(frames: np.ndarray, device: str | torch.device = "cpu") -> Tensor:
    """uint8 frames [T, H, W, 3] as float [T, 3, H, W] in [0, 1] on `device`."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ShapeError("frames", "uint8 [T, H, W, 3]", frames.shape)
    # Bytes are transferred and converted on the device: a quarter of the transfer.
    tensor = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
    return tensor.permute(0, 3, 1, 2).to(torch.float32).div_(255)
