"""Points tracked with TrackIME: a few everywhere, and those that were lost, which it may find again."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from trackime import segmenters, trackers
from trackime.arrays import FloatArray, Int64, inside
from trackime.devices import resolve_device
from trackime.ime import ImeConfig, track
from trackime.progress import Report
from trackime.segmenters import PointSegmenter
from trackime.trackers import PointTracker
from trackime.types import Queries, RaggedTracks, Tracks
from trackime.video import Video

_STRETCH = 48
"""Frames tracked at a time."""
_SIGMA, _A_FRAME = 0.2, 0.05
"""Expected error in pixels next to the query, and more each frame away from it: as measured on scenes, roughly."""
_EDGE = 0.05
"""A point lost nearer to the frame's edge than this share of its shorter side has left, and is not queried again."""


def made(
    tracker: PointTracker | str, segmenter: PointSegmenter | str, device: str
) -> tuple[PointTracker, PointSegmenter]:
    """A tracker and a segmenter by name, or those given."""
    place = str(resolve_device(device))
    if isinstance(tracker, str):
        tracker = trackers.create(tracker, device=place)
    if isinstance(segmenter, str):
        segmenter = segmenters.create(segmenter, device=place)
    return tracker, segmenter


def add_trackime_points(
    video: Video,
    ragged: RaggedTracks,
    count: int,
    starts: list[int],
    tools: tuple[PointTracker, PointSegmenter],
    progress: Report,
) -> RaggedTracks:
    """Ragged tracks with TrackIME's of `count` points each `_STRETCH` frames.

    Half of them begin in the middle of the stretch, evenly among the points there, and become points of their own. Half
    are points lost within it, queried where they were last seen; where they are seen again their track goes on.

    Args:
        video: the frames.
        ragged: points tracked so far.
        count: of each stretch.
        starts: first frames of the shots, and the number of frames.
        tools: from `made`.
        progress: called as progress("trackime points", frames done, frames).
    """
    tracker, segmenter = tools
    reader = video.again()
    found, late = [], []
    stretches = [t for a, b in pairwise(starts) for t in range(a, b, _STRETCH)]
    for start, stop in pairwise([*stretches, len(video)]):
        everywhere = _even(ragged.at((start + stop) // 2)[1], count - count // 2)
        lost = _even(_lost(ragged, start, stop, video), count // 2)
        rows = np.concatenate((everywhere, lost))
        if len(rows):
            xyt = np.concatenate((ragged.xy[rows], (ragged.frame[rows] - start)[:, None]), 1)
            queries = Queries(xyt.astype(np.float32))
            clip = reader.clip(start, stop)
            tracks = track(clip, queries, tracker=tracker, segmenter=segmenter, config=ImeConfig(cuts=False))
            late.append(_after(tracks, np.arange(len(everywhere), len(rows)), ragged.point[lost], start))
            found.append(_own(tracks[: len(everywhere)], start, len(video)))
        progress("trackime points", stop, len(video))
    if not found:
        return ragged
    point, frame, xy, sigma = (np.concatenate(part) for part in zip(*late, strict=True))
    return RaggedTracks.join([_longer(ragged, point, frame, xy, sigma), *found])


def _even(rows: Int64, count: int) -> Int64:
    """`count` of the rows at most, evenly taken."""
    return rows if len(rows) <= count else rows[np.arange(count) * len(rows) // max(count, 1)]


def _lost(ragged: RaggedTracks, start: int, stop: int, video: Video) -> Int64:
    """Last observations of points that ended in frames start .. stop - 3 inside the frame, in order of point."""
    last = ragged.first[1:] - 1
    size = np.array([video.info.width, video.info.height])
    edge = _EDGE * size.min()
    inner = ((ragged.xy[last] > edge) & (ragged.xy[last] < size - edge)).all(1)
    return np.asarray(last[inner & (ragged.frame[last] >= start) & (ragged.frame[last] < stop - 2)])


def _seen(tracks: Tracks) -> tuple[Int64, Int64, FloatArray]:
    """Rows and frames in which tracks are visible and inside the frame, and their expected errors."""
    size = (tracks.video.height, tracks.video.width)
    row, frame = np.nonzero(tracks.visible & inside(tracks.xy, size))
    away = np.abs(frame - tracks.queries.t[row])
    return row, frame, (_SIGMA + _A_FRAME * away).astype(np.float32)


def _own(tracks: Tracks, start: int, frames: int) -> RaggedTracks:
    """Tracks of a stretch as ragged tracks of the video."""
    row, frame, sigma = _seen(tracks)
    count = np.bincount(row, minlength=len(tracks))
    first = np.concatenate(([0], np.cumsum(count[count > 0])))
    unknown = np.full(len(first) - 1, -1)
    return RaggedTracks(frames, first, frame + start, tracks.xy[row, frame], sigma, unknown)


def _after(tracks: Tracks, rows: Int64, point: Int64, start: int) -> tuple[Int64, Int64, FloatArray, FloatArray]:
    """Point, frame, place and error of the tracks `rows`, which are the points given, after their queries."""
    row, frame, sigma = _seen(tracks)
    number = np.full(len(tracks), -1)
    number[rows] = point
    later = (number[row] >= 0) & (frame > tracks.queries.t[row])
    row, frame = row[later], frame[later]
    return number[row], frame + start, tracks.xy[row, frame], sigma[later]


def _longer(ragged: RaggedTracks, point: Int64, frame: Int64, xy: FloatArray, sigma: FloatArray) -> RaggedTracks:
    """Ragged tracks with later observations of their points; errors of the last known place are added in squares."""
    base = ragged.sigma[ragged.first[1:] - 1][point]
    points = np.concatenate((ragged.point, point))
    frames = np.concatenate((ragged.frame, frame))
    order = np.lexsort((frames, points))
    first = np.concatenate(([0], np.cumsum(np.bincount(points, minlength=len(ragged)))))
    places = np.concatenate((ragged.xy, xy))[order]
    errors = np.concatenate((ragged.sigma, np.hypot(base, sigma)))[order]
    return RaggedTracks(ragged.frames, first, frames[order], places, errors, ragged.instance)
