"""Pixels of a world: layers over one another, back to front, each within its own bounding box."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from trackime.worlds.layers.world import World


def pixel_centres(box: tuple[int, int, int, int], device: str | torch.device) -> Tensor:
    """Centres (x, y) of the pixels of x0, y0, x1, y1: float32 [h, w, 2]."""
    x0, y0, x1, y1 = box
    y, x = torch.meshgrid(
        torch.arange(y0, y1, dtype=torch.float32, device=device) + 0.5,
        torch.arange(x0, x1, dtype=torch.float32, device=device) + 0.5,
        indexing="ij",
    )
    return torch.stack([x, y], -1)


def _render_sharp(world: World, t: float) -> Tensor:
    """The scene at one instant (fractional t: between frames), without noise: float [3, H, W] in about [0, 1]."""
    width, height = world.info.width, world.info.height
    frame = torch.zeros(3, height, width, device=world.device)
    whole = round(t)
    for index in np.argsort(world.rank[whole]).tolist():
        layer = world.layers[index]
        box = layer.bounds(t, width, height)
        x0, y0, x1, y1 = box
        if x1 <= x0 or y1 <= y0:
            continue
        uv = layer.pose(t, torch.float32, world.device).inverse(pixel_centres(box, world.device))
        scale = layer.scale(t, (width / 2, height / 2))
        colour = layer.colour(uv, scale) * float(layer.gain[whole])
        if layer.distance is None:
            frame[:, y0:y1, x0:x1] = colour
        else:
            # Alpha is one half exactly on the edge, and runs from 0 to 1 over one pixel of the frame.
            alpha = (layer.cover(uv) * scale + 0.5).clamp(0, 1)
            frame[:, y0:y1, x0:x1].lerp_(colour, alpha)
    return frame * float(world.exposure[whole])


def render_frame(world: World, t: int) -> np.ndarray:
    """Frame t as the camera saw it: motion blur, sensor noise, uint8 [H, W, 3]."""
    if world.options.blur > 0:
        times = _shutter(world, t)
        frame = torch.stack([_render_sharp(world, time) for time in times]).mean(0)
    else:
        frame = _render_sharp(world, t)
    return develop(frame, world.seed, t, world.options.noise)


def develop(frame: Tensor, seed: int, t: int, noise: float) -> np.ndarray:
    """A frame [3, H, W] in about [0, 1] with sensor noise of standard deviation `noise`: uint8 [H, W, 3]."""
    if noise > 0:
        # The noise of a frame depends on the seed and its number alone, not on which frames were rendered before.
        state = int(np.random.SeedSequence([seed, 7, t]).generate_state(1)[0])
        generator = torch.Generator().manual_seed(state)
        frame = frame + noise * torch.randn(frame.shape, generator=generator).to(frame.device)
    out: np.ndarray = (frame * 255 + 0.5).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    return out


def _shutter(world: World, t: int) -> list[float]:
    """Instants within the open shutter, centred on t: about one for every 1.5 pixels of the fastest layer's motion."""
    last = world.info.frames - 1
    half = world.options.blur / 2
    middle = np.array([world.info.width / 2, world.info.height / 2, 1.0])
    fastest = 0.0
    for layer in world.layers:
        a, b = layer.matrices[max(t - 1, 0)], layer.matrices[min(t + 1, last)]
        anchor = np.linalg.inv(a) @ middle if layer.distance is None else np.array([0.0, 0.0, 1.0])
        p, q = a @ anchor, b @ anchor
        fastest = max(fastest, float(np.abs(p[:2] / p[2] - q[:2] / q[2]).max()) / 2)
    count = int(np.clip(math.ceil(fastest * world.options.blur / 1.5), 3, 15))
    return [float(np.clip(t + half * k, 0, last)) for k in np.linspace(-1, 1, count)]


def render_mask(world: World, t: int) -> np.ndarray:
    """Which layer owns each pixel centre of frame t: uint8 [H, W], 0 the background."""
    width, height = world.info.width, world.info.height
    owner = torch.zeros(height, width, dtype=torch.uint8, device=world.device)
    for index in np.argsort(world.rank[t]).tolist():
        layer = world.layers[index]
        box = layer.bounds(t, width, height)
        x0, y0, x1, y1 = box
        if layer.distance is None or x1 <= x0 or y1 <= y0:
            continue
        uv = layer.pose(t, torch.float32, world.device).inverse(pixel_centres(box, world.device))
        owner[y0:y1, x0:x1][layer.cover(uv) > 0] = index
    out: np.ndarray = owner.cpu().numpy()
    return out
