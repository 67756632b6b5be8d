"""Pixels of a layered world: layers composited back to front, each within its own bounding box."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from trackime.arrays import UInt8
from trackime.worlds._pixels import develop, pixel_centres
from trackime.worlds.layers._layer import LayerStack


def render_sharp(stack: LayerStack, t: float) -> Tensor:
    """The scene at one instant (fractional t: between frames), without noise: float [3, H, W] in about [0, 1]."""
    width, height = stack.info.width, stack.info.height
    frame = torch.zeros(3, height, width, device=stack.device)
    whole = round(t)
    for index in np.argsort(stack.rank[whole]).tolist():
        layer = stack.layers[index]
        box = layer.bounds(t, width, height)
        x0, y0, x1, y1 = box
        if x1 <= x0 or y1 <= y0:
            continue
        uv = layer.pose(t, torch.float32, stack.device).inverse(pixel_centres(box, stack.device))
        scale = layer.scale(t, (width / 2, height / 2))
        colour = layer.colour(uv, scale) * float(layer.gain[whole])
        if layer.distance is None:
            frame[:, y0:y1, x0:x1] = colour
        else:
            # Alpha is one half exactly on the edge, and runs from 0 to 1 over one pixel of the frame.
            alpha = (layer.cover(uv) * scale + 0.5).clamp(0, 1)
            frame[:, y0:y1, x0:x1].lerp_(colour, alpha)
    return frame * float(stack.exposure[whole])


def render_frame(stack: LayerStack, t: int) -> UInt8:
    """Frame t with motion blur, sensor noise, uint8 [H, W, 3]."""
    if stack.options.blur > 0:
        times = _shutter(stack, t)
        frame = torch.stack([render_sharp(stack, time) for time in times]).mean(0)
    else:
        frame = render_sharp(stack, t)
    return develop(frame, stack.seed, t, stack.options.noise)


def _shutter(stack: LayerStack, t: int) -> list[float]:
    """Instants within the open shutter, centred on t: about one for every 1.5 pixels of the fastest layer's motion."""
    last = stack.info.frames - 1
    half = stack.options.blur / 2
    middle = np.array([stack.info.width / 2, stack.info.height / 2, 1.0])
    fastest = 0.0
    for layer in stack.layers:
        a, b = layer.matrices[max(t - 1, 0)], layer.matrices[min(t + 1, last)]
        anchor = np.linalg.inv(a) @ middle if layer.distance is None else np.array([0.0, 0.0, 1.0])
        p, q = a @ anchor, b @ anchor
        fastest = max(fastest, float(np.abs(p[:2] / p[2] - q[:2] / q[2]).max()) / 2)
    count = int(np.clip(math.ceil(fastest * stack.options.blur / 1.5), 3, 15))
    return [float(np.clip(t + half * k, 0, last)) for k in np.linspace(-1, 1, count)]


def render_mask(stack: LayerStack, t: int) -> UInt8:
    """Index of the layer visible at each pixel centre of frame t: uint8 [H, W], 0 the background."""
    width, height = stack.info.width, stack.info.height
    owner = torch.zeros(height, width, dtype=torch.uint8, device=stack.device)
    for index in np.argsort(stack.rank[t]).tolist():
        layer = stack.layers[index]
        box = layer.bounds(t, width, height)
        x0, y0, x1, y1 = box
        if layer.distance is None or x1 <= x0 or y1 <= y0:
            continue
        uv = layer.pose(t, torch.float32, stack.device).inverse(pixel_centres(box, stack.device))
        owner[y0:y1, x0:x1][layer.cover(uv) > 0] = index
    out: UInt8 = owner.cpu().numpy()
    return out
