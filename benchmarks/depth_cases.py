"""Videos with true depth and cameras: rendered worlds, and RGB-D folders."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trackime import datasets
from trackime.arrays import BoolArray, Float64, FloatArray
from trackime.errors import InputError
from trackime.types import Queries, RaggedTracks
from trackime.video import Video, open_video
from trackime.worlds import make_scene
from trackime.worlds.scene import Scene

EXACT = 0.1
"""Expected error of true tracks in pixels."""


@dataclass(frozen=True, eq=False)
class Case:
    """A video and its ground truth.

    Attributes:
        name: of the scene.
        video: its frames.
        depth: true depth [H, W] of a frame, 0 unknown.
        poses: float64 [F, 4, 4] camera-to-world; NaN where unknown.
        focal: pixels, true (fx where fx and fy differ).
        tracks: true tracks of static points, to measure consistency along; None: not known.
        scene: the world, where it is one.
    """

    name: str
    video: Video
    depth: Callable[[int], FloatArray]
    poses: Float64
    focal: float
    tracks: RaggedTracks | None = None
    scene: Scene | None = None

    @property
    def static(self) -> Callable[[int], BoolArray]:
        """bool [H, W] of a frame: what does not move. InputError where that is not known."""
        scene = self.scene
        if scene is None:
            raise InputError(f"{self.name}: expected a world, whose moving objects are known")
        return lambda t: ~scene.dynamic(t)


def worlds(
    seeds: Sequence[int], paths: Sequence[str], size: tuple[int, int], frames: int, movers: int
) -> Iterator[Case]:
    """A world for each seed, the paths in turn.

    Args:
        seeds: of the worlds.
        paths: how the camera moves, see `trackime.worlds.PATHS`.
        size: (width, height).
        frames: F.
        movers: moving objects, of six and as many again as there are.
    """
    for k, seed in enumerate(seeds):
        path = paths[k % len(paths)]
        scene = make_scene(
            seed, width=size[0], height=size[1], frames=frames, objects=6 + movers, movers=movers, path=path
        )
        tracks = RaggedTracks.of(scene.sample(400, seed=seed, ids=[0], edge_share=0.0))
        video = open_video(scene.video)
        yield Case(f"{path} {seed}", video, lambda t, d=scene.depths: d[t], scene.poses, scene.focal, tracks, scene)


def scans(kind: str, path: str, first: int = 0, frames: int | None = None) -> Iterator[Case]:
    """Videos of a data set of RGB-D, or a stretch of each: `frames` of them from `first` on.

    Raises:
        InputError: a stretch that is not there.
    """
    for scan in datasets.scans(kind, path):
        video = open_video(scan.video)
        last = len(video) if frames is None else min(len(video), first + frames)
        if not 0 <= first < last:
            raise InputError(f"{scan.name}: expected a first frame of 0 .. {len(video) - 1}, got {first}")
        focal = float(scan.intrinsics[first, 0, 0])
        poses = scan.poses[first:last]
        yield Case(scan.name, video.clip(first, last), lambda t, s=scan: s.depth(first + t), poses, focal)


def static_tracks(scene: Scene, step: int, every: int = 8) -> RaggedTracks:
    """True tracks of a grid of every `step` pixels of every `every`-th frame; only of what does not move.

    Their expected error is `EXACT`: with a tracker's pixel the solve would trade them for smoother factors of depth.
    """
    w, h = scene.info.width, scene.info.height
    y, x = (a.ravel() + 0.5 for a in np.mgrid[step // 2 : h : step, step // 2 : w : step])
    grid = [(a, b, t) for t in range(0, len(scene), every) for a, b in zip(x, y, strict=True)]
    tracks = scene.track(Queries(grid))
    return RaggedTracks.of(tracks[np.flatnonzero(tracks.instance == 0)], EXACT)


def grid_step(width: int, height: int, points: int = 800) -> int:
    """Pixels between the points of a grid of some `points` over a frame."""
    return max(2, round(math.sqrt(width * height / points)))
