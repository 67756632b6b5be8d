"""Video object segmentation from point trajectories: prompts in, one id mask a frame out, frame by frame."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trackime import segmenters, trackers
from trackime.arrays import BoolArray, FloatArray, UInt8
from trackime.devices import resolve_device
from trackime.errors import InputError
from trackime.ime import DEFAULT_SEGMENTER, ImeConfig
from trackime.ime import run as track
from trackime.progress import Report, silent
from trackime.segmenters import PointSegmenter
from trackime.trackers import PointTracker
from trackime.types import Queries, Tracks
from trackime.video import Video, open_video

from ._direction import Direction, working_size
from ._prompted import Adviser
from ._prompts import Prompts
from ._reseed import Follow, Points
from .config import DEFAULT_TRACKER, VosConfig
from .queries import BACKGROUND, object_ids, sample_background, sample_objects


@dataclass(frozen=True)
class _FrameMask:
    """The result of one frame.

    Attributes:
        t: its index.
        ids: uint8 [H, W], 0 background, else the object's id.
        confidence: float32 [objects], in the order of `Segmentation.objects`; 0 where an object is not found.
    """

    t: int
    ids: UInt8
    confidence: FloatArray


def segment(
    video: Any,
    *,
    masks: Mapping[int, npt.NDArray[Any]] | None = None,
    points: Queries | None = None,
    labels: npt.ArrayLike | None = None,
    tracks: Tracks | None = None,
    tracker: PointTracker | str | None = DEFAULT_TRACKER,
    segmenter: PointSegmenter | str = DEFAULT_SEGMENTER,
    config: VosConfig | None = None,
    ime: ImeConfig | None = None,
    device: str = "auto",
    progress: Report | None = None,
) -> Segmentation:
    """Follow objects through a video.

    Tracking happens here; masks are made while the result is iterated, in the order of the video, and no more than a
    chunk of frames is held. Frames before an object's first prompt are done first, backwards; their masks are kept
    compressed (a few kilobytes each) until their turn.

    Args:
        video: a path, a frame folder, uint8 [T, H, W, 3], or a `Video`.
        masks: ids uint8 [H, W] by frame: 0 background, 255 void. An object's first mask starts it, later ones reset it.
        points: clicks in source pixels, their instance the object's id (-1: object 1); later clicks mend the object.
        labels: [N] of the clicks, 1 on the object, 0 off it; None: all on.
        tracks: tracks to use instead of tracking; those of an object's id, or, where none has it, those that lie in
            its first mask; of the rest, those outside all first masks count as background.
        tracker: a name of `trackime.trackers.names()`, or any PointTracker; where tracks are given it follows new
            points alone, and None is no new points.
        segmenter: a name of `trackime.segmenters.names()`, or any PointSegmenter: turns clicks into masks, and, other
            than graphcut, is asked in every frame with the tracked points.
        config: switches of the propagation.
        ime: switches of the tracking.
        device: auto, cpu, cuda, cuda:N or mps; used where names are given.
        progress: called with (stage, done, total).

    Raises:
        VideoError: a video that cannot be read.
        InputError, ShapeError: prompts that do not fit the video (see `Prompts`), tracks of another video.
        DeviceError: no such device.
    """
    config, ime = config or VosConfig(), ime or ImeConfig()
    opened = open_video(video)
    prompts = Prompts(opened.info, masks, points, labels)
    if tracks is not None:
        tracks.check(opened.info)
    if tracker is None and tracks is None:
        raise InputError("tracker: expected one where no tracks are given, got none")
    segmenter = make_segmenter(segmenter, device)
    tracker = None if tracker is None else make_tracker(tracker, device)
    seconds: dict[str, float] = {}
    begun = time.perf_counter()
    first = _first_masks(opened, prompts, segmenter)
    seconds["prompts"] = time.perf_counter() - begun
    begun = time.perf_counter()
    if tracks is None:
        assert tracker is not None
        tracks = _track(opened, prompts, first, tracker, segmenter, config, ime, progress)
    else:
        tracks = _assign(tracks, prompts.first, first)
    seconds["tracks"] = time.perf_counter() - begun
    course = Course(opened, tracks, tracker, segmenter, config, ime)
    return Segmentation(course, prompts, first, seconds, progress)


def make_segmenter(segmenter: PointSegmenter | str, device: str) -> PointSegmenter:
    """The segmenter of that name, or the one given."""
    if isinstance(segmenter, str):
        return segmenters.create(segmenter, device=str(resolve_device(device)))
    return segmenter


def make_tracker(tracker: PointTracker | str, device: str) -> PointTracker:
    """The tracker of that name, or the one given."""
    return trackers.create(tracker, device=str(resolve_device(device))) if isinstance(tracker, str) else tracker


def alone(ime: ImeConfig) -> ImeConfig:
    """`ime` of a tracker alone, in the full frame: enough for points of the background, and of short tracks."""
    return ime.alone()


@dataclass(frozen=True)
class Course:
    """What objects are followed through, and with what.

    Attributes:
        video: the frames.
        tracks: instance is the object, 0 the background.
        tracker: follows points put on the way; None: there are none.
        segmenter: other than graphcut it is asked in every frame.
        config, ime: the switches.
    """

    video: Video
    tracks: Tracks
    tracker: PointTracker | None
    segmenter: PointSegmenter
    config: VosConfig
    ime: ImeConfig

    def direction(self, objects: Sequence[int], backward: bool) -> Direction:
        """The objects on their way in one direction of time, before their first frame."""
        size = (self.video.info.height, self.video.info.width)
        adviser = None if self.segmenter.name == "graphcut" else Adviser(self.segmenter, self.config)
        follow = None if self.tracker is None else _follower(self.video, self.tracker, self.segmenter, self.ime)
        points = Points(self.config, self.tracks, follow, backward)
        return Direction(self.config, objects, points, working_size(size, self.config.side), size, adviser)


def _follower(video: Video, tracker: PointTracker, segmenter: PointSegmenter, ime: ImeConfig) -> Follow:
    """How points put on the way are followed: by the tracker alone, in the full frame."""

    def follow(queries: Queries, last: int) -> Tracks:
        t = int(queries.t[0])
        t0, t1 = min(t, last), max(t, last) + 1
        moved = Queries(queries.xyt - np.array([0, 0, t0], np.float32), queries.instance)
        found = track(video.clip(t0, t1), moved, tracker, segmenter, alone(ime)).tracks
        return Tracks(found.xy, found.visibility, moved, found.video)

    return follow


def _first_masks(video: Video, prompts: Prompts, segmenter: PointSegmenter) -> dict[int, BoolArray]:
    """Each object's mask bool [H, W] at its first prompt."""
    masks: dict[int, BoolArray] = {}
    for t in sorted(set(prompts.first.values())):
        stated = prompts.at(t, video[t], segmenter, {})
        masks.update({k: stated[k] for k, start in prompts.first.items() if start == t})
    return masks


def _track(
    video: Video,
    prompts: Prompts,
    first: Mapping[int, BoolArray],
    tracker: PointTracker,
    segmenter: PointSegmenter,
    config: VosConfig,
    ime: ImeConfig,
    progress: Report | None,
) -> Tracks:
    """Tracks of points on the objects (TrackIME, the first masks known to it) and around them (the tracker alone)."""
    on, off, known = [], [], {}
    for t in sorted(set(prompts.first.values())):
        ids = np.zeros((video.info.height, video.info.width), np.uint8)
        for k in prompts.objects:
            if prompts.first[k] == t:
                ids[first[k]] = k
        known[t] = ids
        on.append(sample_objects(ids, t, config, video[t]))
        off.append(sample_background(ids, t, config))
    clicked = prompts.labels == 1
    on.append(prompts.points[clicked])
    off.append(Queries(prompts.points.xyt[~clicked]))
    report = progress or silent
    found = track(video, Queries.concat(on), tracker, segmenter, ime, report, masks=known).tracks
    parts = [Tracks(found.xy, found.visibility, Queries.concat(on), found.video)]
    around = Queries.concat(off)
    if len(around):
        lone = Queries(around.xyt)
        found = track(video, lone, tracker, segmenter, alone(ime), report).tracks
        named = Queries(around.xyt, np.full(len(around), BACKGROUND))
        parts.append(Tracks(found.xy, found.visibility, named, found.video))
    return Tracks.concat(parts)


def _assign(tracks: Tracks, start: Mapping[int, int], first: Mapping[int, BoolArray]) -> Tracks:
    """`tracks` with the instance of every one: an object's id, 0 for the background, -1 for unknown.

    Args:
        tracks: any; those that name an object of `start`, or 0, keep it.
        start: first frame of each object.
        first: bool [H, W], its mask there.
    """
    instance = np.where(np.isin(tracks.instance, [*start, BACKGROUND]), tracks.instance, -1)
    outside = np.ones(len(tracks), bool)
    for k, t in start.items():
        xy, visible = tracks.at(t)
        height, width = first[k].shape
        column, row = np.clip(np.floor(xy).astype(int), 0, [width - 1, height - 1]).T
        held = first[k][row, column] & visible & (xy >= 0).all(1) & (xy < [width, height]).all(1)
        outside &= visible & ~held
        if not (instance == k).any():
            instance[held & (instance == -1)] = k
    instance[outside & (instance == -1)] = BACKGROUND
    return Tracks(tracks.xy, tracks.visibility, Queries(tracks.queries.xyt, instance), tracks.video)


class Segmentation:
    """Masks of all frames, made while it is iterated; iterating again makes them again.

    Attributes:
        objects: ids of the objects, ascending.
        tracks: the tracks that carry the masks, but those of points put on the way; instance is the object, 0 the
            background.
        stated: by object, the frames whose masks prompts state.
        confidence: float32 [T, objects], filled as frames are made, 0 before.
        seconds: time spent by stage: prompts, tracks, masks.
    """

    def __init__(
        self,
        course: Course,
        prompts: Prompts,
        first: Mapping[int, BoolArray],
        seconds: dict[str, float],
        progress: Report | None,
    ) -> None:
        self._course, self._video, self._chunk = course, course.video, course.ime.chunk
        self._prompts, self._first, self._progress = prompts, dict(first), progress
        self.tracks, self.seconds = course.tracks, seconds
        self.objects, self.stated = prompts.objects, prompts.stated()
        self.confidence = np.zeros((len(self._video), len(self.objects)), np.float32)

    def __len__(self) -> int:
        return len(self._video)

    def __iter__(self) -> Iterator[_FrameMask]:
        """One `_FrameMask` a frame, in order."""
        begun = time.perf_counter()
        total = len(self._video) + max(self._prompts.first.values())
        done, spent = 0, 0.0
        earlier: dict[int, tuple[bytes, FloatArray]] = {}
        for t, ids, confidence in self._backward():
            earlier[t] = (zlib.compress(ids.tobytes(), 1), confidence)
            done += 1
            self._tell(done, total)
        for t, ids, confidence in self._forward():
            if t in earlier:
                data, before = earlier.pop(t)
                old = np.frombuffer(zlib.decompress(data), np.uint8).reshape(ids.shape)
                # An object that the forward pass has not met yet yields to those it has.
                ids = np.where(ids == 0, old, ids)
                confidence = np.maximum(confidence, before)
            self.confidence[t] = confidence
            done += 1
            self._tell(done, total)
            # What the caller does with a frame is not our time.
            spent += time.perf_counter() - begun
            self.seconds["masks"] = spent
            yield _FrameMask(t, ids, confidence)
            begun = time.perf_counter()

    def _tell(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress("masks", done, total)

    def _forward(self) -> Iterator[tuple[int, UInt8, FloatArray]]:
        way = self._course.direction(self.objects, False)
        for t0, frames in self._video.chunks(self._chunk):
            for t, frame in enumerate(frames, t0):
                yield t, *way.step(t, frame, self._stated(way, t, frame, False))

    def _backward(self) -> Iterator[tuple[int, UInt8, FloatArray]]:
        """Frames before the last object's first prompt, last first, with the objects not begun yet."""
        latest = max(self._prompts.first.values())
        if latest == 0:
            return
        way = self._course.direction(self.objects, True)
        for t0, frames in self._video.chunks(self._chunk, 0, latest + 1, reverse=True):
            for t, frame in reversed(list(enumerate(frames, t0))):
                ids, confidence = way.step(t, frame, self._stated(way, t, frame, True))
                begun = [k for k in self.objects if self._prompts.first[k] <= t]
                # The forward pass has these.
                yield (
                    t,
                    np.where(np.isin(ids, begun), 0, ids).astype(np.uint8),
                    np.where(np.isin(self.objects, begun), 0, confidence).astype(np.float32),
                )

    def _stated(self, way: Direction, t: int, frame: UInt8, backward: bool) -> dict[int, BoolArray]:
        """What prompts say of frame t; on the way back only first prompts count, the others lie beyond them."""
        starting = {k: self._first[k] for k, first in self._prompts.first.items() if first == t}
        if backward or t not in self._prompts.frames:
            return starting
        if all(self._prompts.first[k] == t for k in self._concerned(t)):
            return starting
        known = way.look(t, frame)
        return {**self._prompts.at(t, frame, self._course.segmenter, known), **starting}

    def _concerned(self, t: int) -> list[int]:
        ids = self._prompts.masks.get(t)
        clicked = self._prompts.points.instance[self._prompts.points.t == t].tolist()
        return [*clicked, *([] if ids is None else object_ids(ids))]
