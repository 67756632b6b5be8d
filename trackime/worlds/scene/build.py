"""`make_scene`: random furnished rooms from a seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.random import Generator

from trackime.arrays import FloatArray
from trackime.errors import InputError
from trackime.types import VideoInfo
from trackime.worlds import _textures as textures
from trackime.worlds._options import check_whole
from trackime.worlds.motion import curve
from trackime.worlds.scene._bodies import ACROSS, Body, trace
from trackime.worlds.scene._cameras import about, camera_path
from trackime.worlds.scene._pool import FacePool
from trackime.worlds.scene._solids import Box, HeightField, Shape, Sphere
from trackime.worlds.scene.options import SceneOptions
from trackime.worlds.scene.scene import Scene

_MAX_TEXELS = 3_000_000
"""Largest texture of a face; one that needs more gets a coarser one."""

_FEWEST = 8.0
"""Least texels per unit: of faces that are rarely visible."""

_MAX_THINGS = 100
"""Objects and moving objects of a scene, each: surfaces are uint8, and a cut doubles them."""

_CLEARANCE = 1.15
"""Least distance of an object from the camera."""

_LARGEST = 0.3
"""Largest radius of an object as a share of its distance: none fills the view."""

_TRIES = 60
"""Places tried for an object; the one with the least collision is taken."""


@dataclass(frozen=True, eq=False)
class _Room:
    """Sides of a room about a camera at the origin: left, top, back (behind the camera) and right, floor, front."""

    low: FloatArray
    high: FloatArray

    @classmethod
    def random(cls, rng: Generator) -> _Room:
        low = [-rng.uniform(3.0, 3.8), -rng.uniform(1.5, 1.8), -rng.uniform(1.6, 2.2)]
        high = [rng.uniform(3.0, 3.8), rng.uniform(1.2, 1.4), rng.uniform(6.6, 7.8)]
        return cls(np.array(low), np.array(high))


@dataclass(frozen=True, eq=False)
class _Placed:
    """A body without its textures, in the room's coordinates: paths [T, 3, 3] and [T, 3]."""

    shape: Shape
    rotation: FloatArray
    place: FloatArray
    instance: int


def make_scene(
    seed: int = 0,
    width: int = 320,
    height: int = 240,
    frames: int = 24,
    objects: int = 6,
    movers: int = 2,
    device: str | torch.device = "cpu",
    **options: Any,
) -> Scene:
    """A random room with textured walls, boxes, spheres and height fields, moving objects, and a moving camera.

    The scene depends on the seed, the size, the length and the options alone; the device only renders it (frames
    differ between devices by rounding; tracks and flow are always computed on the CPU).

    Args:
        seed: 0 or more.
        width: frame width in pixels, 8 or more.
        height: frame height in pixels, 8 or more.
        frames: length T, 1 or more (2 or more with a cut).
        objects: static boxes and spheres, 0 to 100.
        movers: boxes and spheres that move, 0 to 100; with a cut as many again in the second shot.
        device: where to render.
        options: fields of `SceneOptions`.

    Raises:
        InputError: a value outside those, an option that does not exist.
    """
    chosen = SceneOptions.make(**options)
    least = 2 if chosen.cut else 1
    check_whole(seed=(seed, 0), width=(width, 8), height=(height, 8), frames=(frames, least))
    check_whole(objects=(objects, 0), movers=(movers, 0))
    for name, value in (("objects", objects), ("movers", movers)):
        if value > _MAX_THINGS:
            raise InputError(f"{name}: expected at most {_MAX_THINGS}, got {value}")
    target = torch.device(device)
    info = VideoInfo.regular(width, height, frames, chosen.fps, f"scene {seed}")
    starts = (0, (frames + 1) // 2) if chosen.cut else (0,)
    poses, lights = np.zeros((frames, 4, 4)), np.zeros((len(starts), 3))
    bodies: list[Body] = []
    images: list[FloatArray] = []
    for shot, (start, end) in enumerate(zip(starts, (*starts[1:], frames), strict=True)):
        rng = np.random.default_rng([seed, 20, shot])
        room = _Room.random(rng)
        path = camera_path(rng, end - start, chosen.path, chosen.camera)
        lamp = np.array([rng.uniform(-1.5, 1.5), room.low[1] + 0.25, rng.uniform(1.0, 2.5)])
        things = _furnish(rng, room, path, lamp, objects, movers, chosen, shot * movers)
        # From the room's coordinates to those of the first camera.
        to_world = np.linalg.inv(path[0])
        poses[start:end] = to_world @ path
        # Exactly so, rounding aside, for the first and for a static camera.
        poses[start:end][(path == path[0]).all((1, 2))] = np.eye(4)
        lights[shot] = to_world[:3, :3] @ lamp + to_world[:3, 3]
        shot_bodies: list[Body] = []
        for thing in things:
            rotation, place = np.zeros((frames, 3, 3)), np.zeros((frames, 3))
            rotation[start:end] = to_world[:3, :3] @ thing.rotation
            place[start:end] = thing.place @ to_world[:3, :3].T + to_world[:3, 3]
            first = 6 * (len(bodies) + len(shot_bodies))
            shot_bodies.append(Body(thing.shape, rotation, place, thing.instance, shot, first))
        needed = _densities(shot_bodies, poses, range(start, end), info, chosen.fov)
        images += _paint(seed, shot, shot_bodies, needed, chosen)
        bodies += shot_bodies
    return Scene(info, int(seed), chosen, tuple(bodies), poses, lights, starts, FacePool.pack(images, target), target)


def _static(shape: Shape, place: FloatArray | tuple[float, ...], yaw: float, frames: int) -> _Placed:
    rotation = about(np.array([0.0, 1.0, 0.0]), np.full(frames, yaw))
    return _Placed(shape, rotation, np.tile(np.asarray(place, float), (frames, 1)), 0)


def _furnish(
    rng: Generator,
    room: _Room,
    path: FloatArray,
    lamp: FloatArray,
    objects: int,
    movers: int,
    options: SceneOptions,
    before: int,
) -> list[_Placed]:
    """The room, its height fields, objects and moving objects, in this order; `before` instances are taken."""
    frames, eyes = len(path), path[:, :3, 3]
    wide = math.tan(math.radians(min(options.fov, 90)) / 2)
    size, middle = (room.high - room.low) / 2, (room.high + room.low) / 2
    things = [_static(Box((float(size[0]), float(size[1]), float(size[2])), room=True), middle, 0.0, frames)]
    things += _reliefs(rng, room, options.relief, frames)
    placed: list[_Placed] = []
    for _ in range(objects):
        placed.append(_settle((_object(rng, room, wide, frames) for _ in range(_TRIES)), placed, eyes, lamp))
    for k in range(movers):
        tries = (_mover(rng, room, wide, frames, options, before + k + 1) for _ in range(_TRIES))
        placed.append(_settle(tries, placed, eyes, lamp))
    return things + placed


def _settle(tries: Iterator[_Placed], others: list[_Placed], eyes: FloatArray, lamp: FloatArray) -> _Placed:
    """The first candidate without a collision, else the one with the least; distance from the camera counts most."""
    best, least = None, math.inf
    for thing in tries:
        reach = thing.shape.radius
        nearest = float(np.linalg.norm(thing.place - eyes, axis=1).min())
        cost = 20 * max(0.0, _CLEARANCE + reach - nearest) + 5 * max(0.0, reach - _LARGEST * nearest)
        # An object close under the lamp shadows the whole room.
        cost += 10 * max(0.0, 0.9 + reach - float(np.linalg.norm(thing.place - lamp, axis=1).min()))
        for other in others:
            gap = float(np.linalg.norm(thing.place - other.place, axis=1).min())
            cost += max(0.0, reach + other.shape.radius - gap)
        if cost < least:
            best, least = thing, cost
        if least == 0:
            break
    assert best is not None
    return best


def _object(rng: Generator, room: _Room, wide: float, frames: int) -> _Placed:
    """A box or a sphere on the floor, or a box from the ceiling, within the view of a camera at the origin."""
    z = rng.uniform(2.2, room.high[2] - 1.0)
    side = min(0.85 * z * wide, float(min(-room.low[0], room.high[0])) - 0.5)
    x = rng.uniform(-side, side)
    if rng.random() < 0.35:
        radius = rng.uniform(0.25, 0.55)
        return _static(Sphere.of(radius), (x, room.high[1] - radius, z), rng.uniform(0, 6), frames)
    hangs = rng.random() < 0.3
    half = (
        rng.uniform(0.18, 0.5),
        rng.uniform(0.15, 0.45) if hangs else rng.uniform(0.25, 1.0),
        rng.uniform(0.18, 0.5),
    )
    y = room.low[1] + half[1] if hangs else room.high[1] - half[1]
    return _static(Box(half), (x, y, z), rng.uniform(-0.8, 0.8), frames)


def _mover(rng: Generator, room: _Room, wide: float, frames: int, options: SceneOptions, instance: int) -> _Placed:
    """A box or a sphere that wanders about a place in the view, and turns about an axis of its own."""
    shape: Shape
    if rng.random() < 0.5:
        shape = Sphere.of(rng.uniform(0.22, 0.42))
    else:
        shape = Box((rng.uniform(0.2, 0.42), rng.uniform(0.2, 0.42), rng.uniform(0.2, 0.42)))
    reach = shape.radius + 0.05
    z = rng.uniform(2.2, 4.8)
    centre = np.array([rng.uniform(-0.5, 0.5) * z * wide, rng.uniform(-0.8, 0.5), z])
    waves = np.stack([curve(rng, frames) for _ in range(3)], 1) * [1.0, 0.5, 0.7]
    step = float(np.linalg.norm(np.diff(waves, axis=0), axis=1).mean()) if frames > 1 else 0.0
    # Slow curves need a wide path for the same speed; a room is only so wide.
    path = centre + min(options.speed / max(step, 1e-6), 1.4) * waves
    path = np.clip(path, room.low + reach, room.high - reach)
    axis = rng.standard_normal(3)
    axis /= np.linalg.norm(axis)
    angle = rng.uniform(0, 6) + math.radians(options.turn) * rng.uniform(0.5, 1) * curve(rng, frames)
    return _Placed(shape, about(axis, angle), path, instance)


def _reliefs(rng: Generator, room: _Room, count: int, frames: int) -> list[_Placed]:
    """Height fields on the floor, the front wall and the left wall, the first `count` of these."""
    out = []
    for k in range(3):
        own = np.random.default_rng(rng.integers(2**63))
        size, middle = (room.high - room.low) / 2, (room.high + room.low) / 2
        x, y, z = np.eye(3)
        if k == 0:
            half, top, turn = (own.uniform(1.0, 1.5), own.uniform(0.9, 1.4)), own.uniform(0.5, 0.9), np.eye(3)
            place = np.array([own.uniform(-1, 1), room.high[1], own.uniform(3.0, 4.5)])
        elif k == 1:
            # Its plane stands upright: up from the plane (-y) is towards the camera (-z).
            half, top, turn = (0.6 * size[0], 0.75 * size[1]), own.uniform(0.6, 1.0), np.stack([x, z, -y], 1)
            place = np.array([own.uniform(-0.3, 0.3) * size[0], middle[1], room.high[2]])
        else:
            half, top, turn = (0.75 * size[1], 1.6), own.uniform(0.4, 0.7), np.stack([y, -x, z], 1)
            place = np.array([room.low[0], middle[1], own.uniform(3.0, 4.5)])
        waves = []
        for octave in (1.0, 1.7, 3.1):
            turnabout, pace = own.uniform(0, math.pi), octave * own.uniform(2.2, 3.2)
            amplitude = 0.5 * top / (octave * 1.92)
            kx, kz = pace * math.cos(turnabout), pace * math.sin(turnabout)
            waves.append((amplitude, kx, kz, own.uniform(0, 2 * math.pi)))
        field = HeightField((float(half[0]), float(top), float(half[1])), top / 2, tuple(waves))
        rotation = np.tile(turn, (frames, 1, 1))
        out.append(_Placed(field, rotation, np.tile(place, (frames, 1)), 0))
    return out[:count]


def _densities(
    bodies: Sequence[Body], poses: FloatArray, frames: range, info: VideoInfo, fov: float
) -> dict[tuple[int, int], float]:
    """Texels per unit that each (body, face) needs, from a few rays of a few frames; faces not hit are left out."""
    wide = math.tan(math.radians(fov) / 2)
    y, x = np.meshgrid(np.linspace(-1, 1, 18), np.linspace(-1, 1, 24), indexing="ij")
    rays = np.stack([x.ravel() * wide, y.ravel() * wide * info.height / info.width, np.ones(x.size)])
    seen: dict[tuple[int, int], list[FloatArray]] = {}
    listed = list(enumerate(bodies))
    for t in np.unique(np.linspace(frames.start, frames.stop - 1, min(5, len(frames))).round()).astype(int).tolist():
        world = torch.from_numpy(poses[t, :3, :3] @ rays)
        depth, owner = trace(listed, t, poses[t, :3, 3], world)
        hits = poses[t, :3, 3][:, None] + (depth * world).numpy()
        for index in torch.unique(owner).tolist():
            body, rows = bodies[index], (owner == index).numpy()
            points = torch.from_numpy(body.rotation[t].T @ (hits[:, rows] - body.place[t][:, None]))
            for part in body.shape.paint(points, body.shape.normal(points)):
                for face in torch.unique(part.face).tolist():
                    here = rows.nonzero()[0][(part.face == face).numpy()]
                    seen.setdefault((index, face), []).append(depth.numpy()[here])
    focal = info.width / 2 / wide
    return {key: focal / float(np.percentile(np.concatenate(depths), 25)) for key, depths in seen.items()}


def _paint(
    seed: int, shot: int, bodies: Sequence[Body], needed: dict[tuple[int, int], float], options: SceneOptions
) -> list[FloatArray]:
    """Six images per body, [3, h, w] each; those of faces that do not exist are one texel."""
    hue = float(np.random.default_rng([seed, 21, shot]).random())
    out = []
    for index, body in enumerate(bodies):
        rng = np.random.default_rng([seed, 22, shot, index])
        fixed = body.room or isinstance(body.shape, HeightField)
        away = 0.0 if fixed else 0.12 + 0.76 * ((index * 0.618034) % 1.0)
        kinds = rng.permutation(textures.KINDS)
        plain = not fixed and rng.random() < options.low_texture
        palette = textures.make_palette(rng, hue + away, saturation=0.3 if fixed else 0.62)
        grain = rng.uniform(0.3, 0.5) if fixed else rng.uniform(0.3, 0.6) * min(body.shape.half)
        for face in range(6):
            if body.room:
                palette = textures.make_palette(rng, hue + rng.normal(0, 0.12), saturation=0.35)
            if face not in body.shape.faces:
                out.append(np.zeros((3, 1, 1), np.float32))
                continue
            maker = np.random.default_rng(rng.integers(2**63))
            width, height = (2 * body.shape.half[axis] for axis in ACROSS[face // 2])
            density = max(_FEWEST, needed.get((index, face), _FEWEST))
            density = min(density, math.sqrt(_MAX_TEXELS / (width * height)))
            columns, rows = (max(8, math.ceil(v * density)) for v in (width, height))
            kind = "smooth" if plain else str(kinds[face % len(kinds)] if body.room else kinds[0])
            out.append(textures.make_texture(maker, kind, rows, columns, grain * density, palette))
    return out
