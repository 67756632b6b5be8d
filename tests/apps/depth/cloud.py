"""A cloud of points before a few cameras, everything about which is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from trackime.types import RaggedTracks
from trackime_apps.depth.sfm import Observations, Views, _bundle
from trackime_apps.depth.sfm._reprojection import project


def views_of(seed: int = 0, cameras: int = 5, points: int = 40, focal: float = 150.0) -> Views:
    """Cameras along a line that look at a cloud of points some 4 away."""
    rng = np.random.default_rng(seed)
    turn = Rotation.from_rotvec(rng.normal(0, 0.05, (cameras, 3))).as_matrix()
    centre = np.stack((np.linspace(-0.8, 0.8, cameras), *rng.normal(0, 0.1, (2, cameras))), 1)
    cloud = rng.uniform((-1.5, -1, 3), (1.5, 1, 6), (points, 3))
    return Views(turn, -np.einsum("mij,mj->mi", turn, centre), cloud, focal)


def seen_by(views: Views, noise: float = 0.0, share: float = 1.0, seed: int = 0) -> Observations:
    """What the cameras see of the points, in order of point, then camera; a share of it."""
    rng = np.random.default_rng(seed)
    point, camera = np.nonzero(rng.random((len(views.points), len(views.rotation))) <= share)
    empty = Observations(camera, point, np.zeros((len(point), 2)), rng.uniform(0.5, 2, len(point)))
    return replace(empty, xy=project(views, empty)[0] + rng.normal(0, noise, (len(point), 2)))


def shaken(views: Views, size: float, seed: int = 0) -> Views:
    rng = np.random.default_rng(seed)
    m, p = len(views.rotation), len(views.points)
    cameras = rng.normal(0, size, (m, 6))
    cameras[0] = 0
    return _bundle._moved(views, cameras, rng.normal(0, size, (p, 3)), rng.normal(0, size))


def tracks_of(views: Views, width: int, height: int, noise: float = 0.0, seed: int = 0) -> RaggedTracks:
    """Every point in every frame that it is inside of."""
    full = seen_by(views, noise, 1.0, seed)
    xy = full.xy + np.array([width / 2, height / 2])
    inside = np.isfinite(xy).all(1) & (xy >= 0).all(1) & (xy <= (width, height)).all(1)
    point, frame, xy = full.point[inside], full.camera[inside], xy[inside]
    length = np.bincount(point)
    length = length[length > 0]
    first = np.concatenate(([0], np.cumsum(length)))
    return RaggedTracks(len(views.rotation), first, frame, xy, np.ones(len(xy)), np.zeros(len(length)))
