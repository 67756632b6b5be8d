"""The layers of a batch of worlds and their poses at every frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from trackime.arrays import BoolArray, FloatArray, IntArray
from trackime.worlds.layers.batch._motion import rotation, wander
from trackime.worlds.layers.batch.options import BatchOptions
from trackime.worlds.motion import curves, fold, plane, similarity

SIGMA = 1.55
"""Sigma of the log-normal speeds of objects, before strides and changes along the path widen it."""


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """All layers of all clips, L in number; a clip's background comes before its objects.

    Attributes:
        clip: int64 [L].
        thing: int64 [L], 0 for a background, else the object that the layer is (a part of), from 1 in every clip.
        key: float64 [L, T], nearness: of two layers of a clip the higher one covers the other.
        matrices: float64 [L, T, 3, 3], from layer coordinates to frame pixels.
        bends: bool [L]; the rows below are zero where it is not.
        angle: float64 [L, 3], frequency [L, 2], amplitude [L, 3, T], phase [L, 3, T]: two waves and a hinge of a
            `trackime.worlds.motion.Warp`.
    """

    clip: IntArray
    thing: IntArray
    key: FloatArray
    matrices: FloatArray
    bends: BoolArray
    angle: FloatArray
    frequency: FloatArray
    amplitude: FloatArray
    phase: FloatArray


def make_plan(rng: Generator, batch: int, frames: int, height: int, width: int, options: BatchOptions) -> BatchPlan:
    """Backgrounds, objects and parts of `batch` clips."""
    scale = math.sqrt(width * height) / 256
    stride = rng.choice(np.asarray(options.strides, float), batch)
    ground, pan, shake = _cameras(rng, stride, frames, height, width, scale, options)
    counts = rng.integers(options.objects[0], options.objects[1] + 1, batch)
    clip, nth = members(counts)
    thing = nth + 1
    path, radius, size, key = _objects(rng, clip, thing, stride, pan, frames, height, width, scale, options)
    body, parts = _bodies(rng, clip, path, radius, size, stride, frames, options)
    body = shake[clip] @ body
    owner, part_matrices, lift = parts
    part_matrices = shake[clip[owner]] @ part_matrices
    matrices = np.concatenate([ground, body, part_matrices])
    clips = np.concatenate([np.arange(batch), clip, clip[owner]])
    things = np.concatenate([np.zeros(batch, np.int64), thing, thing[owner]])
    keys = np.concatenate([np.full((batch, frames), -1.0), key, key[owner] + lift[:, None]])
    jointed = np.isin(np.arange(len(clip)), owner)
    bends = np.zeros(len(clips), bool)
    bends[batch : batch + len(clip)] = (rng.random(len(clip)) < options.nonrigid) & ~jointed
    angle, frequency, amplitude, phase = _warps(rng, bends, frames, stride[clips])
    order = np.lexsort((np.arange(len(clips)), things, clips))
    return BatchPlan(
        clips[order],
        things[order],
        keys[order],
        matrices[order],
        bends[order],
        angle[order],
        frequency[order],
        amplitude[order],
        phase[order],
    )


def members(counts: IntArray) -> tuple[IntArray, IntArray]:
    """Group of each member, and its number in the group from 0, of G groups with `counts` [G] members."""
    group = np.repeat(np.arange(len(counts)), counts)
    return group, np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)


def _cameras(
    rng: Generator, stride: FloatArray, frames: int, height: int, width: int, scale: float, options: BatchOptions
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Backgrounds' matrices [B, T, 3, 3], the cameras' pans [B, T, 2], and shakes [B, T, 3, 3]."""
    batch = len(stride)
    speed = 0.19 * scale * options.speed * options.camera * stride**0.7 * np.exp(rng.normal(0, SIGMA, batch))
    speed = np.minimum(speed, 0.16 * min(width, height))
    half = 0.6 * np.array([width, height])
    box = np.tile(np.concatenate([-half, half]), (batch, 1))
    at = np.full(batch, frames // 2)
    period = np.clip(frames, 16, 60) / stride**0.5
    pan = wander(rng, frames, speed, period, at, np.zeros((batch, 2)), box, rng.random(batch) < 0.1)
    strength = options.camera * 1.5 * rng.random((batch, 1)) ** 2
    zoom = np.exp(0.22 * strength * curves(rng, (batch,), frames, period * 1.5))
    roll = math.radians(8) * strength * curves(rng, (batch,), frames, period * 1.5)
    tilt = 0.12 * strength[..., None] * curves(rng, (batch, 2), frames, 40.0).transpose(0, 2, 1)
    shakes = np.tile(np.eye(3), (batch, frames, 1, 1))
    amount = options.shake * scale * (rng.random((batch, 1, 1)) < 0.5)
    shakes[..., :2, 2] = amount * rng.normal(0, 1, (batch, frames, 2))
    return shakes @ plane(pan, zoom, roll, tilt, width, height), pan, shakes


def _objects(
    rng: Generator,
    clip: IntArray,
    thing: IntArray,
    stride: FloatArray,
    pan: FloatArray,
    frames: int,
    height: int,
    width: int,
    scale: float,
    options: BatchOptions,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Paths [O, T, 2], radii at scale 1 [O], scales [O, T], depth keys [O, T]."""
    count, short = len(clip), min(width, height)
    low, high = (math.log(v) for v in options.size)
    radius = 0.5 * short * np.exp(rng.uniform(low, high, count))
    slow = np.clip(frames, 16, 60) / stride[clip] ** 0.5
    size = np.exp(math.log(options.zoom) / 2 * _seldom(rng, count) * curves(rng, (count,), frames, 45.0))
    speed = 0.31 * scale * options.speed * stride[clip] ** 0.7 * np.exp(rng.normal(0, SIGMA, count))
    speed = np.minimum(speed, 0.25 * short)
    margin = np.where(rng.random(count) < options.leaving, -1.6 * radius, np.minimum(0.6 * radius, 0.25 * short))
    box = np.stack([margin, margin, width - margin, height - margin], 1)
    place = rng.uniform(0.08, 0.92, (count, 2)) * [width, height]
    at = rng.integers(0, frames, count)
    path = wander(rng, frames, speed, slow, at, place, box, rng.random(count) < options.jerky)
    # Things stand in the world that the camera pans over, nearer ones passing faster; or the camera follows them.
    depth = np.where(rng.random(count) < 0.5, rng.uniform(0.8, 1.4, count), 0.0)
    path = path + depth[:, None, None] * pan[clip]
    path = np.stack([fold(path[..., k], box[:, k, None], box[:, k + 2, None]) for k in (0, 1)], -1)
    key = np.tile(rng.random((count, 1)), (1, frames))
    crossing = (rng.random(count) < options.occlusion) & (thing > 1)
    partner = np.arange(count) - np.minimum(rng.integers(1, 4, count), thing - 1)
    for k in np.flatnonzero(crossing):  # in order: a partner's path is final before it is followed
        other = partner[k]
        if thing[k] % 2 == 0 and radius[k] < radius[other]:
            radius[k], size[k] = min(1.3 * radius[other], 0.35 * short), size[other]
        reach = radius[k] + radius[other]
        # So slow past one another that the middle of the other is hidden for 8 to 28 frames.
        pace = 2 * radius[k] / rng.uniform(8, 28) * min(1.0, options.speed)
        along = fold(pace * (np.arange(frames) - at[k]), -1.3 * reach, 1.3 * reach)
        turn, off = rng.uniform(0, 2 * math.pi), rng.normal(0, 0.25) * radius[other]
        path[k] = path[other] + np.outer(along, [math.cos(turn), math.sin(turn)])
        path[k] += [-off * math.sin(turn), off * math.cos(turn)]
        key[k] = key[other] + 1e-3 + (1 - key[other]) * rng.random()
    _swap_depths(rng, clip, path, radius[:, None] * size, key, options)
    return path, radius, size, key


def _seldom(rng: Generator, count: int) -> FloatArray:
    """Shares in [0, 1], float64 [count, 1], most of them small: few objects use their full range of turn or zoom."""
    out: FloatArray = rng.random((count, 1)) ** 1.7
    return out


def _swap_depths(
    rng: Generator, clip: IntArray, path: FloatArray, reach: FloatArray, key: FloatArray, options: BatchOptions
) -> None:
    """In some clips two objects that do not overlap exchange their depth at times."""
    frames = path.shape[1]
    for b in np.unique(clip):
        if rng.random() >= options.depth_swaps or frames < 3:
            continue
        rows = np.flatnonzero(clip == b)
        if len(rows) < 2:
            continue
        for t in np.sort(rng.integers(1, frames, 3)):
            i, j = rng.choice(rows, 2, replace=False)
            if np.linalg.norm(path[i, t] - path[j, t]) > 1.2 * (reach[i, t] + reach[j, t]):
                key[[i, j], t:] = key[[j, i], t:]


def _bodies(
    rng: Generator,
    clip: IntArray,
    path: FloatArray,
    radius: FloatArray,
    size: FloatArray,
    stride: FloatArray,
    frames: int,
    options: BatchOptions,
) -> tuple[FloatArray, tuple[IntArray, FloatArray, FloatArray]]:
    """Objects' matrices [O, T, 3, 3]; their further parts: owner [P], matrices [P, T, 3, 3], lift of the key [P]."""
    count = len(clip)
    turn = math.radians(options.turn) * _seldom(rng, count) * curves(rng, (count,), frames, 60.0)
    rest = rng.uniform(0, 2 * math.pi, (count, 1)) * (rng.random((count, 1)) < 0.6)
    aspect = np.exp(np.clip(rng.normal(0, 0.22, (count, 1)), -0.6, 0.6) + 0.06 * curves(rng, (count,), frames, 30.0))
    base = similarity(path, radius[:, None] * size, turn + rest, aspect if options.turn else np.ones_like(aspect))
    base[..., :, 0] *= np.where(rng.random((count, 1, 1)) < 0.5, -1, 1)
    tilted = (rng.random(count) < options.tilted)[:, None, None]
    lean = np.tile(np.eye(3), (count, frames, 1, 1))
    lean[..., 2, :2] = 0.22 * tilted * curves(rng, (count, 2), frames, 40.0).transpose(0, 2, 1)
    base = base @ lean
    joints = np.where(rng.random(count) < options.articulated, rng.integers(1, 3, count), 0)
    owner, nth = members(joints)
    number = len(owner)
    # A limb's own coordinates: its joint at u = -0.8, on the body's rim or on the limb before it.
    swing = 0.1 + 1.1 * _seldom(rng, number)
    period = np.clip(rng.uniform(16, 50, number) / stride[clip[owner]] ** 0.5, 5, None)
    side = rng.uniform(0, 2 * math.pi, (number, 1))
    angle = side + swing * curves(rng, (number,), frames, period) * min(1.0, options.turn)
    length = rng.uniform(0.5, 0.8, (number, 1))
    thick = length * rng.uniform(0.35, 0.6, (number, 1))
    hold = 0.55 * np.concatenate([np.cos(side), np.sin(side)], 1)
    spread = np.ones((number, frames))
    limb = similarity(
        np.repeat(hold[:, None], frames, 1), spread * np.sqrt(length * thick), angle, spread * np.sqrt(length / thick)
    )
    pivot = np.eye(3)
    pivot[0, 2] = 0.8
    chained = (nth == 1) & (rng.random(number) < 0.5)
    tip = np.eye(3)
    tip[0, 2] = 0.7
    matrices = np.zeros((number, frames, 3, 3))
    for k in range(number):
        if chained[k]:
            # Joined to the end of the limb before; its own proportions, not those of that limb.
            joint = (limb[k - 1] @ pivot @ tip)[..., :2, 2]
            limb[k, :, :2, 2] = joint
            limb[k, :, :2, :2] = rotation(0.6 * (angle[k] - side[k]) + angle[k - 1]) @ np.diag(
                [length[k, 0], thick[k, 0]]
            )
        matrices[k] = base[owner[k]] @ limb[k] @ pivot
    # In front of the body or behind it, all within the gap between two objects.
    lift = 1e-6 * (nth + 1) * np.where(rng.random(number) < 0.6, 1, -1)
    return base, (owner, matrices, lift)


def _warps(
    rng: Generator, bends: BoolArray, frames: int, stride: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Parameters of `Warp.random` for every layer, zero for those that do not bend."""
    count = len(bends)
    first = rng.uniform(0, math.pi, count)
    across = first + math.pi / 2 + rng.normal(0, 0.2, count)
    angle = np.stack([first, across, rng.uniform(0, 2 * math.pi, count)], 1)
    frequency = rng.uniform(2.0, 4.0, (count, 2))
    period = np.clip(frames, 24, 40) / stride**0.5
    amplitude = (
        np.array([[0.1], [0.1], [0.3]])
        * rng.uniform(0.2, 1, (count, 1, 1))
        * curves(rng, (count, 3), frames, period[:, None])
    )
    drift = rng.uniform(0, 6, (count, 2, 1)) + 0.8 * curves(rng, (count, 2), frames, 40.0)
    hinge = np.tile(rng.uniform(0.0, 0.25, (count, 1, 1)), (1, 1, frames))
    amplitude = amplitude * bends[:, None, None]
    return angle, frequency, amplitude, np.concatenate([drift, hinge], 1)
