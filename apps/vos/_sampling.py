"""Query points sampled from masks: on objects, spread or on corners, and around them."""

from __future__ import annotations

import cv2
import numpy as np

from trackime.arrays import BoolArray, FloatArray, IntArray, UInt8
from trackime.errors import InputError, ShapeError
from trackime.types import Queries

from .config import VosConfig
from .prompts import object_ids

BACKGROUND = 0
"""The instance of points that lie on no object."""

_FEWEST = 4
"""Points wanted even on the smallest object."""


def sample_objects(ids: IntArray, t: int, config: VosConfig, frame: UInt8) -> Queries:
    """`config.points` points on every object of an id mask, fewer on small ones; their instance is the object's id.

    Args:
        ids: [H, W], 0 background, 255 void.
        t: the frame the mask belongs to.
        config: how many and which.
        frame: uint8 [H, W, 3], for corners.
    """
    if ids.ndim != 2 or frame.shape[:2] != ids.shape:
        raise ShapeError("ids", f"[{frame.shape[0]}, {frame.shape[1]}]", ids.shape)
    parts = []
    for k in object_ids(ids):
        mask = ids == k
        # Points nearer than four pixels to each other are redundant.
        count = min(config.points, max(_FEWEST, int(mask.sum()) // 16))
        xy = sample_mask(mask, count, config.strategy, frame, config.seed + k)
        parts.append(queries_at(xy, t, k))
    return Queries.concat(parts)


def sample_background(ids: IntArray, t: int, config: VosConfig) -> Queries:
    """`config.negatives` points around every object of an id mask, on no object; instance 0."""
    parts = []
    for k in object_ids(ids):
        ring = ring_of(ids == k, config.ring) & (ids == 0)
        parts.append(queries_at(_medoids(ring, config.negatives, config.seed + k), t, BACKGROUND))
    return Queries.concat(parts)


def queries_at(xy: FloatArray, t: int, instance: int) -> Queries:
    """Queries of one instance at points [N, 2] of frame t."""
    return Queries(np.concatenate([xy, np.full((len(xy), 1), t)], 1), np.full(len(xy), instance))


def sample_mask(
    mask: BoolArray, count: int, strategy: str = "mixed", frame: UInt8 | None = None, seed: int = 0
) -> FloatArray:
    """Up to `count` different pixel centres [n, 2] (x, y) inside a mask, away from its border where it is wide enough.

    Args:
        mask: bool [H, W].
        count: points wanted; a mask with fewer pixels yields them all.
        strategy: see `VosConfig.strategy`.
        frame: uint8 [H, W, 3]; corners need it.
        seed: same seed, same points.

    Raises:
        InputError: an unknown strategy, or corners without a frame.
    """
    if strategy not in ("mixed", "k-medoids", "corners", "random"):
        raise InputError(f"strategy: expected mixed, k-medoids, corners or random, got {strategy!r}")
    if strategy in ("mixed", "corners") and frame is None:
        raise InputError(f"strategy {strategy}: expected a frame to find corners in, got none")
    core = eroded(mask, count)
    if strategy == "random":
        y, x = np.nonzero(core)
        rng = np.random.default_rng(seed)
        pick = np.sort(rng.choice(len(y), min(count, len(y)), replace=False))
        return np.stack([x[pick], y[pick]], 1) + 0.5
    found: FloatArray = np.zeros((0, 2))
    if strategy in ("mixed", "corners") and frame is not None:
        found = _corners(core, count if strategy == "corners" else count // 2, frame)
    # Featureless objects have few corners: the rest is spread.
    return np.concatenate([found, _medoids(core, count - len(found), seed, found)])


def eroded(mask: BoolArray, least: int, share: float = 0.1, most: int = 6) -> BoolArray:
    """The mask without its border: `share` of its size deep, less where fewer than `least` pixels would be left."""
    for depth in range(min(most, int(share * np.sqrt(mask.sum()))), 0, -1):
        padded = np.pad(mask, 1).astype(np.uint8)
        core = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1] > depth
        if core.sum() >= max(1, least):
            return np.asarray(core)
    return mask


def ring_of(mask: BoolArray, share: float) -> BoolArray:
    """Pixels around a mask, from 0.15 to `share` (at least 0.3) of its size away from it."""
    if not mask.any():
        return np.zeros_like(mask)
    distance = cv2.distanceTransform(1 - mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    size = float(np.sqrt(mask.sum()))
    return np.asarray((distance > max(3, 0.15 * size)) & (distance < max(6, max(share, 0.3) * size)))


def _corners(mask: BoolArray, count: int, frame: UInt8) -> FloatArray:
    """Shi-Tomasi corners inside the mask, strongest first and apart from each other."""
    if count < 1 or not mask.any():
        return np.zeros((0, 2))
    grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    apart = max(2.0, 0.6 * float(np.sqrt(mask.sum() / count)))
    found = cv2.goodFeaturesToTrack(grey, count, 0.02, apart, mask=mask.astype(np.uint8))
    if found is None:
        return np.zeros((0, 2))
    return np.asarray(found.reshape(-1, 2) + 0.5, np.float64)  # OpenCV's pixel centres lie on integers


def _medoids(mask: BoolArray, count: int, seed: int, taken: FloatArray | None = None, rounds: int = 5) -> FloatArray:
    """`count` pixels that the mask's pixels are near to: k-medoids, started far from each other and from `taken`.

    Medoids that sit on `taken` points would be wasted, so those take part as clusters that do not move.
    """
    y, x = np.nonzero(mask)
    pixels = np.stack([x, y], 1) + 0.5
    fixed = np.zeros((0, 2)) if taken is None else taken
    rng = np.random.default_rng(seed)
    if len(pixels) > 3000:
        pixels = pixels[np.sort(rng.choice(len(pixels), 3000, replace=False))]
    if len(fixed):
        pixels = pixels[((pixels[:, None] - fixed) ** 2).sum(-1).min(1) > 0.25]
    count = min(count, len(pixels))
    if count < 1:
        return np.zeros((0, 2))
    far = ((pixels[:, None] - fixed) ** 2).sum(-1).min(1) if len(fixed) else np.full(len(pixels), np.inf)
    chosen: list[int] = []
    for _ in range(count):
        chosen.append(int(far.argmax()) if np.isfinite(far).all() else int(rng.integers(len(pixels))))
        far = np.minimum(far, ((pixels - pixels[chosen[-1]]) ** 2).sum(1))
    centres = pixels[chosen]
    for _ in range(rounds):
        nearest = ((pixels[:, None] - np.concatenate([centres, fixed])) ** 2).sum(-1).argmin(1)
        for k in range(count):
            members = pixels[nearest == k]
            if len(members):
                # The member nearest to the mean: a medoid of squared distances, and always on the object.
                centres[k] = members[((members - members.mean(0)) ** 2).sum(1).argmin()]
    return np.asarray(centres)
