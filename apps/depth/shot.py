"""Consistent depth of one shot: points, initial depth, the solve, the temporal filter, the maps."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trackime.arrays import BoolArray, FloatArray, Int64, UInt8
from trackime.dense import follow
from trackime.errors import SolveError
from trackime.geometry import Cameras
from trackime.progress import Report, silent
from trackime.types import RaggedTracks
from trackime.video import Video

from ._filter import smooth
from ._initialise import Initialisation, initialise
from ._reconstruction import Reconstruction
from .config import Exports
from .files import DepthFolder, export
from .initial_depth import resize_mask
from .matches import make_matches
from .movers import Movers, find
from .request import DepthRequest
from .sfm import WorldPoints, points_of
from .solver import Grid, Problem, Solution, solve
from .stereo import fill

_log = logging.getLogger(__name__)

_FILLED_CONFIDENCE = 0.5
"""Confidence of depth that was filled in, relative to depth that was measured."""


@dataclass(frozen=True, eq=False)
class DepthShot:
    """A run of frames in one world.

    Attributes:
        start, stop: its frames, stop excluded.
        folder: its maps, cameras and frames.
        tracks: the points tracked, in frames of the shot; None of a result that was loaded.
        static: bool [N], those that do not move; None where `tracks` is.
        about: figures for a record.
    """

    start: int
    stop: int
    folder: DepthFolder
    tracks: RaggedTracks | None = None
    static: BoolArray | None = None
    about: dict[str, Any] = field(default_factory=dict)

    def _world(self) -> WorldPoints | None:
        """The static points, where cameras and depth put them, with the sightings that fit; None without tracks."""
        if self.tracks is None or self.static is None:
            return None
        return points_of(self.tracks, self.static, self.folder.cameras, self.folder.depth)

    def export(self, exports: Exports, progress: Report = silent) -> None:
        """Write `exports` into the folder; their figures go into `about`. Errors as `files.export`."""
        world = None if exports.colmap == "none" else self._world()
        self.about.update(export(self.folder, exports, world, progress))


@dataclass(frozen=True, eq=False)
class _Solved:
    """A solution in the units of the result.

    Attributes:
        solution: cameras and the correction of every map.
        scale: factor of depth and camera positions of the solution.
        cameras: in units of the result.
        worlds: int64 [F], the first frame of those that share a world with each.
    """

    solution: Solution
    scale: float
    cameras: Cameras
    worlds: Int64

    def depth(self, t: int, initial: FloatArray) -> FloatArray:
        """The map [h, w] of frame t, corrected."""
        return self.solution.depth(t, torch.from_numpy(initial)).numpy() * np.float32(self.scale)


def solve_shot(
    video: Video,
    start: int,
    request: DepthRequest,
    folder: Path,
    work: Path,
    given: RaggedTracks | None,
    progress: Report,
) -> DepthShot:
    """Depth and cameras of a shot, its frames' files written to `folder`.

    Args:
        video: the shot alone.
        start: its first frame in the whole video.
        request: how.
        folder: of the result.
        work: a folder for what a later run may reuse: points, first cameras, initial maps.
        given: points of the shot, used instead of tracking some.
        progress: called with (stage, done, total); measures the stages.

    Raises:
        SolveError: no depth by parallax, or a solve that diverged.
    """
    with progress.stage("following"):
        tracks = _track(video, given, work / "tracks.npz", request, progress)
    with progress.stage("movers"):
        moving = _find_movers(tracks, video, request, progress)
    with progress.stage("starting depth"):
        first = initialise(video, tracks, request, work / "start", moving, progress)
    with progress.stage("solving"):
        solved = _solve(first, tracks, video, request, progress)
    for t in np.unique(solved.worlds)[1:].tolist():
        _log.warning(
            "frame %d shares no points with those before it: another coordinate system starts there", start + t
        )
    result = DepthFolder.begin(folder, solved.cameras, video.info, first.maps.metric)
    with progress.stage("filtering"):
        _write_maps(result, video, first, solved, request.depth.filter, progress)
    focal = np.unique(solved.cameras.focal.round(3))
    about = {
        "points": len(tracks),
        "moving_points": int((~first.moving.static).sum()),
        "focal": [round(float(focal[0]), 3), round(float(focal[-1]), 3)],
        "worlds": len(np.unique(solved.worlds)),
        "cost": solved.solution.cost,
    }
    return DepthShot(start, start + len(video), result, tracks, first.moving.static, about)


def _track(
    video: Video, given: RaggedTracks | None, path: Path, request: DepthRequest, progress: Report
) -> RaggedTracks:
    """The points of a shot: given ones, those of the file `path`, or new ones, which are kept there."""
    if given is not None:
        return given
    if path.exists():
        return RaggedTracks.load(path)
    tracks = follow(
        video, config=replace(request.dense, cuts=False), tracker=request.tracker, segmenter=request.segmenter,
        device=request.device, progress=progress,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    tracks.save(path)
    return tracks


def _find_movers(tracks: RaggedTracks, video: Video, request: DepthRequest, progress: Report) -> Movers:
    """Moving points; none where `DepthConfig.moving` is off."""
    width, height = video.info.width, video.info.height
    if not request.depth.moving:
        return Movers(tracks, np.ones(len(tracks), bool), width, height)
    return find(tracks, width, height, video=video, progress=progress)


def _solve(
    first: Initialisation, tracks: RaggedTracks, video: Video, request: DepthRequest, progress: Report
) -> _Solved:
    """Cameras and depth that agree with the tracks.

    Metric depth keeps its mean scale over the video: the solver itself keeps the first frame's.
    """
    config, frames, width, height = request.depth, len(video), video.info.width, video.info.height
    # Only depth by parallax is in the units of the cameras by parallax.
    found = first.reconstruction if request.source.parallax else None
    if not config.solve:
        assert found is not None  # see `DepthRequest`
        return _in_units(_unsolved(found, width, height), 1.0, width, height)
    matches = make_matches(
        tracks, first.maps, width, height, static=first.moving.static, per_pair=config.matches, progress=progress
    )
    if frames > 1 and not len(matches):
        raise SolveError("depth: expected static points that are seen in two frames or more, found none")
    poses = None if found is None else torch.from_numpy(found.cameras.poses)
    problem = Problem(frames, width, height, matches, first.focal, first.maps.disparity, poses)
    kind = "fixed" if request.focal is not None else "free" if config.zoom else "shared"
    solution = solve(problem, replace(request.solver, focal=kind), device=request.device, progress=progress)
    scale = float(torch.exp(-solution.theta.mean())) if first.maps.metric else 1.0
    return _in_units(solution, scale, width, height)


def _unsolved(found: Reconstruction, width: int, height: int) -> Solution:
    """The cameras of parallax and its depth, unchanged, as a solution."""
    frames = len(found.cameras)
    poses, focal = torch.from_numpy(found.cameras.poses), torch.from_numpy(found.cameras.focal)
    theta = torch.zeros(frames, 1, 1, dtype=torch.float64)
    component = torch.from_numpy(np.searchsorted(found.part, found.part))  # the first frame of each part
    return Solution(poses, focal, theta, 0.0, component, (), Grid.named("1x1", width, height), False)


def _in_units(solution: Solution, scale: float, width: int, height: int) -> _Solved:
    """A solution in units `scale` times its own."""
    poses = solution.poses.numpy().copy()
    poses[:, :3, 3] *= scale
    return _Solved(solution, scale, Cameras(poses, solution.focal.numpy(), width, height), _worlds(solution))


def _worlds(solution: Solution) -> Int64:
    """int64 [F], the first frame of those that share a world with each; a frame without points belongs to its
    neighbours, from which its camera is interpolated."""
    component = solution.component.numpy()
    alone = np.bincount(component, minlength=len(component))[component] == 1
    if alone.all():
        return np.zeros_like(component)
    known = np.flatnonzero(~alone)
    before = np.maximum(np.searchsorted(known, np.arange(len(component)), side="right") - 1, 0)
    own = component[known[before]]
    return np.asarray(np.where(own == own[0], 0, own))


def _write_maps(
    result: DepthFolder, video: Video, first: Initialisation, solved: _Solved, radius: int, progress: Report
) -> None:
    """Every frame's depth, corrected, at the video's resolution, smoothed over time; with its image and mask."""
    masks: dict[int, BoolArray] = {}
    measured: dict[int, BoolArray] = {}

    def frames() -> Iterator[tuple[UInt8, FloatArray, BoolArray]]:
        for t, image in enumerate(video):
            initial, seen, judged = first.maps.frame(t)
            masks[t] = first.moving.mask(t) if judged is None else judged
            measured[t] = resize_mask(seen, image.shape) & ~masks[t]
            yield image, _at_resolution(solved.depth(t, initial), image), masks[t]

    for done in smooth(frames(), result.cameras, radius, shots=solved.worlds):
        seen = measured.pop(done.t)
        confidence = done.agreement * np.where(seen, np.float32(1), np.float32(_FILLED_CONFIDENCE))
        result.write(done.t, done.frame, done.depth, confidence, seen, masks.pop(done.t))
        progress("filtering", done.t + 1, len(video))


def _at_resolution(depth: FloatArray, image: UInt8) -> FloatArray:
    """A map [h, w] at the resolution of an image [H, W, 3], with its edges; as it is where it has that already."""
    return depth if depth.shape == image.shape[:2] else fill(depth, depth > 0, image)
