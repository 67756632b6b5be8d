"""A wall seen by some cameras: a depth result small enough to know everything about."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from trackime.geometry import Cameras
from trackime.types import Queries, RaggedTracks, Tracks, VideoInfo
from trackime_apps.depth.files import DepthFolder

W, H, FRAMES = 33, 25, 4


def some_cameras(frames: int = FRAMES, width: int = W, height: int = H, shared: bool = True) -> Cameras:
    """Cameras that look at z = 4 or so from around the origin; the first is the world."""
    rng = np.random.default_rng(0)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    for t in range(1, frames):
        poses[t, :3, :3] = cv2.Rodrigues(rng.normal(0, 0.05, 3))[0]
        poses[t, :3, 3] = rng.normal(0, 0.3, 3)
    focal = np.full(frames, 40.0) if shared else np.linspace(38, 44, frames)
    return Cameras(poses, focal, width, height)


def plane(cameras: Cameras, t: int, far: float = 4.0) -> np.ndarray:
    """float32 [H, W], depth of the wall z = far of the world."""
    y, x = np.mgrid[: cameras.height, : cameras.width] + 0.5
    ray = cameras.lift(np.stack((x.ravel(), y.ravel()), 1), np.ones(x.size), t) - cameras.poses[t, :3, 3]
    return ((far - cameras.poses[t, 2, 3]) / ray[:, 2]).reshape(x.shape).astype(np.float32)


def painted(cameras: Cameras, t: int) -> np.ndarray:
    """The wall's picture: red and green tell where on it a pixel looks, to 1/40 of a unit."""
    y, x = np.mgrid[: cameras.height, : cameras.width] + 0.5
    xyz = cameras.lift(np.stack((x.ravel(), y.ravel()), 1), plane(cameras, t).ravel(), t)
    return (
        np.dstack([*(xyz[:, :2].T * 40 + 128), np.full(len(xyz), 7)])
        .reshape(cameras.height, cameras.width, 3)
        .astype(np.uint8)
    )


def some_info(frames: int = FRAMES, width: int = W, height: int = H) -> VideoInfo:
    names = ("b frame", "a", "äöü", "007")[:frames]
    return VideoInfo(width, height, np.array([0, 0.04, 0.1, 1 / 3])[:frames], names)


def write(folder: Path, metric: bool = False, frames: int = FRAMES, cameras: Cameras | None = None) -> DepthFolder:
    """A result of the wall with a mover in one corner, something filled in another and a hole."""
    cameras = cameras or some_cameras(frames)
    result = DepthFolder.begin(folder, cameras, some_info(frames), metric)
    for t in range(frames):
        depth, measured, moving = plane(cameras, t), np.ones((H, W), bool), np.zeros((H, W), bool)
        depth[:3, :3], measured[-4:, -4:], moving[:5, -6:] = np.nan, False, True
        depth[moving], depth[~measured] = 2.0, 3.0
        result.write(t, painted(cameras, t), depth, np.full((H, W), 0.5), measured, moving)
    return result


def seen_points(cameras: Cameras, count: int = 30, noise: float = 0.0) -> tuple[RaggedTracks, np.ndarray]:
    """Points of the wall and where they are seen."""
    rng = np.random.default_rng(1)
    points = np.concatenate((rng.uniform(-1.2, 1.2, (count, 2)), np.full((count, 1), 4.0)), 1)
    frames = len(cameras)
    xy = np.stack([cameras.project(points, t)[0] for t in range(frames)], 1)
    seen = ((xy >= 0) & (xy <= (cameras.width, cameras.height))).all(-1)
    seen &= rng.random(seen.shape) < 0.8
    seen[:, 0] = True
    xy = np.clip(xy + rng.normal(0, noise, xy.shape), 0, (cameras.width, cameras.height))
    info = VideoInfo.regular(cameras.width, cameras.height, frames)
    tracks = Tracks(xy, seen.astype(float), Queries(np.zeros((count, 3)), np.arange(count)), info)
    trails = RaggedTracks.of(tracks)
    return trails, points[trails.instance]
