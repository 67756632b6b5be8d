"""Silhouettes as signed distances: positive inside, in units of the object's half-size.

A silhouette lies in the disc of radius 1. Its zero level is the edge: visibility, masks and alpha all follow
from the sign of this field.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from trackime.arrays import FloatArray

KINDS = ("blob", "polygon", "animal", "ring", "hand")
"""The silhouettes `make_shape` knows."""


def _capsule(x: FloatArray, y: FloatArray, a: tuple[float, float], b: tuple[float, float], radius: float) -> FloatArray:
    """Distance to a thick line segment from a to b."""
    (ax, ay), (bx, by) = a, b
    dx, dy = bx - ax, by - ay
    along = np.clip(((x - ax) * dx + (y - ay) * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
    return radius - np.hypot(x - ax - along * dx, y - ay - along * dy)


def _smooth_union(a: FloatArray, b: FloatArray, width: float = 0.06) -> FloatArray:
    # Polynomial smooth maximum: limbs grow out of a body without a crease.
    blend = np.maximum(width - abs(a - b), 0) / width
    out: FloatArray = np.maximum(a, b) + blend * blend * width / 4
    return out


def _blob(rng: Generator, x: FloatArray, y: FloatArray) -> FloatArray:
    """A closed Fourier curve r(angle); distance to first order, (r - rho) / sqrt(1 + (r' / rho)^2)."""
    orders = np.arange(2, 7)
    amount = rng.normal(0, 0.16, 5) / np.sqrt(orders - 1)
    shift = rng.uniform(0, 2 * math.pi, 5)
    turn = np.linspace(0, 2 * math.pi, 720)
    peak = (1 + (amount * np.cos(np.outer(turn, orders) + shift)).sum(1)).max()
    rho, angle = np.maximum(np.hypot(x, y), 1e-3), np.arctan2(y, x)
    waves = [(a, m, s) for a, m, s in zip(amount, orders, shift, strict=True)]
    radius = 1 + np.sum([a * np.cos(m * angle + s) for a, m, s in waves], axis=0)
    slope = -np.sum([a * m * np.sin(m * angle + s) for a, m, s in waves], axis=0)
    scale = 0.95 / peak
    # rho >= 0.3 in the slope only: keeps the middle of the blob well inside.
    distance: FloatArray = (radius * scale - rho) / np.sqrt(1 + (slope * scale / np.maximum(rho, 0.3)) ** 2)
    return distance


def _polygon(rng: Generator, x: FloatArray, y: FloatArray) -> FloatArray:
    """A star-shaped polygon, exact distance, with up to two round holes."""
    count = int(rng.integers(3, 9))
    angle = (np.arange(count) + rng.uniform(-0.25, 0.25, count)) * (2 * math.pi / count)
    radius = rng.uniform(0.62, 0.95, count)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    edge = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, 0), strict=True):
        edge = np.minimum(edge, -_capsule(x, y, (ax, ay), (bx, by), 0.0))
        crosses = ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay if by != ay else 1e-9) + ax)
        inside ^= crosses
    out = np.where(inside, edge, -edge)
    for _ in range(int(rng.integers(0, 3))):
        turn, hole = rng.uniform(0, 2 * math.pi), rng.uniform(0.1, 0.17)
        out = np.minimum(out, np.hypot(x - 0.32 * math.cos(turn), y - 0.32 * math.sin(turn)) - hole)
    return out


def _animal(rng: Generator, x: FloatArray, y: FloatArray) -> FloatArray:
    """A body on four thin legs, with a head and a tail."""
    body = rng.uniform(0.2, 0.28)
    out = _capsule(x, y, (-0.42, 0.0), (0.38, rng.uniform(-0.06, 0.06)), body)
    for hip in (-0.5, -0.3, 0.28, 0.46):
        foot = hip + rng.uniform(-0.14, 0.14)
        out = _smooth_union(out, _capsule(x, y, (hip, 0.1), (foot, 0.74), rng.uniform(0.06, 0.09)))
    head = (rng.uniform(0.58, 0.68), rng.uniform(-0.5, -0.34))
    out = _smooth_union(out, _capsule(x, y, (0.4, -0.05), head, 0.12))
    out = _smooth_union(out, _capsule(x, y, head, (head[0] + 0.12, head[1] + 0.05), 0.15))
    tail = (-0.8, rng.uniform(-0.45, 0.1))
    return _smooth_union(out, _capsule(x, y, (-0.55, -0.05), tail, 0.06))


def _ring(rng: Generator, x: FloatArray, y: FloatArray) -> FloatArray:
    """A wheel: a ring with none to three spokes."""
    width = rng.uniform(0.09, 0.2)
    rho = np.hypot(x, y)
    out: FloatArray = width - abs(rho - (0.93 - width))
    for spoke in range(int(rng.integers(0, 4))):
        turn = spoke * 2.1 + rng.uniform(0, 0.6)
        out = np.maximum(out, _capsule(x, y, (0, 0), (0.7 * math.cos(turn), 0.7 * math.sin(turn)), 0.08))
    return out


def _hand(rng: Generator, x: FloatArray, y: FloatArray) -> FloatArray:
    """A palm and three to six fingers."""
    out = _capsule(x, y, (0, 0.3), (0, 0.1), rng.uniform(0.34, 0.42))
    count = int(rng.integers(3, 7))
    for k in range(count):
        turn = -math.pi / 2 + (k - (count - 1) / 2) * rng.uniform(0.38, 0.5)
        tip = rng.uniform(0.75, 0.9)
        out = _smooth_union(out, _capsule(x, y, (0, 0.1), (tip * math.cos(turn), tip * math.sin(turn)), 0.085))
    return out


def make_shape(rng: Generator, kind: str, x: FloatArray, y: FloatArray) -> FloatArray:
    """The signed distance of one random silhouette at points.

    Args:
        rng: source of randomness.
        kind: one of `KINDS`.
        x: [h, w] in units of the object's half-size, 0 in the middle.
        y: [h, w].

    Returns:
        float32 [h, w], the same units, positive inside.
    """
    makers = {"blob": _blob, "polygon": _polygon, "animal": _animal, "ring": _ring, "hand": _hand}
    turn = 0.0 if kind in ("animal", "hand") else rng.uniform(0, 2 * math.pi)
    mirror = 1 if rng.random() < 0.5 else -1
    c, s = math.cos(turn), math.sin(turn)
    return makers[kind](rng, mirror * (c * x + s * y), c * y - s * x).astype(np.float32)
