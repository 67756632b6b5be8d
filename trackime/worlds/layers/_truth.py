"""Exact ground truth of a layered world, from the maps it is rendered with."""

from __future__ import annotations

import numpy as np
import torch

from trackime.arrays import BoolArray, FloatArray, IntArray, blocks, inside
from trackime.worlds.layers._layer import LayerStack

_CHUNK = 1 << 20
"""Point-frames processed at a time: bounds memory for long worlds."""


def find_layer(stack: LayerStack, xy: FloatArray, t: IntArray) -> tuple[IntArray, FloatArray]:
    """Layer visible at points, and where on it.

    Args:
        stack: the layers.
        xy: [N, 2] frame pixels.
        t: [N] frames.

    Returns:
        Layer index int64 [N] (0 the background), its own coordinates float64 [N, 2].
    """
    points = torch.as_tensor(np.asarray(xy, dtype=np.float64))
    best = np.full(len(points), -1)
    owner, uv = np.zeros(len(points), np.int64), np.zeros((len(points), 2))
    for index, layer in enumerate(stack.layers):
        local = layer.pose(t, torch.float64, "cpu").inverse(points)
        wins = (layer.cover(local) > 0).numpy() & (stack.rank[t, index] > best)
        owner[wins], uv[wins], best[wins] = index, local.numpy()[wins], stack.rank[t, index][wins]
    return owner, uv


def follow(stack: LayerStack, ids: IntArray, uv: FloatArray, frames: IntArray) -> tuple[FloatArray, BoolArray]:
    """Points of layers, at some frames.

    Args:
        stack: the layers.
        ids: [N] layer indices.
        uv: float64 [N, 2], the layers' own coordinates.
        frames: [T] frame indices.

    Returns:
        float64 [N, T, 2] frame pixels, bool [N, T] whether each is visible: within the frame and behind no nearer
        layer.
    """
    count = len(frames)
    xy = np.zeros((len(ids), count, 2))
    visible = np.zeros((len(ids), count), bool)
    step = max(1, _CHUNK // max(1, count))
    for rows in blocks(len(ids), step):
        xy[rows], visible[rows] = _follow_chunk(stack, ids[rows], uv[rows], frames)
    return xy, visible


def _follow_chunk(stack: LayerStack, ids: IntArray, uv: FloatArray, frames: IntArray) -> tuple[FloatArray, BoolArray]:
    xy = np.zeros((len(ids), len(frames), 2))
    poses = [layer.pose(frames, torch.float64, "cpu") for layer in stack.layers]
    for index in np.unique(ids).tolist():
        rows = ids == index
        xy[rows] = poses[index].forward(torch.as_tensor(uv[rows])[:, None]).numpy()
    visible = inside(xy, (stack.info.height, stack.info.width))
    own = stack.rank[frames][:, ids].T  # [N, T]
    points = torch.from_numpy(xy)
    for index, layer in enumerate(stack.layers):
        nearer = visible & (stack.rank[frames, index][None] > own)
        if layer.distance is None or not nearer.any():
            continue
        covered = (layer.cover(poses[index].inverse(points)) > 0).numpy()
        visible &= ~(nearer & covered)
    return xy, visible
