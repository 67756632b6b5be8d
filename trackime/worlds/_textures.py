"""Procedural textures: detailed enough for tracking at full resolution, and distinct from one another.

Textures are generated on the CPU from one random generator, so that a world is the same on every device.
"""

from __future__ import annotations

import colorsys
import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator

from trackime.arrays import FloatArray

KINDS = ("noise", "leaves", "cells", "stripes", "glyphs")
"""The textures `make_texture` knows, apart from "smooth" (hardly any detail)."""


def make_palette(rng: Generator, hue: float, saturation: float = 0.6, count: int = 5) -> FloatArray:
    """Colours around one hue (0-1), from dark to light: float32 [count, 3] in [0, 1]."""
    colours = []
    for value in np.linspace(0.18, 0.92, count):
        h = (hue + rng.normal(0, 0.045)) % 1.0
        s = float(np.clip(saturation * rng.uniform(0.6, 1.3), 0, 1))
        colours.append(colorsys.hsv_to_rgb(h, s, float(np.clip(value + rng.normal(0, 0.06), 0.08, 0.97))))
    return np.array(colours, dtype=np.float32)


def fractal(rng: Generator, h: int, w: int, coarse: float, fine: float = 2.5, persistence: float = 0.6) -> FloatArray:
    """Multi-octave value noise of unit variance.

    Args:
        rng: source of randomness.
        h: rows.
        w: columns.
        coarse: wavelength of the first octave in pixels; each next one is half as long.
        fine: no octave is shorter than this.
        persistence: amplitude of an octave relative to the one before.

    Returns:
        float32 [h, w], mean about 0, standard deviation 1.
    """
    total = torch.zeros(h, w)
    length, amplitude = max(coarse, fine), 1.0
    while length >= fine:
        gh, gw = math.ceil(h / length) + 3, math.ceil(w / length) + 3
        lattice = torch.from_numpy(rng.standard_normal((1, 1, gh, gw), dtype=np.float32))
        size = (math.ceil(gh * length), math.ceil(gw * length))
        wide = F.interpolate(lattice, size, mode="bicubic", align_corners=False)[0, 0]
        # The border repeats values: cut it off.
        first = round(length)
        total += amplitude * wide[first : first + h, first : first + w]
        length, amplitude = length / 2, amplitude * persistence
    spread = float(total.std()) if h * w > 1 else 0.0
    return ((total - total.mean()) / max(spread, 1e-6)).numpy()


def _colour(value: FloatArray, palette: FloatArray) -> FloatArray:
    """Values of about [0, 1] [h, w] through a palette [P, 3], linearly: float32 [3, h, w]."""
    at = np.linspace(0, 1, len(palette))
    return np.stack([np.interp(value, at, palette[:, c]).astype(np.float32) for c in range(3)])


def _uniform(value: FloatArray) -> FloatArray:
    # A normal variable through (nearly) its distribution function: spreads over the whole palette.
    out: FloatArray = 1 / (1 + np.exp(-1.7 * value))
    return out


def _noise(rng: Generator, h: int, w: int, grain: float, palette: FloatArray) -> FloatArray:
    return _colour(_uniform(fractal(rng, h, w, grain * 2, persistence=0.72)), palette)


def _stripes(rng: Generator, h: int, w: int, grain: float, palette: FloatArray) -> FloatArray:
    y, x = np.mgrid[:h, :w].astype(np.float32)
    angle = rng.uniform(0, math.pi)
    bend = fractal(rng, h, w, grain * 4, fine=grain) * grain * 0.35
    phase = (x * math.cos(angle) + y * math.sin(angle) + bend) * (2 * math.pi / (grain * rng.uniform(0.6, 1.1)))
    # Stripes alone leave the aperture problem everywhere; noise across them breaks it.
    value = 0.5 + 0.33 * np.tanh(2.5 * np.sin(phase)) + 0.14 * fractal(rng, h, w, grain)
    return _colour(value, palette)


def _cells(rng: Generator, h: int, w: int, grain: float, palette: FloatArray) -> FloatArray:
    """Voronoi cells of a jittered lattice (Worley noise): nearest of the 25 seeds around each pixel."""
    gh, gw = math.ceil(h / grain) + 4, math.ceil(w / grain) + 4
    seeds = rng.uniform(0.05, 0.95, (gh, gw, 2)).astype(np.float32)
    tint = rng.uniform(0, 1, (gh, gw)).astype(np.float32)
    y, x = np.mgrid[:h, :w].astype(np.float32)
    x, y = (x + 0.5) / grain + 2, (y + 0.5) / grain + 2
    column, row = x.astype(np.int32), y.astype(np.int32)
    first = np.full((h, w), np.inf, np.float32)
    second, value = first.copy(), np.zeros((h, w), np.float32)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            r, c = row + dy, column + dx
            seed = seeds[r, c]
            distance = np.hypot(c + seed[..., 0] - x, r + seed[..., 1] - y)
            nearer = distance < first
            second = np.where(nearer, first, np.minimum(second, distance))
            value = np.where(nearer, tint[r, c], value)
            first = np.minimum(first, distance)
    border = np.clip((second - first) * grain / 3, 0.25, 1)
    return _colour(value, palette) * border


def _leaves(rng: Generator, h: int, w: int, grain: float, palette: FloatArray) -> FloatArray:
    """Dead leaves: discs, ellipses and boxes over one another, sizes by a power law."""
    out = _noise(rng, h, w, grain, palette)
    largest = max(3.0, grain * 1.5)
    count = int(np.clip(3.0 * h * w / (largest * largest), 40, 1800))
    radii = np.sort(np.maximum(1.5, largest * rng.uniform(0.12, 1.0, count) ** 1.7))[::-1]
    for radius in radii:
        cx, cy, aspect, angle = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0.45, 1.0), rng.uniform(0, math.pi)
        box, level, flat = rng.random() < 0.35, rng.uniform(0, 1), rng.uniform(0.85, 1.1)
        x0, x1 = max(0, int(cx - 1.5 * radius)), min(w, int(cx + 1.5 * radius) + 2)
        y0, y1 = max(0, int(cy - 1.5 * radius)), min(h, int(cy + 1.5 * radius) + 2)
        y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
        a = (x - cx) * math.cos(angle) + (y - cy) * math.sin(angle)
        b = ((y - cy) * math.cos(angle) - (x - cx) * math.sin(angle)) / aspect
        away = np.maximum(abs(a), abs(b)) if box else np.hypot(a, b)
        alpha = np.clip(radius - away + 0.5, 0, 1)
        colour = np.array([np.interp(level, np.linspace(0, 1, len(palette)), palette[:, c]) for c in range(3)])
        patch = out[:, y0:y1, x0:x1]
        patch += alpha * ((colour * flat).astype(np.float32)[:, None, None] - patch)
    return out


def _glyphs(rng: Generator, h: int, w: int, grain: float, palette: FloatArray) -> FloatArray:
    """Letter-like marks (random symmetric 5x5 bitmaps) on a cloudy ground."""
    ground = _uniform(fractal(rng, h, w, grain * 4)) * 0.45
    dark = rng.random() < 0.5
    value = ground + (0.0 if dark else 0.55)
    ink = 1.0 if dark else 0.0
    count = int(np.clip(0.9 * h * w / (grain * grain), 12, 2500))
    for _ in range(count):
        half = rng.random((5, 3)) < 0.55
        bitmap = np.concatenate([half, half[:, 1::-1]], 1)
        cell = max(1, round(grain * rng.uniform(0.08, 0.25)))
        mark = np.kron(bitmap, np.ones((cell, cell), bool))
        mark = np.rot90(mark, int(rng.integers(4)))
        y, x = int(rng.integers(-2, h)), int(rng.integers(-2, w))
        y0, x0 = max(0, y), max(0, x)
        part = mark[y0 - y : h - y, x0 - x : w - x]
        area = value[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]]
        area[part] = ink + rng.uniform(-0.35, 0.35)
    return _colour(value, palette)


def make_texture(rng: Generator, kind: str, h: int, w: int, grain: float, palette: FloatArray) -> FloatArray:
    """One texture image.

    Args:
        rng: source of randomness.
        kind: one of `KINDS`, or "smooth".
        h: rows.
        w: columns.
        grain: size of its typical feature in pixels.
        palette: [P, 3] colours, dark to light.

    Returns:
        float32 [3, h, w] in [0, 1], with detail down to about 2.5 pixels.
    """
    grain = max(4.0, grain)
    if kind == "smooth":
        value = 0.55 + 0.12 * fractal(rng, h, w, max(h, w) / 1.5, fine=max(h, w) / 3)
        out = _colour(value, palette) + 0.006 * fractal(rng, h, w, grain)
    else:
        makers = {"noise": _noise, "leaves": _leaves, "cells": _cells, "stripes": _stripes, "glyphs": _glyphs}
        out = makers[kind](rng, h, w, grain, palette)
        # Fine grain within flat parts, slow light and dark over the whole.
        out = out * (1 + 0.12 * fractal(rng, h, w, grain * 0.5, persistence=0.85))
        out = out * (1 + 0.08 * fractal(rng, h, w, max(h, w) / 2, fine=grain))
    return _soften(np.clip(out, 0.02, 0.98).astype(np.float32))


def _soften(image: FloatArray) -> FloatArray:
    """A [1 3 1] / 5 blur on both axes: damps what bilinear sampling would make flicker (near frequency 1/2)."""
    x = F.pad(torch.from_numpy(image)[:, None], (1, 1, 1, 1), mode="replicate")[:, 0].numpy()
    x = 0.2 * x[:, :, :-2] + 0.6 * x[:, :, 1:-1] + 0.2 * x[:, :, 2:]
    out: FloatArray = 0.2 * x[:, :-2] + 0.6 * x[:, 1:-1] + 0.2 * x[:, 2:]
    return out
