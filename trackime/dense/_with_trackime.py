"""Some points through TrackIME: a few everywhere, and those that were lost, which it may find again."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from trackime import segmenters, trackers
from trackime.arrays import FloatArray, Int64
from trackime.devices import resolve_device
from trackime.ime import ImeConfig, track
from trackime.progress import Report
from trackime.segmenters import PointSegmenter
from trackime.trackers import PointTracker
from trackime.types import Queries, RaggedTracks, Tracks
from trackime.video import Video

STRETCH = 48
"""Frames asked about at a time."""
SIGMA, A_FRAME = 0.2, 0.05
"""Expected error in pixels next to the query, and more each frame away from it: as scenes showed, roughly."""
EDGE = 0.05
"""A point lost nearer to the frame's edge than this share of its shorter side has left, and is not asked for."""


def ask(
    video: Video,
    trails: RaggedTracks,
    count: int,
    starts: list[int],
    tracker: PointTracker | str,
    segmenter: PointSegmenter | str,
    device: str,
    progress: Report,
) -> RaggedTracks:
    """RaggedTracks with what TrackIME says of `count` points each `STRETCH` frames.

    Half of them begin in the middle of the stretch, evenly among the points there, and become points of their own. Half
    are points lost within it, from where they were last seen; where they are seen again their trail goes on.

    Args:
        video: the frames.
        trails: points followed.
        count: of each stretch.
        starts: first frames of the shots, and the number of frames.
        tracker, segmenter, device: as in `trackime.track`.
        progress: called as progress("asking", frames done, frames).
    """
    place = str(resolve_device(device))
    if isinstance(tracker, str):
        tracker = trackers.create(tracker, device=place)
    if isinstance(segmenter, str):
        segmenter = segmenters.create(segmenter, device=place)
    reader = video.again()
    found, late = [], []
    stretches = [t for a, b in pairwise(starts) for t in range(a, b, STRETCH)]
    for start, stop in pairwise([*stretches, len(video)]):
        everywhere = _even(trails.at((start + stop) // 2)[1], count - count // 2)
        lost = _even(_lost(trails, start, stop, video), count // 2)
        rows = np.concatenate((everywhere, lost))
        if len(rows):
            xyt = np.concatenate((trails.xy[rows], (trails.frame[rows] - start)[:, None]), 1)
            queries = Queries(xyt.astype(np.float32))
            clip = reader.clip(start, stop)
            tracks = track(clip, queries, tracker=tracker, segmenter=segmenter, config=ImeConfig(cuts=False))
            late.append(_after(tracks, np.arange(len(everywhere), len(rows)), trails.point[lost], start))
            found.append(_own(tracks[: len(everywhere)], start, len(video)))
        progress("asking", stop, len(video))
    if not found:
        return trails
    point, frame, xy, sigma = (np.concatenate(part) for part in zip(*late, strict=True))
    return RaggedTracks.join([_longer(trails, point, frame, xy, sigma), *found])


def _even(rows: Int64, count: int) -> Int64:
    """`count` of the rows at most, evenly taken."""
    return rows if len(rows) <= count else rows[np.arange(count) * len(rows) // max(count, 1)]


def _lost(trails: RaggedTracks, start: int, stop: int, video: Video) -> Int64:
    """Last sightings of points that ended in frames start .. stop - 3 inside the frame, in order of point."""
    last = trails.first[1:] - 1
    size = np.array([video.info.width, video.info.height])
    edge = EDGE * size.min()
    inside = ((trails.xy[last] > edge) & (trails.xy[last] < size - edge)).all(1)
    return np.asarray(last[inside & (trails.frame[last] >= start) & (trails.frame[last] < stop - 2)])


def _seen(tracks: Tracks) -> tuple[Int64, Int64, FloatArray]:
    """Rows and frames in which tracks are visible and inside the frame, and their expected errors."""
    size = (tracks.video.width, tracks.video.height)
    row, frame = np.nonzero(tracks.visible & ((tracks.xy >= 0) & (tracks.xy <= size)).all(-1))
    away = np.abs(frame - tracks.queries.t[row])
    return row, frame, (SIGMA + A_FRAME * away).astype(np.float32)


def _own(tracks: Tracks, start: int, frames: int) -> RaggedTracks:
    """Tracks of a stretch as trails of the video."""
    row, frame, sigma = _seen(tracks)
    count = np.bincount(row, minlength=len(tracks))
    first = np.concatenate(([0], np.cumsum(count[count > 0])))
    unknown = np.full(len(first) - 1, -1)
    return RaggedTracks(frames, first, frame + start, tracks.xy[row, frame], sigma, unknown)


def _after(tracks: Tracks, rows: Int64, point: Int64, start: int) -> tuple[Int64, Int64, FloatArray, FloatArray]:
    """Point, frame, place and error of what `rows` of the tracks, the points given, show after their queries."""
    row, frame, sigma = _seen(tracks)
    number = np.full(len(tracks), -1)
    number[rows] = point
    later = (number[row] >= 0) & (frame > tracks.queries.t[row])
    row, frame = row[later], frame[later]
    return number[row], frame + start, tracks.xy[row, frame], sigma[later]


def _longer(trails: RaggedTracks, point: Int64, frame: Int64, xy: FloatArray, sigma: FloatArray) -> RaggedTracks:
    """RaggedTracks with later sightings of their points; errors of the last place known are added in squares."""
    base = trails.sigma[trails.first[1:] - 1][point]
    points = np.concatenate((trails.point, point))
    frames = np.concatenate((trails.frame, frame))
    order = np.lexsort((frames, points))
    first = np.concatenate(([0], np.cumsum(np.bincount(points, minlength=len(trails)))))
    places = np.concatenate((trails.xy, xy))[order]
    errors = np.concatenate((trails.sigma, np.hypot(base, sigma)))[order]
    return RaggedTracks(trails.frames, first, frames[order], places, errors, trails.instance)
