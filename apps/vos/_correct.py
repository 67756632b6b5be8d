"""Mending a finished segmentation: clicks change objects in their frames, and onward as far as that makes a difference.

From the clicked frame the mended objects are followed anew in both directions of time, until what is found is what was
there before, or a frame is reached whose mask was stated. All else stays as it was.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trackime.arrays import BoolArray, FloatArray, Int64, UInt8
from trackime.errors import InputError, ShapeError
from trackime.geometry import to_torch
from trackime.ime import DEFAULT_SEGMENTER, ImeConfig
from trackime.ime import run as track
from trackime.progress import Report, silent
from trackime.segmenters import PointSegmenter
from trackime.trackers import PointTracker
from trackime.types import Queries, Tracks
from trackime.video import Video, open_video

from ..run import LAST_ID
from ._direction import Direction
from ._prompts import mask_of_clicks
from .config import DEFAULT_TRACKER, VosConfig
from .queries import BACKGROUND, sample_mask
from .run import Course, alone, make_segmenter, make_tracker

SETTLED = 0.95
"""A mask of at least this IoU with the one before is the same."""

FRAMES = 3
"""After this many frames of the same mask nothing more is mended in that direction."""


@dataclass(frozen=True)
class Finished:
    """A segmentation that is there already.

    Attributes:
        objects: ids, ascending.
        masks: T ids uint8 [H, W], read when asked for.
        confidence: float32 [T, objects].
        tracks: instance is the object, 0 the background.
        stated: by object, the frames whose masks were prompted or mended; they stand.
    """

    objects: tuple[int, ...]
    masks: Sequence[UInt8]
    confidence: FloatArray
    tracks: Tracks
    stated: dict[int, list[int]]


class Edited(Sequence[Any]):
    """Masks of which some are replaced, those kept compressed.

    Attributes:
        changed: the frames replaced.
    """

    def __init__(self, masks: Sequence[UInt8]) -> None:
        self._masks, self._new = masks, dict[int, bytes]()
        self._shape = masks[0].shape

    @property
    def changed(self) -> list[int]:
        return sorted(self._new)

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, t: Any) -> Any:
        if t not in self._new:
            return self._masks[t]
        return np.frombuffer(zlib.decompress(self._new[t]), np.uint8).reshape(self._shape)

    def replace(self, t: int, ids: UInt8) -> None:
        """Put `ids` in the place of frame t's, unless they are the same."""
        if not np.array_equal(ids, self[t]):
            self._new[t] = zlib.compress(ids.tobytes(), 1)


def correct(
    video: Any,
    finished: Finished,
    points: Queries,
    labels: npt.ArrayLike | None = None,
    *,
    tracker: PointTracker | str = DEFAULT_TRACKER,
    segmenter: PointSegmenter | str = DEFAULT_SEGMENTER,
    config: VosConfig | None = None,
    ime: ImeConfig | None = None,
    device: str = "auto",
    progress: Report | None = None,
) -> Finished:
    """Mend a segmentation by clicks; its tracks are reused, and new points are tracked where the mask changed.

    Args:
        video: what was segmented: a path, a frame folder, uint8 [T, H, W, 3], or a `Video`.
        finished: the segmentation.
        points: clicks in source pixels, their instance the object's id (-1: object 1). An id that is not there yet
            is a new object.
        labels: [N] of the clicks, 1 on the object, 0 off it; None: all on.
        tracker, segmenter: as in `segment`.
        config, ime: switches of the segmentation and of the tracking.
        device: auto, cpu, cuda, cuda:N or mps; used where names are given.
        progress: called with (stage, done, total).

    Returns:
        The mended segmentation; its masks are an `Edited`.

    Raises:
        InputError, ShapeError: no clicks, or clicks that do not fit; a segmentation of another video.
        VideoError, DeviceError: as in `segment`.
    """
    config, ime = config or VosConfig(), ime or ImeConfig()
    opened = open_video(video)
    tracker, segmenter = make_tracker(tracker, device), make_segmenter(segmenter, device)
    clicks, kinds = _check(opened, finished, points, labels)
    objects = tuple(sorted({*finished.objects, *clicks.instance.tolist()}))
    confidence = np.zeros((len(opened), len(objects)), np.float32)
    confidence[:, [objects.index(k) for k in finished.objects]] = finished.confidence
    mended = Finished(
        objects, Edited(finished.masks), confidence, finished.tracks, {k: list(v) for k, v in finished.stated.items()}
    )
    way = _Mending(opened, mended, tracker, segmenter, config, ime, progress)
    for t in np.unique(clicks.t).tolist():
        rows = np.flatnonzero(clicks.t == t)
        mended = way.mend(t, clicks[rows], kinds[rows])
    return mended


def _check(video: Video, finished: Finished, points: Queries, labels: npt.ArrayLike | None) -> tuple[Queries, Int64]:
    """The clicks with their objects, and their labels [N]."""
    info, tracks = video.info, finished.tracks
    shape = (tracks.video.width, tracks.video.height, tracks.video.frames, len(finished.masks))
    if shape != (info.width, info.height, info.frames, info.frames):
        raise InputError(
            f"segmentation: expected one of {info.width}x{info.height} and {info.frames} frames, as the video has, "
            f"got {shape[0]}x{shape[1]}, {shape[2]} frames tracked and {shape[3]} masks"
        )
    if not len(points):
        raise InputError("corrections: expected at least one click, got none")
    points.check(info)
    kinds = np.ones(len(points), np.int64) if labels is None else np.asarray(labels, np.int64)
    if kinds.shape != (len(points),):
        raise ShapeError("labels", f"[{len(points)}] (one a click)", kinds.shape)
    clicks = Queries(points.xyt, np.where(points.instance < 0, 1, points.instance))
    for k in np.unique(clicks.instance).tolist():
        if not 1 <= k <= LAST_ID:
            raise InputError(f"object id of a click: expected 1 .. {LAST_ID}, got {k}")
        if k not in finished.objects and not (kinds[clicks.instance == k] == 1).any():
            known = list(finished.objects)
            raise InputError(f"object {k}: expected one of {known}, or a click on it, got clicks off it alone")
    return clicks, kinds


class _Mending:
    """What mending needs beside the clicks."""

    def __init__(
        self,
        video: Video,
        state: Finished,
        tracker: PointTracker,
        segmenter: PointSegmenter,
        config: VosConfig,
        ime: ImeConfig,
        progress: Report | None,
    ) -> None:
        self.video, self.state, self.tracker, self.segmenter = video, state, tracker, segmenter
        self.config, self.ime = config, ime
        self.report: Report = progress or silent

    def mend(self, t: int, clicks: Queries, labels: Int64) -> Finished:
        """Mend frame t by all of its clicks, and what follows from it."""
        frame = self.video[t]
        saved = self.state.masks[t]
        stated = self._stated(frame, saved, clicks, labels)
        ids = np.where(np.isin(saved, list(stated)), 0, saved).astype(np.uint8)
        for k, mask in stated.items():
            ids[mask] = k
        first, last = self._span(t, list(stated))
        self._track(t, frame, saved, ids, clicks, labels, first, last)
        self._put(t, ids, {k: 1.0 for k in stated})
        for backward, end in ((False, last), (True, first)):
            self._follow(t, frame, stated, end, backward)
        for k in stated:
            self.state.stated.setdefault(k, []).append(t)
        return self.state

    def _stated(self, frame: UInt8, saved: UInt8, clicks: Queries, labels: Int64) -> dict[int, BoolArray]:
        """Masks bool [H, W] of the clicked objects, and of those that lose pixels to them."""
        embedding = self.segmenter.encode(to_torch(frame[None], self.segmenter.device)[0])
        stated: dict[int, BoolArray] = {}
        taken = np.zeros(saved.shape, bool)
        for k in np.unique(clicks.instance).tolist():
            own = clicks.instance == k
            use = own | (labels == 1)
            xy, kinds = clicks.xy[use], np.where(own, labels, 0)[use]
            held = (saved == k)[tuple(np.floor(xy[:, ::-1]).astype(int).T)]
            # A mask that all clicks agree with was right.
            agreed = bool((held == (kinds == 1)).all())
            stated[k] = saved == k if agreed else mask_of_clicks(self.segmenter, embedding, xy, kinds, saved == k)
            stated[k] = stated[k] & ~taken
            taken |= stated[k]
        for k in self.state.objects:
            if k not in stated and (taken & (saved == k)).any():
                stated[k] = (saved == k) & ~taken
        return stated

    def _span(self, t: int, objects: Sequence[int]) -> tuple[int, int]:
        """First and last frame that mending may reach: between the frames that were stated for all of the objects."""
        before = [max((s for s in self.state.stated.get(k, ()) if s < t), default=-1) + 1 for k in objects]
        after = [min((s for s in self.state.stated.get(k, ()) if s > t), default=len(self.video)) - 1 for k in objects]
        return min(before), max(after)

    def _track(
        self,
        t: int,
        frame: UInt8,
        saved: UInt8,
        ids: UInt8,
        clicks: Queries,
        labels: Int64,
        first: int,
        last: int,
    ) -> None:
        """Tracks through the span of the clicks, and of points where the mask changed."""
        on: list[Queries] = [clicks[labels == 1]]
        off: list[Queries] = []
        for k in np.unique(ids[ids != saved]).tolist():
            gained = (ids == k) & (saved != k)
            count = min(self.config.points if k else self.config.negatives, int(gained.sum()) // 16)
            xy = sample_mask(gained, count, "k-medoids", seed=self.config.seed) if count else np.zeros((0, 2))
            (on if k else off).append(_queries(xy, t, k))
        wrong = clicks[labels == 0]
        off.append(_queries(wrong.xy[ids[tuple(np.floor(wrong.xy[:, ::-1]).astype(int).T)] == 0], t, BACKGROUND))
        parts = [self.state.tracks]
        ways = ((Queries.concat(on), self.ime, {t - first: ids}), (Queries.concat(off), alone(self.ime), None))
        for queries, how, known in ways:
            if len(queries):
                parts.append(self._tracked(queries, how, known, first, last))
        self.state = replace(self.state, tracks=Tracks.concat(parts))

    def _tracked(
        self, queries: Queries, how: ImeConfig, known: Mapping[int, UInt8] | None, first: int, last: int
    ) -> Tracks:
        """Tracks of the whole video; outside of the span points are not visible."""
        moved = Queries(queries.xyt - np.array([0, 0, first], np.float32), queries.instance)
        asked = moved if known else Queries(moved.xyt)
        clip = self.video.clip(first, last + 1)
        found = track(clip, asked, self.tracker, self.segmenter, how, self.report, masks=known).tracks
        before, after = first, len(self.video) - 1 - last
        xy = np.pad(found.xy, ((0, 0), (before, after), (0, 0)), mode="edge")
        return Tracks(xy, np.pad(found.visibility, ((0, 0), (before, after))), queries, self.state.tracks.video)

    def _follow(self, t: int, frame: UInt8, stated: Mapping[int, BoolArray], end: int, backward: bool) -> None:
        """Follow the stated objects from frame t on until nothing changes any more."""
        objects = sorted(stated)
        course = Course(self.video, self.state.tracks, self.tracker, self.segmenter, self.config, self.ime)
        way = course.direction(objects, backward)
        beyond = end - 1 if backward else end + 1
        if 0 <= beyond < len(self.video):
            # The stated masks that lie ahead are known from the start: what is between is carried from both sides.
            ahead = self.state.masks[beyond]
            known = {k: ahead == k for k in objects if beyond in self.state.stated.get(k, ()) and (ahead == k).any()}
            way.step(beyond, self.video[beyond], known)
        way.step(t, frame, stated)
        same = dict.fromkeys(objects, 0)
        total = abs(end - t)
        for done, (s, picture) in enumerate(self._frames(t, end, backward), 1):
            active = [k for k, seen in same.items() if seen < FRAMES and s not in self.state.stated.get(k, ())]
            # A frame that stands ends an object's mending for good.
            same = {k: seen if k in active else FRAMES for k, seen in same.items()}
            if not active:
                break
            same.update(self._step(way, s, picture, active, same))
            self.report("mending", done, total)

    def _step(
        self, way: Direction, s: int, frame: UInt8, active: Sequence[int], same: Mapping[int, int]
    ) -> dict[int, int]:
        """Mend frame s; for each active object the number of frames in a row that were the same."""
        saved = self.state.masks[s]
        fixed = {k: saved == k for k in way.objects if k not in active}
        found, confidence = way.step(s, frame, fixed)
        ids = np.where(np.isin(saved, active), 0, saved).astype(np.uint8)
        free = ids == 0
        counts = {}
        for k in active:
            new, old = (found == k) & free, saved == k
            ids[new] = k
            union = (new | old).sum()
            counts[k] = same[k] + 1 if union == 0 or (new & old).sum() >= SETTLED * union else 0
        values = dict(zip(way.objects, confidence.tolist(), strict=True))
        self._put(s, ids, {k: values[k] for k in active})
        return counts

    def _put(self, t: int, ids: UInt8, confidence: Mapping[int, float]) -> None:
        assert isinstance(self.state.masks, Edited)
        self.state.masks.replace(t, ids)
        for k, value in confidence.items():
            self.state.confidence[t, self.state.objects.index(k)] = value

    def _frames(self, t: int, end: int, backward: bool) -> Iterator[tuple[int, UInt8]]:
        """(index, frame) from beside t to `end`, away from t."""
        if end == t:
            return
        first, last = (end, t) if backward else (t + 1, end + 1)
        for t0, frames in self.video.chunks(self.ime.chunk, first, last, reverse=backward):
            indexed = list(enumerate(frames, t0))
            yield from reversed(indexed) if backward else indexed


def _queries(xy: FloatArray, t: int, instance: int) -> Queries:
    return Queries(np.concatenate([xy, np.full((len(xy), 1), t)], 1), np.full(len(xy), instance))
