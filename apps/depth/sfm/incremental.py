"""Structure from motion of a video from tracks alone: cameras and sparse points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from trackime.arrays import BoolArray, Float64, Int64
from trackime.errors import InputError, ShapeError, SolveError
from trackime.geometry import Cameras
from trackime.progress import Report, silent
from trackime.types import RaggedTracks

from .._reconstruction import Reconstruction
from ._focal import PAIRS, candidates, likely, sweep, wide_pairs
from ._frames import all_frames, interpolated
from ._keyframes import WIDE, keyframes
from ._mapper import AGREE, EARLY, NARROW, VIEWS, FocalGuess, IncrementalMapper
from ._observations import TrackObservations
from ._relative import RelativePose, relative_pose
from ._reprojection import Views, errors, project
from ._triangulate import triangulate
from .degeneracy import ANGLE, check_better, check_enough, check_frames, check_translates, degenerate

_LARGE = 960.0
"""Longer side in pixels of the largest picture worked in: thresholds in pixels are those of one no larger."""
_CROSSING = 12
"""Points visible on both sides of two frames below which there is a cut between them."""
_TRIED = 12
"""Pairs of keyframes tried as the first."""
_BROAD = 2.0
"""Degrees between the rays of a point that counts for a first pair."""
_FITTING = 0.3
"""Share of the observations that must fit in the end."""
_KNOWN = 2 / 3
"""Share of the frames whose camera must be found."""


def reconstruct(
    tracks: RaggedTracks, width: int, height: int, *, focal: float | None = None, static: BoolArray | None = None,
    progress: Report = silent,
) -> Reconstruction:  # fmt: skip
    """Cameras of all frames and sparse points from tracks alone.

    A video with cuts is solved part by part, each in a world of its own (see `Reconstruction`); where one of them
    cannot be solved, none is, and the error names its frames. The same input gives the same result.

    Args:
        tracks: points and where they are seen.
        width, height: of a frame, pixels.
        focal: pixels; None: it is solved for, one for each part.
        static: bool [N], False for points that are known to move; points that do not fit a rigid scene are found and
            left out in any case.
        progress: called with the stage, steps done and steps in all.

    Raises:
        SolveError: no solution: too few frames or points, a camera that only rotates, a scene that is flat while
            the focal length is unknown, points too far away, or points that fit no rigid scene.
        InputError: a size or focal length that is not positive; ShapeError: `static` is not [N].
    """
    if width < 1 or height < 1:
        raise InputError(f"expected frames of at least 1x1 pixels, got {width}x{height}")
    if focal is not None and not (np.isfinite(focal) and focal > 0):
        raise InputError(f"focal: expected a positive number of pixels, got {focal}")
    check_frames(tracks.frames)
    number = np.arange(len(tracks))
    if static is not None:
        static = np.asarray(static, bool)
        if static.shape != (len(tracks),):
            raise ShapeError("static", f"[{len(tracks)}]", static.shape)
        tracks, number = tracks.take(static), number[static]
    scale = min(1.0, _LARGE / max(width, height))
    bounds = _bounds(tracks)
    parts = []
    for k, (begin, end) in enumerate(pairwise(bounds)):
        where = "" if len(bounds) == 2 else f", frames {begin} to {end - 1} (between cuts)"
        piece, whose = tracks.window(begin, end)
        solved = _PartSolver(
            TrackObservations(piece, width, height, scale), max(width, height) * scale, where, progress
        ).solve(None if focal is None else focal * scale)
        parts.append(_PlacedPart(solved, begin, number[whose[solved.point]], k))
    return _joined(parts, tracks.frames, width, height, scale)


def _bounds(tracks: RaggedTracks) -> list[int]:
    """The first frame of each part of the video, and its end: no tracks lead across a cut.

    Frames that see nothing belong to the part before them (at the start: after them), whose cameras they continue.
    """
    cuts = [0, *(np.flatnonzero(tracks.crossing() < _CROSSING) + 1).tolist()]
    count = np.bincount(tracks.frame, minlength=tracks.frames)
    ends = [*cuts[1:], tracks.frames]
    seeing = [a for a, b in zip(cuts, ends, strict=True) if count[a:b].max(initial=0) >= _CROSSING]
    return [0, *seeing[1:], tracks.frames]


@dataclass(frozen=True, eq=False)
class _SolvedPart:
    """A part: cameras in `views` of all its frames, which are known, points and which they are, keyframes,
    observations' errors in pixels."""

    views: Views
    known: BoolArray
    point: Int64
    keyframes: Int64
    errors: Float64


@dataclass(frozen=True, eq=False)
class _PlacedPart:
    solved: _SolvedPart
    begin: int
    point: Int64
    number: int


def _joined(parts: list[_PlacedPart], frames: int, width: int, height: int, scale: float) -> Reconstruction:
    poses = np.tile(np.eye(4), (frames, 1, 1))
    focal, part = np.ones(frames), np.zeros(frames, np.int64)
    known = np.zeros(frames, bool)
    for placed in parts:
        views = placed.solved.views
        here = slice(placed.begin, placed.begin + len(views.rotation))
        poses[here, :3, :3], poses[here, :3, 3] = views.rotation.transpose(0, 2, 1), views.centres
        focal[here], part[here], known[here] = views.focal / scale, placed.number, placed.solved.known
    point = np.concatenate([p.point for p in parts])
    points = np.concatenate([p.solved.views.points for p in parts])
    # A track that a tracker carries across a cut is in the first part that has it.
    point, first = np.unique(point, return_index=True)
    error = float(np.median(np.concatenate([p.solved.errors for p in parts]))) / scale
    keys = np.concatenate([p.solved.keyframes + p.begin for p in parts])
    return Reconstruction(Cameras(poses, focal, width, height), known, points[first], point, keys, error, part)


class _PartSolver:
    """The solve of one stretch of frames without a cut.

    Args:
        observed: in frames counted from the stretch's first, in pixels of the picture worked in.
        size: the longer side of that picture.
        where: names the stretch in errors.
    """

    def __init__(self, observed: TrackObservations, size: float, where: str, progress: Report) -> None:
        self._at, self._size, self._where = observed, size, where
        self._progress = progress

    def _report(self, stage: str, done: int, total: int) -> None:
        self._progress(stage + self._where, done, total)

    def solve(self, focal: float | None) -> _SolvedPart:
        tried = candidates(int(self._size)) if focal is None else np.array([focal])
        check_enough(self._at, self._where)
        check_translates(self._at, tried, self._where)
        self._report("keyframes", 0, 1)
        keys = keyframes(self._at, 0, self._at.frames, int(self._size), tried)
        pairs = wide_pairs(self._at, keys, tried, _TRIED)
        self._report("keyframes", 1, 1)
        if not pairs:
            raise degenerate(self._where, "frames with parallax between them share too few points")
        lens = self._lens(focal, tried, pairs)
        mapper = self._mapped(keys, pairs, lens)
        return self._finished(mapper, keys)

    def _lens(self, focal: float | None, tried: Float64, pairs: list[tuple[int, int]]) -> FocalGuess:
        if focal is not None:
            return FocalGuess(focal, True)
        self._report("focal length", 0, 1)
        costs = sweep(self._at, pairs[:PAIRS], tried)
        self._report("focal length", 1, 1)
        if costs is None:
            raise degenerate(
                self._where, "the scene is flat, which leaves the focal length open: give --focal or --fov"
            )
        return FocalGuess(likely(tried, costs, int(self._size)), False)

    def _first(self, pairs: list[tuple[int, int]], focal: float) -> tuple[int, int, RelativePose]:
        """The pair of keyframes with most points triangulated at a broad angle."""
        best: tuple[int, int, int, RelativePose] | None = None
        for i, j in pairs:
            a, b = self._at.between(i, j)
            found = relative_pose(self._at.xy[a], self._at.xy[b], focal)
            if found is None:
                continue
            # Where few fit, it is the motion of something before the camera.
            enough = found.inliers.mean() >= _FITTING
            count = int((np.isfinite(found.points[:, 0]) & (found.angle >= _BROAD)).sum()) if enough else 0
            if best is None or count > best[0]:
                best = (count, i, j, found)
        if best is None or best[0] < VIEWS * 5:
            raise degenerate(self._where, "no two frames have enough points with parallax")
        middle = float(np.median(best[3].angle[best[3].inliers]))
        if middle < ANGLE:
            raise degenerate(self._where, f"the camera moves too little: rays of points meet at {middle:.2g} degrees")
        return best[1], best[2], best[3]

    def _mapped(self, keys: Int64, pairs: list[tuple[int, int]], lens: FocalGuess) -> IncrementalMapper:
        i, j, pair = self._first(pairs, lens.focal)
        camera_of = np.full(self._at.frames, -1)
        camera_of[keys] = np.arange(len(keys))
        at = self._at
        seen, _ = at.in_cameras(camera_of)
        mapper = IncrementalMapper(seen, len(keys), len(at), lens, EARLY * float(np.clip(self._size / WIDE, 0.5, 1)))
        mapper.begin(int(camera_of[i]), int(camera_of[j]), pair)
        mapper.grow(lambda done, total: self._report("cameras of keyframes", done, total))
        if mapper.registered.sum() < VIEWS:
            raise degenerate(self._where, "no third frame fits the points of the first two")
        self._report("bundle adjustment", 0, 1)
        mapper.finish()
        self._report("bundle adjustment", 1, 1)
        return mapper

    def _finished(self, mapper: IncrementalMapper, keys: Int64) -> _SolvedPart:
        self._report("cameras of all frames", 0, 1)
        views, known = all_frames(self._at, mapper, keys)
        self._report("cameras of all frames", 1, 1)
        seeing = np.bincount(self._at.frame, minlength=len(known)) >= _CROSSING
        if known.sum() < _KNOWN * seeing.sum():
            raise degenerate(
                self._where, f"a camera that fits was found for {known.sum()} of {seeing.sum()} frames only"
            )
        camera_of = np.where(known, np.arange(len(known)), -1)
        at = self._at
        seen, rows = at.in_cameras(camera_of)
        found = triangulate(views, seen, len(at), mapper.tolerance)
        lengths = np.bincount(seen.point, minlength=len(at))
        consistent = (found.count >= VIEWS) & (found.count >= AGREE * lengths)
        fitting = found.count[consistent].sum() / max(1, len(seen.point))
        if fitting < _FITTING:
            raise degenerate(self._where, f"only {fitting:.0%} of what was tracked fits one rigid scene")
        fits = np.zeros(len(at.point), bool)
        fits[rows[found.inliers & consistent[seen.point]]] = True
        check_better(at, fits, views.focal, self._where)
        order = np.argsort(found.angle[consistent])
        weight = np.cumsum(found.count[consistent][order])
        middle = float(found.angle[consistent][order][np.searchsorted(weight, weight[-1] / 2)])
        if middle < ANGLE:
            raise degenerate(self._where, f"the camera moves too little: rays of points meet at {middle:.2g} degrees")
        good = consistent & (found.angle >= NARROW)
        point = np.flatnonzero(good)
        views = interpolated(replace(views, points=found.points[point]), known)
        place = np.cumsum(good) - 1
        kept = found.inliers & good[seen.point]
        seen = replace(seen.take(kept), point=place[seen.point[kept]])
        views = _gauged(views, float(np.median(project(views, seen)[1])))
        used = keys[mapper.registered & known[keys]]
        return _SolvedPart(views, known, point, used, errors(views, seen))


def _gauged(views: Views, depth: float) -> Views:
    """The world moved into the first camera and scaled so that `depth` becomes 1."""
    if not (np.isfinite(depth) and depth > 0):
        raise SolveError(f"depth from parallax: expected points before the cameras, got a median depth of {depth:g}")
    first, shift = views.rotation[0], views.shift[0]
    rotation = views.rotation @ first.T
    moved = views.shift - np.einsum("mij,j->mi", rotation, shift)
    return replace(views, rotation=rotation, shift=moved / depth, points=(views.points @ first.T + shift) / depth)
