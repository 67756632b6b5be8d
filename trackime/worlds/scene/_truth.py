"""Exact ground truth of a 3D scene: points on surfaces, where they go, and whether anything is in front of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from trackime.arrays import BoolArray, FloatArray, IntArray, inside
from trackime.types import Queries, Tracks
from trackime.worlds.scene._raycast import first_hits

if TYPE_CHECKING:
    from trackime.worlds.scene.scene import Scene

TOLERANCE = 1e-5
"""A point is hidden when the ray through it meets something nearer by more than this share of its depth: some tenths
of a millimetre in a room, far more than rounding and far less than the distance between surfaces."""

NEAR = 0.05
"""Least depth a point is projected with. What is nearer, or behind the camera, is hidden; its position says no more
than a direction."""


def _hits(scene: Scene, t: int, xy: FloatArray) -> tuple[FloatArray, IntArray]:
    """Depth float64 [N] and body [N] at pixels [N, 2] of frame t, on the CPU whatever the scene's device."""
    depth, owner = first_hits(scene, t, torch.as_tensor(np.asarray(xy, np.float64)))
    return depth.numpy(), owner.numpy()


def lift(scene: Scene, xy: FloatArray, t: IntArray) -> tuple[IntArray, FloatArray]:
    """The surface points seen at pixels.

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
    scene: Scene, bodies: IntArray, points: FloatArray, frames: IntArray
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Points of bodies, at some frames.

    Args:
        scene: the scene.
        bodies: [N] bodies.
        points: float64 [N, 3], the bodies' own coordinates.
        frames: [T] frame indices.

    Returns:
        float64 [N, T, 2] frame pixels, float64 [N, T] depth z, bool [N, T] whether each can be seen: before the camera,
        within the frame, and nothing nearer on the way (`TOLERANCE`). In frames of another shot a point is hidden, and
        where it is at the end of its own.
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


def _project(scene: Scene, bodies: IntArray, points: FloatArray, t: int) -> tuple[FloatArray, FloatArray]:
    world = np.zeros_like(points)
    for index in np.unique(bodies).tolist():
        rows, body = bodies == index, scene.bodies[index]
        world[rows] = points[rows] @ body.rotation[t].T + body.place[t]
    return scene.project(world, t)


def _seen(scene: Scene, xy: FloatArray, depth: FloatArray, t: int) -> BoolArray:
    seen: BoolArray = (depth > NEAR) & inside(xy, (scene.info.height, scene.info.width))
    rows = np.flatnonzero(seen)
    seen[rows] = _hits(scene, t, xy[rows])[0] >= depth[rows] * (1 - TOLERANCE)
    return seen


def track(scene: Scene, queries: Queries) -> Tracks:
    """The true tracks of any pixels; their instance is the moving object seen there (0: what stands still).

    Raises:
        InputError: a query outside the video.
    """
    queries.check(scene.info)
    bodies, points = lift(scene, queries.xy, queries.t)
    xy, _, visible = follow(scene, bodies, points, np.arange(scene.info.frames))
    rows = np.arange(len(queries))
    # What was asked for is seen where it was asked for, to the last bit.
    xy[rows, queries.t], visible[rows, queries.t] = queries.xy, True
    instances = scene.instances[bodies]
    return Tracks(xy, visible.astype(np.float32), Queries(queries.xyt, instances), scene.info)


def flow(scene: Scene, t0: int, t1: int) -> tuple[FloatArray, BoolArray]:
    """Where each pixel centre of frame t0 goes by frame t1; see `Scene.flow`."""
    for t in (t0, t1):
        scene.check_frame(t)
    h, w = scene.info.height, scene.info.width
    y, x = np.mgrid[:h, :w] + 0.5
    xy = np.stack([x.ravel(), y.ravel()], 1)
    bodies, points = lift(scene, xy, np.full(len(xy), t0))
    there, _, visible = follow(scene, bodies, points, np.array([t1]))
    return (there[:, 0] - xy).reshape(h, w, 2).astype(np.float32), visible[:, 0].reshape(h, w)
