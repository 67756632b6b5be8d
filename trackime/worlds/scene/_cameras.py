"""Camera paths through a room, and rotations: OpenCV axes (x right, y down, z forward)."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from trackime.arrays import FloatArray
from trackime.worlds.motion import curve

CENTRE = np.array([0.0, 0.2, 4.0])
"""Centre of orbits, and the point that a wandering camera looks at, from the origin."""


def about(axis: FloatArray, angle: FloatArray) -> FloatArray:
    """Rotations [T, 3, 3] by angles [T] (radians) about a unit axis [3] (Rodrigues' formula)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    sine, versine = np.sin(angle)[:, None, None], (1 - np.cos(angle))[:, None, None]
    out: FloatArray = np.eye(3) + sine * cross + versine * (cross @ cross)
    return out


def turned(yaw: FloatArray, pitch: FloatArray, roll: FloatArray) -> FloatArray:
    """Camera-to-world rotations [T, 3, 3]: yaw to the right, pitch upwards, roll clockwise, in radians [T]."""
    x, y, z = np.eye(3)
    out: FloatArray = about(y, yaw) @ about(x, pitch) @ about(z, roll)
    return out


def looking(positions: FloatArray, target: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Yaw and pitch [T] of cameras at [T, 3] that look at a point."""
    away = target - positions
    return np.arctan2(away[:, 0], away[:, 2]), np.arctan2(-away[:, 1], np.hypot(away[:, 0], away[:, 2]))


def camera_path(rng: Generator, frames: int, path: str, strength: float) -> FloatArray:
    """Camera-to-world matrices in a room whose middle is ahead of the origin: float64 [T, 4, 4].

    Args:
        rng: where the randomness comes from.
        frames: T.
        path: one of `scene_options.PATHS`.
        strength: 0 holds the camera still, 1 is ordinary.
    """
    zero: FloatArray = np.zeros(frames)
    tilt: FloatArray = np.full(frames, math.radians(rng.uniform(-8, -3)))
    place: FloatArray = np.zeros((frames, 3))
    # A sweep takes a second; less of it in shorter videos, or neighbouring frames would have little in common.
    along = min(1.0, frames / 24) * np.linspace(-1, 1, frames) if frames > 1 else zero
    side = float(rng.choice([-1.0, 1.0]))
    yaw, pitch, roll = zero, tilt, zero
    if path == "wander":
        base = 1.4 * float(np.clip(frames, 24, 120))
        waves = np.stack([curve(rng, frames, base) for _ in range(3)], 1)
        hand = np.stack([curve(rng, frames, 9.0) for _ in range(3)], 1)
        place = strength * (waves * [0.6, 0.2, 0.45] + hand * 0.006)
        at_yaw, at_pitch = looking(place, CENTRE)
        shake = [curve(rng, frames, 8.0) for _ in range(3)]
        yaw = 0.8 * at_yaw + strength * math.radians(1) * (5 * curve(rng, frames, base) + 0.15 * shake[0])
        pitch = tilt + 0.5 * (at_pitch - at_pitch.mean()) + strength * math.radians(0.15) * shake[1]
        roll = strength * math.radians(1) * (2 * curve(rng, frames) + 0.15 * shake[2])
    elif path == "orbit":
        arc = side * strength * math.radians(22) * along
        reach = CENTRE[2]
        place = np.stack([CENTRE[0] + reach * np.sin(arc), 0.15 * strength * along, CENTRE[2] - reach * np.cos(arc)], 1)
        yaw = looking(place, CENTRE)[0]
    elif path == "dolly":
        ahead = strength * (0.5 + 0.5 * side * along)
        place = np.stack([0.12 * strength * curve(rng, frames), 0.05 * strength * curve(rng, frames), 1.2 * ahead], 1)
        yaw = strength * math.radians(1.5) * curve(rng, frames)
    elif path == "rotation":
        yaw = strength * math.radians(14) * side * along
        pitch = tilt + strength * math.radians(4) * curve(rng, frames)
        roll = strength * math.radians(4) * curve(rng, frames)
    out = np.tile(np.eye(4), (frames, 1, 1))
    out[:, :3, :3], out[:, :3, 3] = turned(yaw, pitch, roll), place
    if path == "static" or strength == 0:
        out[:] = out[0]
    elif path == "rotation":
        out[:, :3, 3] = 0
    return out
