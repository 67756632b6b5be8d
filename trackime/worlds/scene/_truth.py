"""Exact ground truth of a 3D scene: surface points, their paths and their visibility."""

from __future__ import annotations

import numpy as np
import torch

from trackime.arrays import BoolArray, FloatArray, IntArray, inside
from trackime.worlds.scene._bodies import NEAR, BodyScene
from trackime.worlds.scene._raycast import first_hits

TOLERANCE = 1e-5
"""A point is hidden when the ray through it meets something nearer by more than this share of its depth: tenths of a
millimetre in a room, far above rounding and far below the distance between surfaces."""


def _hits(scene: BodyScene, t: int, xy: FloatArray) -> tuple[FloatArray, IntArray]:
    """Depth float64 [N] and body [N] at pixels [N, 2] of frame t, always on the CPU."""
    depth, owner = first_hits(scene, t, torch.as_tensor(np.asarray(xy, np.float64)))
    return depth.numpy(), owner.numpy()


def lift(scene: BodyScene, xy: FloatArray, t: IntArray) -> tuple[IntArray, FloatArray]:
    """Surface points visible at pixels.

    Args:
        scene: the scene.
        xy: [N, 2] frame pixels.
        t: [N] frames.

    Returns:
        Body int64 [N], its own coordinates float64 [N, 3].
    """
    xy, t = np.asarray(xy, np.float64), np.asarray(t, np.int64)
    bodies, points = np.zeros(len(xy), np.int64), np.zeros((len(xy), 3))
    for frame in np.unique(t).tolist():
        rows = np.flatnonzero(t == frame)
        depth, bodies[rows] = _hits(scene, frame, xy[rows])
        world = scene.unproject(xy[rows], depth, frame)
        for index in np.unique(bodies[rows]).tolist():
            own = rows[bodies[rows] == index]
            body = scene.bodies[index]
            points[own] = (world[bodies[rows] == index] - body.place[frame]) @ body.rotation[frame]
    return bodies, points


def follow(
    scene: BodyScene, bodies: IntArray, points: FloatArray, frames: IntArray
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Points of bodies, at some frames.

    Args:
        scene: the scene.
        bodies: [N] bodies.
        points: float64 [N, 3], the bodies' own coordinates.
        frames: [T] frame indices.

    Returns:
        float64 [N, T, 2] frame pixels, float64 [N, T] depth z, bool [N, T] whether each is visible: in front of the
        camera, within the frame, and nothing nearer on its ray (`TOLERANCE`). In frames of another shot a point is
        hidden, and keeps its position at the end of its own shot.
    """
    count = len(frames)
    xy, depth = np.zeros((len(bodies), count, 2)), np.zeros((len(bodies), count))
    visible = np.zeros((len(bodies), count), bool)
    shots = np.array([body.shot for body in scene.bodies], np.int64)[bodies]
    for shot in np.unique(shots).tolist():
        rows = np.flatnonzero(shots == shot)
        first, last = scene.starts[shot], scene.ends[shot] - 1
        for column, t in enumerate(np.asarray(frames).tolist()):
            held = int(np.clip(t, first, last))
            xy[rows, column], depth[rows, column] = _project(scene, bodies[rows], points[rows], held)
            if held == t:
                visible[rows, column] = _seen(scene, xy[rows, column], depth[rows, column], t)
    return xy, depth, visible


def _project(scene: BodyScene, bodies: IntArray, points: FloatArray, t: int) -> tuple[FloatArray, FloatArray]:
    world = np.zeros_like(points)
    for index in np.unique(bodies).tolist():
        rows, body = bodies == index, scene.bodies[index]
        world[rows] = points[rows] @ body.rotation[t].T + body.place[t]
    return scene.project(world, t)


def _seen(scene: BodyScene, xy: FloatArray, depth: FloatArray, t: int) -> BoolArray:
    seen: BoolArray = (depth > NEAR) & inside(xy, (scene.info.height, scene.info.width))
    rows = np.flatnonzero(seen)
    seen[rows] = _hits(scene, t, xy[rows])[0] >= depth[rows] * (1 - TOLERANCE)
    return seen
