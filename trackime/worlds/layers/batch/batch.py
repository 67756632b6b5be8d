"""`make_batch`: clips to train a point tracker with, a whole batch at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from trackime.errors import InputError
from trackime.worlds._options import check_whole
from trackime.worlds.layers.batch import _layers as build_layers
from trackime.worlds.layers.batch import _tiles as tiles
from trackime.worlds.layers.batch import _truth as truth
from trackime.worlds.layers.batch._develop import develop
from trackime.worlds.layers.batch._layers import BatchLayers
from trackime.worlds.layers.batch._plan import BatchPlan, make_plan
from trackime.worlds.layers.batch._points import choose_points
from trackime.worlds.layers.batch._render import render
from trackime.worlds.layers.batch._shade import Shading
from trackime.worlds.layers.batch._surfaces import make_surfaces
from trackime.worlds.layers.batch.options import BatchOptions
from trackime.worlds.layers.batch.pool import TexturePool, default_pool
from trackime.worlds.motion import curves


@dataclass(frozen=True, eq=False)
class Batch:
    """Clips with their ground truth. Positions have the centre of the top-left pixel at (0.5, 0.5).

    Attributes:
        frames: float32 [B, T, 3, H, W] in [0, 1].
        xy: float32 [B, N, T, 2] frame pixels; true where hidden or out of the frame, too.
        visibility: float32 [B, N, T], 0 or 1: within the frame and under no nearer layer.
        query_frame: int64 [B, N], any of the frames in which the point is visible.
        object: int64 [B, N], 0 the background, k object k.
        masks: uint8 [B, T, H, W], the object visible at each pixel centre.
        layers: the scene itself, which flow and owners are computed from.
    """

    frames: Tensor
    xy: Tensor
    visibility: Tensor
    query_frame: Tensor
    object: Tensor
    masks: Tensor
    layers: BatchLayers

    def flow(self, t0: int, t1: int) -> tuple[Tensor, Tensor]:
        """Optical flow from frame t0 to t1.

        Returns:
            float32 [B, 2, H, W] displacement (dx, dy), true even where it cannot be seen; bool [B, H, W] whether it
            is seen in frame t1.

        Raises:
            InputError: no such frame.
        """
        count = self.frames.shape[1]
        for name, t in (("t0", t0), ("t1", t1)):
            if not 0 <= t < count:
                raise InputError(f"{name}: expected 0 .. {count - 1}, got {t}")
        return truth.flow(self.layers, t0, t1)


@torch.no_grad()
def make_batch(
    seed: int,
    batch: int,
    frames: int,
    height: int,
    width: int,
    points: int,
    *,
    options: BatchOptions | None = None,
    pool: TexturePool | None = None,
    device: str | torch.device = "cpu",
) -> Batch:
    """Layered scenes under moving cameras, rendered, with exact tracks.

    The scenes depend on the arguments alone and are the same on every device; frames differ between devices by
    rounding.

    Args:
        seed: 0 or more.
        batch: B, 1 or more clips.
        frames: T, 1 or more.
        height: of the frames in pixels, 16 or more.
        width: likewise.
        points: N, 1 or more tracks per clip.
        options: appearance and motion.
        pool: images and outlines; None: `TexturePool.procedural()`.
        device: where everything is computed.

    Raises:
        InputError: a value outside those.
    """
    check_whole(
        seed=(seed, 0), batch=(batch, 1), frames=(frames, 1), height=(height, 16), width=(width, 16), points=(points, 1)
    )
    chosen = options or BatchOptions()
    target = torch.device(device)
    pool = (pool or default_pool(target)).to(target)
    plan = make_plan(np.random.default_rng([seed, 0]), batch, frames, height, width, chosen)
    scale = build_layers.measure(plan, height, width)
    frame = tiles.lay_out(plan, scale, height, width)
    surfaces = make_surfaces(np.random.default_rng([seed, 1]), plan, frame.size, pool, chosen)
    atlas = tiles.paint(frame, plan, surfaces, pool)
    layers = build_layers.build(plan, frame, scale, atlas, batch, height, width)
    looks = _looks(np.random.default_rng([seed, 2]), plan, batch, height, width, chosen, target)
    image, masks = render(layers, looks)
    image = develop(image, np.random.default_rng([seed, 3]), chosen)
    rng = np.random.default_rng([seed, 4])
    xy, visible, query, thing = choose_points(rng, layers, masks, points, chosen)
    return Batch(image, xy.to(torch.float32), visible.to(torch.float32), query, thing, masks, layers)


def _looks(
    rng: Generator, plan: BatchPlan, batch: int, height: int, width: int, options: BatchOptions, device: torch.device
) -> Shading:
    """Light, focus, shutter and shadows."""
    count, frames = plan.key.shape
    gain = 1 + options.light * rng.uniform(0, 1, (count, 1)) * curves(rng, (count,), frames, 30.0)
    bias = np.where(rng.random(count) < 0.5 * options.defocus, 1, 0)
    shutter = np.where(rng.random(batch) < options.motion_blur, rng.uniform(0.3, 1.0, batch), 0.0)
    unit = math.sqrt(height * width) / 128
    # One light per clip: all its shadows fall to the same side.
    turn = rng.uniform(0, 2 * math.pi, batch)[plan.clip]
    away = unit * rng.uniform(2, 8, count)
    first = np.append(True, (plan.clip[1:] != plan.clip[:-1]) | (plan.thing[1:] != plan.thing[:-1]))
    casts = (plan.thing > 0) & first & (rng.random(count) < options.shadows)
    strength = np.where(casts, rng.uniform(0.15, 0.5, count), 0.0)
    shadow = np.stack([away * np.cos(turn), away * np.sin(turn), rng.uniform(0.05, 0.25, count), strength], 1)

    def tensor(array: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.from_numpy(array).to(device, dtype)

    return Shading(tensor(gain), tensor(bias, torch.int64), tensor(shutter), tensor(shadow))
