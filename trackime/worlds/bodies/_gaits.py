"""Motion of bodies: joint angles of gaits, and the path of the root, at any times.

Everything is a function of continuous time in frames, so that a blurred or rolling exposure and the truth sample the
same motion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from trackime.arrays import Float64
from trackime.worlds.bodies._species import Skeleton

_PHASES = {"trot": (0.0, 0.5, 0.5, 0.0), "gallop": (0.0, 0.1, 0.5, 0.6)}
"""Phases of the legs (hind right, hind left, fore right, fore left) where they are not the skeleton's own (a walk)."""
_RATE = {"walk": 1.0, "trot": 1.5, "run": 1.7, "gallop": 1.8, "jump": 1.2, "fly": 2.0, "grasp": 0.8, "drive": 1.0}
_STRIDE = {"walk": 0.7, "trot": 1.2, "run": 1.5, "gallop": 2.2, "jump": 1.3, "fly": 1.6, "grasp": 0.15, "drive": 2.0}
"""Distance that the root moves per cycle."""
_STEPS = 16
"""Points per frame at which paths are integrated."""

Curve = Callable[[Float64], Float64]


def smooth(rng: Generator, period: float, count: int = 4) -> Curve:
    """A smooth random function of time of mean square about one half, whose shortest period is `period` frames."""
    periods = period * np.exp(rng.uniform(0, 1.5, count))
    phases, weights = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.5, 1, count)
    weights = weights / np.sqrt((weights**2).sum())

    def at(times: Float64) -> Float64:
        turns = 2 * np.pi * np.asarray(times, np.float64)[..., None] / periods + phases
        return np.asarray((weights * np.sin(turns)).sum(-1))

    return at


def turn(axis: int, angle: Float64) -> Float64:
    """Rotations [..., 3, 3] about x, y or z by angles [...]."""
    out = np.zeros((*np.shape(angle), 3, 3))
    c, s = np.cos(angle), np.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out[..., axis, axis] = 1
    out[..., i, i], out[..., j, j], out[..., i, j], out[..., j, i] = c, c, -s, s
    return out


@dataclass(frozen=True)
class Gait:
    """The motion of one body.

    Attributes:
        skeleton: what moves.
        root: root position [3] and heading as functions of time.
        angles: rotations about y (flexion), x (abduction) and z (yaw) of each bone as functions of time.
    """

    skeleton: Skeleton
    root: Callable[[Float64], tuple[Float64, Float64]]
    angles: Callable[[Float64], Float64]

    def pose(self, times: Float64) -> tuple[Float64, Float64]:
        """The poses of the bones.

        Args:
            times: [S] frames.

        Returns:
            [S, P, 3, 3] and [S, P, 3]: a bone's rest point p is at R (p - start) + o in the world.
        """
        skeleton, angles = self.skeleton, self.angles(times)  # [S, P, 3]
        start = np.stack(skeleton.start)
        place, base = self.root(times)
        count = len(skeleton.start)
        rotation, origin = np.zeros((len(times), count, 3, 3)), np.zeros((len(times), count, 3))
        own = turn(1, angles[..., 0]) @ turn(0, angles[..., 1]) @ turn(2, angles[..., 2])
        for bone, parent in enumerate(skeleton.parent):
            if parent < 0:
                rotation[:, bone] = base @ own[:, bone]
                origin[:, bone] = place + (base @ start[bone][:, None])[..., 0]
            else:
                rotation[:, bone] = rotation[:, parent] @ own[:, bone]
                offset = (start[bone] - start[parent])[:, None]
                origin[:, bone] = origin[:, parent] + (rotation[:, parent] @ offset)[..., 0]
        return rotation, origin


def make_gait(rng: Generator, skeleton: Skeleton, frames: int, place: Float64, heading: float, speed: float) -> Gait:
    """A random gait of a skeleton: steps, path and turns."""
    name = str(rng.choice(skeleton.gaits))
    # Cycles per frame: at 24 frames per second animals step about once a second; standing and slow motion occur.
    rate = _RATE[name] * np.exp(rng.normal(0, 0.35)) / 24 * speed
    if rng.random() < 0.12 and name not in ("fly", "drive"):
        rate *= 0.1
    vigour = float(np.exp(rng.normal(0, 0.25)))
    root = _root(rng, name, rate, frames, place, heading)
    return Gait(skeleton, root, _angles(rng, skeleton, name, rate, vigour))


def _root(
    rng: Generator, name: str, rate: float, frames: int, place: Float64, heading: float
) -> Callable[[Float64], tuple[Float64, Float64]]:
    grid = np.arange(-_STEPS, (frames + 1) * _STEPS + 1) / _STEPS
    bend = smooth(rng, 20.0)(grid) * rng.uniform(0, 0.05) + rng.normal(0, 0.02)
    angle = heading + np.cumsum(bend) / _STEPS
    pace = rate * _STRIDE[name] * (1 + 0.3 * smooth(rng, 12.0)(grid)) * rng.uniform(0.6, 1.1)
    x, y = (place[axis] + np.cumsum(pace * f(angle)) / _STEPS for axis, f in ((0, np.cos), (1, np.sin)))
    middle = len(grid) // 2
    x, y = x - x[middle] + place[0], y - y[middle] + place[1]
    bob = {"walk": 0.012, "trot": 0.03, "run": 0.04, "gallop": 0.05, "jump": 0.35, "fly": 0.08}.get(name, 0.0)
    lift = place[2] + (rng.uniform(0.2, 1.0) if name == "fly" else 0.0)
    phase, sway, pitch = rng.uniform(), smooth(rng, 15.0), smooth(rng, 10.0)
    lean = {"jump": 0.35, "gallop": 0.1, "fly": 0.2, "grasp": 0.6}.get(name, 0.04)
    wrist = smooth(rng, 12.0)

    def at(times: Float64) -> tuple[Float64, Float64]:
        cycle = 2 * np.pi * (rate * times * (2 if name in ("walk", "trot", "run") else 1) + phase)
        height = np.abs(np.sin(cycle / 2)) if name == "jump" else 0.5 + 0.5 * np.sin(cycle)
        z = lift + bob * height + (0.1 * sway(times) if name in ("fly", "grasp") else 0.0)
        way = np.interp(times, grid, angle)
        position = np.stack([np.interp(times, grid, x), np.interp(times, grid, y), z], -1)
        roll = (0.5 if name in ("fly", "grasp") else 0.03) * sway(times)
        nod = lean * (np.cos(cycle) if name in ("jump", "gallop") else pitch(times))
        spin = wrist(times) * (0.8 if name == "grasp" else 0.0)
        return position, turn(2, way + spin) @ turn(1, nod) @ turn(0, roll)

    return at


def _angles(rng: Generator, skeleton: Skeleton, name: str, rate: float, vigour: float) -> Callable[[Float64], Float64]:
    count = len(skeleton.role)
    phase = np.array(skeleton.phase)
    if name in _PHASES:
        for bone, role in enumerate(skeleton.role):
            if role in ("leg", "knee", "foot"):
                phase[bone] = _PHASES[name][_rank(phase[bone])]
    drift = [smooth(rng, float(rng.uniform(8, 25))) for _ in range(3 * count)]
    loose = {
        "neck": 0.25,
        "head": 0.2,
        "tail": 0.5,
        "ear": 0.3,
        "finger": 0.15,
        "arm": 0.15,
        "elbow": 0.1,
        "spine": 0.05,
    }
    swing = {"walk": 0.42, "trot": 0.5, "run": 0.75, "gallop": 0.75, "jump": 0.8}.get(name, 0.1) * vigour
    flap, grip, roll = rng.uniform(0.5, 1.0), rng.uniform(0.4, 0.9), rng.uniform(0, 2 * np.pi)
    about = smooth(rng, 10.0)

    def at(times: Float64) -> Float64:
        out = np.zeros((len(times), count, 3))
        for bone, role in enumerate(skeleton.role):
            cycle = 2 * np.pi * (rate * times + phase[bone])
            free = loose.get(role, 0.02)
            for axis, share in ((0, 1.0), (1, 0.5), (2, 0.7)):
                out[:, bone, axis] += free * share * drift[3 * bone + axis](times)
            if role == "leg":
                out[:, bone, 0] += swing * np.sin(cycle)
            elif role == "knee":
                out[:, bone, 0] += 1.3 * swing * np.maximum(0, np.sin(cycle + 1.2)) + 0.1
            elif role == "foot":
                out[:, bone, 0] -= 0.7 * swing * np.sin(cycle + 0.6)
            elif role == "arm":
                out[:, bone, 0] += 0.9 * swing * np.sin(cycle)
            elif role == "elbow":
                out[:, bone, 0] -= 0.35 + 0.5 * swing * (1 + np.sin(cycle))
            elif role == "spine" and name in ("gallop", "jump"):
                out[:, bone, 0] += 0.25 * vigour * np.sin(cycle) * (1 if phase[bone] else -1)
            elif role == "wing":
                side = 1.0 if skeleton.start[bone][1] > 0 else -1.0
                beat = np.sin(cycle) if name == "fly" else -1.2 / flap
                out[:, bone, 1] += side * flap * beat
            elif role == "finger":
                out[:, bone, 0] += grip * (0.5 + 0.7 * about(times + 8 * phase[bone]))
            elif role == "wheel":
                out[:, bone, 0] += roll + 2 * np.pi * rate * times * 2
        return out

    return at


def _rank(phase: float) -> int:
    """The place of a walk's phase (hind right 0, fore right 0.25, hind left 0.5, fore left 0.75) in `_PHASES`."""
    return {0: 0, 2: 1, 1: 2, 3: 3}[round(phase * 4) % 4]
