"""Test doubles of the contracts: a tracker and a segmenter that know the truth from the pixels alone.

`ramp_video` writes each pixel's own column and row (and the frame's index) into its colour, so that a tracker
shown a window can tell where the window is, and a test can check every offset on the way.
"""

from __future__ import annotations

import os

# Before torch is loaded: one thread a process, and in the processes that tests start, whatever runs them in parallel.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from trackime.segmenters import PointSegmenter
from trackime.trackers import Features, PointTracker

# Frames here are small: threads cost more than they bring.
torch.set_num_threads(1)
cv2.setNumThreads(1)


def ramp_video(width: int = 120, height: int = 90, frames: int = 10) -> np.ndarray:
    """uint8 [T, H, W, 3]: red is the column, green the row, blue the frame."""
    video = np.zeros((frames, height, width, 3), np.uint8)
    video[..., 0] = np.arange(width)
    video[..., 1] = np.arange(height)[:, None]
    video[..., 2] = np.arange(frames)[:, None, None]
    return video


class RampTracker(PointTracker):
    """Follows p(t) = p + velocity (t - t_q) on a ramp video, with errors a test can switch on.

    Args:
        velocity: pixels a frame.
        bias: added to positions in the full frame, away from the query frame; windows see better.
        hidden: frames in which points cannot be seen.
    """

    name = "ramp"

    def __init__(
        self,
        velocity: tuple[float, float] = (1.0, 0.5),
        bias: float = 0.0,
        hidden: tuple[int, ...] = (),
        full: tuple[int, int] = (90, 120),
        input_size: tuple[int, int] | None = (32, 32),
        memory: int | None = None,
    ) -> None:
        self.velocity, self.bias, self.hidden, self.full = torch.tensor(velocity), bias, hidden, full
        self.input_size, self.memory = input_size, memory

    def encode(self, frames: Tensor) -> Features:
        if self.memory is not None and frames.shape[1] > self.memory:
            raise torch.OutOfMemoryError("too many frames")
        return Features({"corner": frames[..., 0, 0].mul(255).round()}, (frames.shape[-2], frames.shape[-1]))

    def open(self, queries: Tensor, size: tuple[int, int]) -> Any:
        return {"queries": queries, "size": size, "step": 0, "origin": torch.zeros(*queries.shape[:2], 3)}

    def advance(self, state: Any, features: Features) -> tuple[Tensor, Tensor, Any]:
        q, corner = state["queries"], features.data["corner"]  # [B, N, 3], [B, T, 3]
        origin, xy, vis = state["origin"].clone(), [], []
        for k in range(features.frames):
            step = state["step"] + k
            at = q[..., 2] == step
            full = torch.cat([q[..., :2] + corner[:, k, None, :2], corner[:, k, None, 2:].expand(*at.shape, 1)], -1)
            origin = torch.where(at[..., None], full, origin)
            elapsed = corner[:, k, None, 2:] - origin[..., 2:]
            error = self.bias if state["size"] == self.full else 0.0
            place = origin[..., :2] + elapsed * self.velocity + error * (elapsed != 0) - corner[:, k, None, :2]
            seen = (q[..., 2] <= step) & ~torch.isin(corner[:, k, None, 2], torch.tensor(self.hidden))
            xy.append(torch.where((q[..., 2] <= step)[..., None], place, q[..., :2]))
            vis.append(seen.float())
        state = {**state, "step": state["step"] + features.frames, "origin": origin}
        return torch.stack(xy, 2), torch.stack(vis, 2), state


class HalfPlanes(PointSegmenter):
    """The frame is two objects, left and right of a column; a prompt gets its own half."""

    name = "halves"

    def __init__(self, column: int = 60, shares_masks: bool = False) -> None:
        self.column, self.shares_masks, self.calls = column, shares_masks, 0

    def encode(self, frame: Tensor) -> Any:
        return frame.shape[-2:]

    def decode(
        self, embedding: Any, points: Tensor, labels: Tensor, boxes: Tensor | None = None, prior: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        self.calls += 1
        left = (torch.arange(embedding[1]) < self.column).expand(*embedding)
        own = torch.where((points[:, 0, 0] < self.column)[:, None, None], left, ~left)
        return own * 16.0 - 8.0, torch.ones(len(points))


@pytest.fixture
def ramp() -> np.ndarray:
    """A ramp video [10, 90, 120, 3]."""
    return ramp_video()
