"""`make_world`: random scenes from a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.random import Generator

from trackime.arrays import FloatArray, IntArray
from trackime.errors import InputError
from trackime.types import VideoInfo
from trackime.worlds import _textures as textures
from trackime.worlds._options import check_whole
from trackime.worlds.layers import _shapes as shapes
from trackime.worlds.layers._layer import Layer, mip_levels
from trackime.worlds.layers.options import WorldOptions
from trackime.worlds.layers.world import World
from trackime.worlds.motion import SPREAD, Warp, camera, curve, similarity, wander

_MAX_TEXELS = 24_000_000
"""Largest background texture; a plane that needs more gets a coarser one."""

_MAX_OBJECTS = 255
"""Masks are uint8."""


@dataclass(frozen=True, eq=False)
class _ObjectPlan:
    """An object before it is made: its half-size at scale 1 in pixels, path [T, 2] and scale [T]."""

    radius: float
    path: FloatArray
    scale: FloatArray


def make_world(
    seed: int = 0,
    width: int = 320,
    height: int = 240,
    frames: int = 24,
    objects: int = 4,
    device: str | torch.device = "cpu",
    **options: Any,
) -> World:
    """A random scene: a large textured plane under a moving camera, and objects moving in front of it.

    The scene depends on the seed, the size, the length and the options alone; the device only renders it (frames
    differ between devices by rounding).

    Args:
        seed: 0 or more.
        width: frame width in pixels, 8 or more.
        height: frame height in pixels, 8 or more.
        frames: length T, 1 or more.
        objects: how many, 0 to 255.
        device: where to render.
        options: fields of `WorldOptions`.

    Raises:
        InputError: a value outside those, an option that does not exist.
    """
    check_whole(seed=(seed, 0), width=(width, 8), height=(height, 8), frames=(frames, 1), objects=(objects, 0))
    if objects > _MAX_OBJECTS:
        raise InputError(f"objects: expected at most {_MAX_OBJECTS}, got {objects}")
    chosen = WorldOptions.make(**options)
    target = torch.device(device)
    info = VideoInfo.regular(width, height, frames, chosen.fps, f"world {seed}")
    rng = np.random.default_rng([seed, 0])
    hue = float(rng.random())
    shake = _shake(rng, info, chosen)
    ground_palette = textures.make_palette(rng, hue, saturation=0.35)
    ground_kind = str(rng.choice(textures.KINDS))
    background = _background(np.random.default_rng([seed, 1]), info, chosen, ground_kind, ground_palette, shake, target)
    plans = _plan(np.random.default_rng([seed, 2]), info, objects, chosen)
    layers = [background]
    for k, plan in enumerate(plans):
        maker = np.random.default_rng([seed, 3, k])
        if maker.random() < chosen.camouflage:
            kind, palette = ground_kind, ground_palette
        else:
            # Hues spread around the circle, none within a tenth of the background's.
            away = 0.15 + 0.7 * (((k + 0.5) * 0.618034) % 1.0)
            palette = textures.make_palette(maker, hue + away, saturation=0.62)
            kind = str(maker.choice([name for name in textures.KINDS if name != ground_kind]))
        if maker.random() < chosen.low_texture:
            kind = "smooth"
        layers.append(_object(maker, plan, chosen, kind, palette, shake, target))
    exposure = 1 + 0.6 * chosen.shading * curve(rng, frames)
    rank = _depth_order(rng, plans, frames, chosen)
    return World(info, int(seed), chosen, tuple(layers), rank, exposure, target)


def _pixel_scale(info: VideoInfo) -> float:
    """Pixels of this frame per pixel of a 256 x 256 one."""
    return math.sqrt(info.width * info.height) / 256


def _shake(rng: Generator, info: VideoInfo, options: WorldOptions) -> FloatArray:
    """Translations [T, 3, 3] that jitter everything in the frame alike."""
    out = np.tile(np.eye(3), (info.frames, 1, 1))
    jitter = np.stack([curve(rng, info.frames, 7.0), curve(rng, info.frames, 7.0)], 1)
    out[:, :2, 2] = 2 * options.shake * _pixel_scale(info) * jitter
    return out


def _background(
    rng: Generator,
    info: VideoInfo,
    options: WorldOptions,
    kind: str,
    palette: FloatArray,
    shake: FloatArray,
    device: torch.device,
) -> Layer:
    width, height, frames = info.width, info.height, info.frames
    speed = 0.5 * options.speed * _pixel_scale(info) * math.exp(rng.normal(0, 0.5))
    matrices = shake @ camera(rng, frames, width, height, speed, options.camera)
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], float)
    seen = np.einsum("tij,cj->tci", np.linalg.inv(matrices), corners)
    seen = (seen[..., :2] / seen[..., 2:]).reshape(-1, 2)
    low, high = seen.min(0) - 2, seen.max(0) + 2
    texels = min(1.0, math.sqrt(_MAX_TEXELS / float(np.prod(high - low))))
    columns, rows = (8 * math.ceil(v * texels / 8) for v in (high - low))
    grain = min(width, height) * rng.uniform(0.07, 0.14) * texels
    image = textures.make_texture(rng, kind, rows, columns, grain, palette)
    extent = (low[0], low[1], low[0] + columns / texels, low[1] + rows / texels)
    mips = tuple(m.to(device) for m in mip_levels(torch.from_numpy(image)))
    return Layer(matrices, Warp.none(frames), extent, mips, None, np.ones(frames))


def _plan(rng: Generator, info: VideoInfo, objects: int, options: WorldOptions) -> list[_ObjectPlan]:
    """Sizes, paths and scales of all objects; some paths are led across an earlier object's."""
    width, height, frames = info.width, info.height, info.frames
    short = min(width, height)
    plans: list[_ObjectPlan] = []
    for _ in range(objects):
        radius = short * rng.uniform(*options.size) / 2
        # Half the range to either side of scale 1: from the least to the largest is at most `zoom`.
        scale = np.exp(math.log(options.zoom) / 2 * rng.uniform(0.2, 1) * curve(rng, frames))
        between = options.speed * math.exp(rng.normal(0, SPREAD))
        speed = min(between * _pixel_scale(info), 0.15 * short)
        margin = -1.6 * radius if rng.random() < options.leaving else min(0.6 * radius, 0.25 * short)
        box = (margin, margin, width - margin, height - margin)
        t = int(rng.integers(frames))
        place = rng.uniform([0.1 * width, 0.1 * height], [0.9 * width, 0.9 * height])
        if plans and rng.random() < options.occlusion:
            other = plans[int(rng.integers(len(plans)))].path[t]
            place = np.clip(other, [0.1 * width, 0.1 * height], [0.9 * width, 0.9 * height])
        path = wander(rng, frames, speed, (t, place), box, bool(rng.random() < options.jerky))
        plans.append(_ObjectPlan(radius, path, scale))
    return plans


def _object(
    rng: Generator,
    plan: _ObjectPlan,
    options: WorldOptions,
    kind: str,
    palette: FloatArray,
    shake: FloatArray,
    device: torch.device,
) -> Layer:
    frames = len(plan.scale)
    angle = math.radians(options.turn) * rng.uniform(0.2, 1) * curve(rng, frames)
    aspect = np.exp(0.08 * curve(rng, frames)) if options.turn else np.ones(frames)
    matrices = shake @ similarity(plan.path, plan.radius * plan.scale, angle, aspect)
    bends = rng.random() < options.nonrigid
    warp = Warp.random(rng, frames) if bends else Warp.none(frames)
    reach = 1.1
    # One texel per pixel where the object is largest; small ones get more, for the sake of their outline.
    side = 8 * math.ceil(max(2 * reach * plan.radius * float(plan.scale.max()), 64) / 8)
    v, u = (np.mgrid[:side, :side] + 0.5) * (2 * reach / side) - reach
    distance = shapes.make_shape(rng, str(rng.choice(shapes.KINDS)), u, v)
    image = textures.make_texture(rng, kind, side, side, side * rng.uniform(0.1, 0.2), palette)
    # Darker towards the edge, as round things are.
    image = image * (0.72 + 0.28 * np.clip(distance / 0.16, 0, 1))
    gain = 1 + options.shading * curve(rng, frames)
    mips = tuple(m.to(device) for m in mip_levels(torch.from_numpy(image.astype(np.float32))))
    field = torch.from_numpy(distance)[None, None].to(device)
    return Layer(matrices, warp, (-reach, -reach, reach, reach), mips, field, gain)


def _depth_order(rng: Generator, plans: list[_ObjectPlan], frames: int, options: WorldOptions) -> IntArray:
    """Nearness [T, K + 1]: a random order; now and then two objects that do not overlap change places."""
    count = len(plans)
    order = rng.permutation(count) + 1
    occasions = set(np.linspace(0, frames, 8, dtype=int)[1:-1].tolist())
    rows = []
    for t in range(frames):
        if t in occasions and count > 1 and rng.random() < options.depth_swaps:
            a, b = rng.choice(count, 2, replace=False)
            gap = np.linalg.norm(plans[a].path[t] - plans[b].path[t])
            apart = 1.2 * (plans[a].radius * plans[a].scale[t] + plans[b].radius * plans[b].scale[t])
            if gap > apart:
                order[[a, b]] = order[[b, a]]
        rows.append(np.concatenate([[0], order]))
    return np.stack(rows)
