"""Cameras of the frames between keyframes; interpolated where no pose fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from trackime.arrays import BoolArray, Float64, Int64, blocks

from ._mapper import AGREE, NARROW, VIEWS, IncrementalMapper
from ._observations import TrackObservations
from ._refine import refine_poses
from ._reprojection import Observations, Views, errors
from ._resection import FEWEST, SHARE, resect
from ._triangulate import thinned, triangulate

ENOUGH = 400
"""Points that the pose of a frame is found from."""
CHUNK = 200
"""Frames whose poses are found at a time: memory follows it, not the video."""


def all_frames(at: TrackObservations, mapper: IncrementalMapper, keys: Int64) -> tuple[Views, BoolArray]:
    """Cameras of all frames with the mapper's points, and which of them are known bool [F].

    The points stay as they are; a frame is known where enough of those it sees fit.
    """
    known = np.zeros(at.frames, bool)
    known[keys[mapper.registered]] = True
    rotation, shift = np.tile(np.eye(3), (at.frames, 1, 1)), np.zeros((at.frames, 3))
    rotation[keys], shift[keys] = mapper.views.rotation, mapper.views.shift
    views = interpolated(Views(rotation, shift, mapper.views.points, mapper.views.focal), known)
    for last in (False, True):
        seen = _of_points(at, views)
        few = _few(seen, at.frames)
        views = _poses(views, few)
        solved = _fit(views, seen, at.frames, mapper.tolerance)
        for t in np.flatnonzero(~solved):
            rows = seen.camera == t
            pose = resect(views.points[seen.point[rows]], seen.xy[rows], views.focal)
            if pose is not None:
                views.rotation[t], views.shift[t] = pose
        if not solved.all():
            views = _poses(views, few)
            solved = _fit(views, seen, at.frames, mapper.tolerance)
        if not last:
            views = _more_points(at, views, solved, mapper.tolerance)
    return views, solved


def _of_points(at: TrackObservations, views: Views) -> Observations:
    rows = np.flatnonzero(np.isfinite(views.points[at.point, 0]))
    return Observations(at.frame[rows], at.point[rows], at.xy[rows], at.weight[rows])


def _poses(views: Views, seen: Observations) -> Views:
    """`refine_poses`, some frames at a time; `seen` in order of frame."""
    rotation, shift = views.rotation.copy(), views.shift.copy()
    for here in blocks(len(rotation), CHUNK):
        low, high = np.searchsorted(seen.camera, (here.start, here.stop))
        part = seen.take(slice(low, high))
        some = replace(views, rotation=rotation[here], shift=shift[here])
        some = refine_poses(some, replace(part, camera=part.camera - here.start))
        rotation[here], shift[here] = some.rotation, some.shift
    return replace(views, rotation=rotation, shift=shift)


def _few(seen: Observations, frames: int) -> Observations:
    """At most about ENOUGH observations of a frame, evenly spread."""
    seen = seen.take(np.argsort(seen.camera, kind="stable"))
    return seen.take(thinned(seen.camera, frames, ENOUGH))


def _fit(views: Views, seen: Observations, frames: int, pixels: float) -> BoolArray:
    """bool [F], frames in which enough points fit."""
    fits = errors(views, seen) <= pixels
    number = np.bincount(seen.camera[fits], minlength=frames)
    total = np.bincount(seen.camera, minlength=frames)
    return (number >= FEWEST) & (number >= SHARE * total)


def _more_points(at: TrackObservations, views: Views, known: BoolArray, pixels: float) -> Views:
    """Points triangulated from the known cameras of all frames, not from keyframes alone."""
    camera_of = np.where(known, np.arange(len(known)), -1)
    seen, _ = at.in_cameras(camera_of)
    found = triangulate(views, seen, len(at), pixels)
    lengths = np.bincount(seen.point, minlength=len(at))
    good = (found.count >= VIEWS) & (found.count >= AGREE * lengths) & (found.angle >= NARROW)
    return replace(views, points=np.where(good[:, None], found.points, np.nan))


def interpolated(views: Views, known: BoolArray) -> Views:
    """Cameras of the other frames interpolated between their known neighbours in time, constant at the ends."""
    times = np.flatnonzero(known)
    every = np.clip(np.arange(len(known)), times[0], times[-1])
    back, centre = views.rotation.transpose(0, 2, 1), views.centres
    turn: Float64 = np.repeat(back[times[:1]], len(known), 0)
    if len(times) > 1:
        turn = Slerp(times, Rotation.from_matrix(back[times]))(every).as_matrix()
    place = np.stack([np.interp(every, times, centre[times, i]) for i in range(3)], 1)
    turn[known], place[known] = back[known], centre[known]
    rotation = turn.transpose(0, 2, 1).copy()
    return replace(views, rotation=rotation, shift=-np.einsum("mij,mj->mi", rotation, place))
