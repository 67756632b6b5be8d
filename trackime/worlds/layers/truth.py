"""Exact ground truth of a world, from the maps it is rendered with: tracks, visibility, flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from trackime.arrays import BoolArray, FloatArray, IntArray, inside
from trackime.errors import InputError
from trackime.types import Queries, Tracks

if TYPE_CHECKING:
    from trackime.worlds.layers.world import World
    from trackime.worlds.scene import Scene

_CHUNK = 1 << 20
"""Point-frames worked on at a time: bounds memory for long worlds."""


def find_owner(world: World, xy: FloatArray, t: IntArray) -> tuple[IntArray, FloatArray]:
    """Which layer is seen at points, and where on it.

    Args:
        world: the world.
        xy: [N, 2] frame pixels.
        t: [N] frames.

    Returns:
        Layer index int64 [N] (0 the background), its own coordinates float64 [N, 2].
    """
    points = torch.as_tensor(np.asarray(xy, dtype=np.float64))
    best = np.full(len(points), -1)
    owner, uv = np.zeros(len(points), np.int64), np.zeros((len(points), 2))
    for index, layer in enumerate(world.layers):
        local = layer.pose(t, torch.float64, "cpu").inverse(points)
        wins = (layer.cover(local) > 0).numpy() & (world.rank[t, index] > best)
        owner[wins], uv[wins], best[wins] = index, local.numpy()[wins], world.rank[t, index][wins]
    return owner, uv


def follow(world: World, ids: IntArray, uv: FloatArray, frames: IntArray) -> tuple[FloatArray, BoolArray]:
    """Points of layers, at some frames.

    Args:
        world: the world.
        ids: [N] layer indices.
        uv: float64 [N, 2], the layers' own coordinates.
        frames: [T] frame indices.

    Returns:
        float64 [N, T, 2] frame pixels, bool [N, T] whether each can be seen: within the frame and under no nearer
        layer.
    """
    count = len(frames)
    xy = np.zeros((len(ids), count, 2))
    visible = np.zeros((len(ids), count), bool)
    step = max(1, _CHUNK // max(1, count))
    for first in range(0, len(ids), step):
        rows = slice(first, first + step)
        xy[rows], visible[rows] = _follow_chunk(world, ids[rows], uv[rows], frames)
    return xy, visible


def _follow_chunk(world: World, ids: IntArray, uv: FloatArray, frames: IntArray) -> tuple[FloatArray, BoolArray]:
    xy = np.zeros((len(ids), len(frames), 2))
    poses = [layer.pose(frames, torch.float64, "cpu") for layer in world.layers]
    for index in np.unique(ids).tolist():
        rows = ids == index
        xy[rows] = poses[index].forward(torch.as_tensor(uv[rows])[:, None]).numpy()
    visible = inside(xy, (world.info.height, world.info.width))
    own = world.rank[frames][:, ids].T  # [N, T]
    points = torch.from_numpy(xy)
    for index, layer in enumerate(world.layers):
        nearer = visible & (world.rank[frames, index][None] > own)
        if layer.distance is None or not nearer.any():
            continue
        covered = (layer.cover(poses[index].inverse(points)) > 0).numpy()
        visible &= ~(nearer & covered)
    return xy, visible


def track(world: World, queries: Queries) -> Tracks:
    """The true tracks of any pixels; their instance is the object seen there (0 the background).

    Raises:
        InputError: a query outside the video.
    """
    queries.check(world.info)
    owner, uv = find_owner(world, queries.xy, queries.t)
    xy, visible = follow(world, owner, uv, np.arange(world.info.frames))
    rows = np.arange(len(queries))
    # What was asked for is seen where it was asked for, to the last bit.
    xy[rows, queries.t], visible[rows, queries.t] = queries.xy, True
    return Tracks(xy, visible.astype(np.float32), Queries(queries.xyt, owner), world.info)


def flow(world: World, t0: int, t1: int) -> tuple[FloatArray, BoolArray]:
    """Where each pixel centre of frame t0 goes by frame t1.

    Returns:
        float32 [H, W, 2] displacement (dx, dy), true even where it cannot be seen; bool [H, W] whether it is visible
        in frame t1.

    Raises:
        InputError: no such frame.
    """
    for t in (t0, t1):
        world.check_frame(t)
    h, w = world.info.height, world.info.width
    y, x = np.mgrid[:h, :w] + 0.5
    xy = np.stack([x.ravel(), y.ravel()], 1)
    owner, uv = find_owner(world, xy, np.full(len(xy), t0))
    there, visible = follow(world, owner, uv, np.array([t1]))
    return (there[:, 0] - xy).reshape(h, w, 2).astype(np.float32), visible[:, 0].reshape(h, w)


def _near_edges(mask: IntArray, width: int) -> BoolArray:
    """Pixels with a change of owner within `width` pixels (a square window, by running sums)."""
    edge = np.zeros(mask.shape, np.int32)
    across, along = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= along
    edge[:-1] |= along
    for axis in (0, 1):
        length = mask.shape[axis]
        total = np.insert(np.cumsum(edge, axis), 0, 0, axis)
        k = np.arange(length)
        high, low = np.minimum(k + width, length), np.maximum(k - width + 1, 0)
        edge = (np.take(total, high, axis) - np.take(total, low, axis) > 0).astype(np.int32)
    return edge > 0


def check_sample(
    n: int, seed: int, ids: Sequence[int] | None, edge_share: float, object_share: float, last: int
) -> list[int] | None:
    """The ids asked for, of 0 .. last; see `World.sample`."""
    if n < 0 or seed < 0:
        raise InputError(f"sample: expected n and seed of 0 or more, got n={n}, seed={seed}")
    for name, share in (("edge_share", edge_share), ("object_share", object_share)):
        if not 0 <= share <= 1:
            raise InputError(f"{name}: expected a share of 0 to 1, got {share}")
    chosen = None if ids is None else [int(k) for k in ids]
    if chosen is not None and (not chosen or any(not 0 <= k <= last for k in chosen)):
        raise InputError(f"ids: expected some of 0 .. {last}, got {chosen}")
    return chosen


def sample_queries(
    world: World | Scene,
    n: int,
    seed: int,
    t: int | None,
    ids: list[int] | None,
    edge_share: float,
    object_share: float,
) -> Queries:
    """Random pixels to follow; see `World.sample`."""
    rng = np.random.default_rng([world.seed, 11, seed])
    frames = world.info.frames
    if t is not None:
        world.check_frame(t)
    times = rng.integers(0, frames, n) if t is None else np.full(n, t)
    wanted = None if ids is None else np.asarray(sorted(set(ids)), np.int64)
    parts: list[FloatArray] = []
    missing = 0
    for frame in np.unique(times).tolist():
        need = int((times == frame).sum()) + missing
        found = _pick(world, rng, frame, need, wanted, edge_share, object_share)
        missing = need - len(found)
        parts.append(found)
    # Objects asked for may be out of sight in the frames drawn: look through the others in random order.
    for frame in rng.permutation(frames).tolist() if t is None and missing else []:
        found = _pick(world, rng, frame, missing, wanted, edge_share, object_share)
        parts.append(found)
        missing -= len(found)
        if not missing:
            break
    if missing:
        where = "any frame" if t is None else f"frame {t}"
        raise InputError(f"ids: expected objects seen in {where}, got {ids}: none of them is")
    return Queries(np.concatenate([np.zeros((0, 3)), *parts]))


def _pick(
    world: World | Scene,
    rng: np.random.Generator,
    t: int,
    n: int,
    ids: IntArray | None,
    edge_share: float,
    object_share: float,
) -> FloatArray:
    """n random positions (x, y, t) in frame t, or none when nothing wanted is seen there."""
    mask = world.mask(t)
    wanted = np.ones(mask.shape, bool) if ids is None else np.isin(mask, ids)
    edges = _near_edges(mask, max(1, round(0.012 * min(mask.shape))))
    pools = {
        (thing, edge): np.flatnonzero(wanted & ((mask > 0) == thing) & (edges == edge))
        for thing in (True, False)
        for edge in (True, False)
    }
    out = np.zeros((0, 3))
    if not wanted.any():
        return out
    pixels = []
    for _ in range(n):
        thing, edge = bool(rng.random() < object_share), bool(rng.random() < edge_share)
        for choice in ((thing, edge), (thing, not edge), (not thing, edge), (not thing, not edge)):
            pool = pools[choice]
            if len(pool):
                pixels.append(int(pool[rng.integers(len(pool))]))
                break
    row, column = np.divmod(np.array(pixels, np.int64), mask.shape[1])
    xyt = np.stack([column + 0.5, row + 0.5, np.full(n, float(t))], 1)
    moved = xyt + np.concatenate([rng.uniform(-0.5, 0.5, (n, 2)), np.zeros((n, 1))], 1)
    # A pixel on an edge is shared: its centre is where the mask says, elsewhere in it may not be.
    same = world.owner(moved[:, :2].astype(np.float32), np.full(n, t))[0] == mask[row, column]
    xyt[same] = moved[same]
    return xyt
