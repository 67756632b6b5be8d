"""Consistent depth of one shot: points, depth to start from, the solve, the filter, the maps."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from trackime.arrays import BoolArray, FloatArray, Int64, UInt8
from trackime.dense import DEFAULT_TRACKER, DenseConfig, follow
from trackime.errors import SolveError
from trackime.geometry import Cameras
from trackime.ime import DEFAULT_SEGMENTER
from trackime.segmenters import PointSegmenter
from trackime.trackers import PointTracker
from trackime.types import RaggedTracks
from trackime.video import Video

from ..run import Progress
from . import matches
from ._filter import smooth
from ._reconstruction import Reconstruction
from ._start import Start, begin
from .config import DepthConfig
from .files import DepthResult
from .movers import movers
from .sfm import WorldPoints, points_of
from .solver import Grid, Problem, Solution, SolverConfig, solve
from .source import Source
from .stereo import fill

_log = logging.getLogger(__name__)

_FILLED = 0.5
"""Confidence in what was filled in rather than seen, of that in what was seen."""


@dataclass(frozen=True, eq=False)
class Shot:
    """A run of frames in one world.

    Attributes:
        start, stop: its frames, stop excluded.
        result: its maps, cameras and frames, read from its folder when asked for.
        trails: the points followed, in frames of the shot.
        static: bool [N], those that stand still.
        about: figures for a record.
    """

    start: int
    stop: int
    result: DepthResult
    trails: RaggedTracks
    static: BoolArray
    about: dict[str, Any] = field(default_factory=dict)

    def world(self) -> WorldPoints:
        """The points that stand still, where cameras and depth put them, with the sightings that fit."""
        return points_of(self.trails, self.static, self.result.cameras, self.result.depth)


@dataclass(frozen=True, eq=False)
class Asked:
    """What is wanted of every shot.

    Attributes:
        config, follow, solver: switches.
        source: of the depth to start from.
        focal: pixels, kept as it is; None: found.
        device: where to compute.
        progress: told of the work; measures its stages.
        tracker, segmenter: of the points that TrackIME follows.
    """

    config: DepthConfig
    follow: DenseConfig
    solver: SolverConfig
    source: Source
    focal: float | None
    device: str
    progress: Progress
    tracker: PointTracker | str = DEFAULT_TRACKER
    segmenter: PointSegmenter | str = DEFAULT_SEGMENTER


def solve_shot(video: Video, start: int, given: RaggedTracks | None, work: Path, folder: Path, asked: Asked) -> Shot:
    """Depth and cameras of a shot, its frames' files written to `folder`.

    Args:
        video: the shot alone.
        start: its first frame in the whole video.
        given: points of the shot, to use instead of following some.
        work: a folder for what may be used again: points, first cameras, first maps.
        folder: of the result.
        asked: how.

    Raises:
        SolveError: parallax does not tell, or a solve that diverged.
    """
    progress, config = asked.progress, asked.config
    width, height = video.info.width, video.info.height
    with progress.stage("following"):
        trails = _kept_trails(video, given, work / "trails.npz", asked)
    with progress.stage("movers"):
        moving = _find_movers(trails, video, config, progress)
    with progress.stage("starting depth"):
        first = begin(
            video, trails, asked.source, work / "start", focal=asked.focal, moving=moving, judge=config.moving,
            device=asked.device, report=progress,
        )  # fmt: skip
    moving = first.moving
    with progress.stage("solving"):
        solution, scale = _settle(first, trails, width, height, asked)
    cameras, joined = _scaled(solution, scale, width, height), _worlds(solution)
    for t in np.unique(joined)[1:].tolist():
        _log.warning("frame %d shares no points with those before it: a world of its own begins there", start + t)
    result = DepthResult.begin(folder, cameras, video.info, first.maps.metric)
    with progress.stage("filtering"):
        _write_maps(result, video, first, solution, scale, joined, config.filter, progress)
    about = {
        "points": len(trails),
        "moving_points": int((~moving.static).sum()),
        "focal": [round(float(v), 3) for v in np.unique(cameras.focal.round(3))[[0, -1]]],
        "worlds": len(np.unique(joined)),
        "cost": solution.cost,
    }
    return Shot(start, start + len(video), result, trails, moving.static, about)


def _kept_trails(video: Video, given: RaggedTracks | None, path: Path, asked: Asked) -> RaggedTracks:
    """The points of a shot: given ones, those of the file `path`, or new ones, which are kept there."""
    if given is not None:
        return given
    if path.exists():
        return RaggedTracks.load(path)
    trails = follow(
        video, config=replace(asked.follow, cuts=False), tracker=asked.tracker, segmenter=asked.segmenter,
        device=asked.device, progress=asked.progress,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    trails.save(path)
    return trails


def _find_movers(trails: RaggedTracks, video: Video, config: DepthConfig, progress: Progress) -> movers.Movers:
    """What moves by itself; nothing where that is not asked for."""
    width, height = video.info.width, video.info.height
    if not config.moving:
        return movers.Movers(trails, np.ones(len(trails), bool), width, height)
    return movers.find(trails, width, height, video=video, progress=progress)


def _settle(first: Start, trails: RaggedTracks, width: int, height: int, asked: Asked) -> tuple[Solution, float]:
    """The solve, and the factor that depth and cameras are to be multiplied by.

    Metric depth keeps its mean scale over the video: the solver itself keeps the first frame's.
    """
    config, progress, frames = asked.config, asked.progress, trails.frames
    # Only what parallax gave itself is in the units of its cameras.
    found = first.reconstruction if asked.source.parallax else None
    if not config.solve:
        return _as_begun(found, width, height), 1.0
    joined = matches.make(
        trails, first.maps, width, height, static=first.moving.static, per_pair=config.matches, progress=progress
    )
    if frames > 1 and not len(joined):
        raise SolveError("depth: expected points that stand still and are seen in two frames or more, found none")
    poses = None if found is None else torch.from_numpy(found.cameras.poses)
    problem = Problem(frames, width, height, joined, first.focal, first.maps.disparity, poses)
    kind = "fixed" if asked.focal is not None else "free" if config.zoom else "shared"
    solution = solve(problem, replace(asked.solver, focal=kind), device=asked.device, progress=progress)
    scale = float(torch.exp(-solution.theta.mean())) if first.maps.metric else 1.0
    return solution, scale


def _as_begun(found: Reconstruction | None, width: int, height: int) -> Solution:
    """The cameras of parallax and its depth, unchanged, as a solution."""
    assert found is not None  # see `run.checked`
    frames = len(found.cameras)
    poses, focal = torch.from_numpy(found.cameras.poses), torch.from_numpy(found.cameras.focal)
    theta = torch.zeros(frames, 1, 1, dtype=torch.float64)
    component = torch.from_numpy(np.searchsorted(found.part, found.part))  # the first frame of each part
    return Solution(poses, focal, theta, 0.0, component, (), Grid.named("1x1", width, height), False)


def _worlds(solution: Solution) -> Int64:
    """int64 [F], the first frame of those that share a world with each; frames without points are with their
    neighbours, from which their camera is."""
    component = solution.component.numpy()
    alone = np.bincount(component, minlength=len(component))[component] == 1
    if alone.all():
        return np.zeros_like(component)
    known = np.flatnonzero(~alone)
    before = np.maximum(np.searchsorted(known, np.arange(len(component)), side="right") - 1, 0)
    own = component[known[before]]
    return np.asarray(np.where(own == own[0], 0, own))


def _scaled(solution: Solution, scale: float, width: int, height: int) -> Cameras:
    """The cameras of a solution, in units `scale` times its own."""
    poses = solution.poses.numpy().copy()
    poses[:, :3, 3] *= scale
    return Cameras(poses, solution.focal.numpy(), width, height)


def _write_maps(
    result: DepthResult,
    video: Video,
    first: Start,
    solution: Solution,
    scale: float,
    joined: Int64,
    radius: int,
    progress: Progress,
) -> None:
    """Every frame's depth, corrected, at the video's resolution, smoothed over time; with its picture and mask."""
    masks: dict[int, BoolArray] = {}
    measured: dict[int, BoolArray] = {}

    def frames() -> Iterator[tuple[UInt8, FloatArray, BoolArray]]:
        for t, image in enumerate(video):
            initial, seen, judged = first.maps.frame(t)
            depth = solution.depth(t, torch.from_numpy(initial)).numpy() * np.float32(scale)
            masks[t] = first.moving.mask(t) if judged is None else judged
            measured[t] = _whole(seen, image) & ~masks[t]
            yield image, _at_resolution(depth, image), masks[t]

    for done in smooth(frames(), result.cameras, radius, shots=joined):
        seen = measured.pop(done.t)
        confidence = done.agreement * np.where(seen, np.float32(1), np.float32(_FILLED))
        result.write(done.t, done.frame, done.depth, confidence, seen, masks.pop(done.t))
        progress("filtering", done.t + 1, len(video))


def _whole(mask: BoolArray, image: UInt8) -> BoolArray:
    """A mask [h, w] at the resolution of an image [H, W, 3]."""
    size = (image.shape[1], image.shape[0])
    return np.asarray(cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0)


def _at_resolution(depth: FloatArray, image: UInt8) -> FloatArray:
    """A map [h, w] at the resolution of an image [H, W, 3], with its edges; as it is where it has that already."""
    return depth if depth.shape == image.shape[:2] else fill(depth, depth > 0, image)
