"""Corrections of a segmentation: clicks change objects in their frames and in those that the change reaches.

From the clicked frame the corrected objects are propagated again in both directions of time, until the masks equal the
earlier ones or a frame's mask came from a prompt. All else stays unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from trackime.arrays import BoolArray, UInt8, ids_at
from trackime.errors import InputError
from trackime.geometry import to_torch
from trackime.ime import DEFAULT_SEGMENTER, ImeConfig
from trackime.progress import Report, silent
from trackime.segmenters import PointSegmenter
from trackime.trackers import PointTracker
from trackime.types import Queries, Tracks
from trackime.video import Video, open_video

from ._click_masks import disjoint, mask_of_clicks
from ._propagate import Propagator, make_propagator
from ._sampling import BACKGROUND, queries_at, sample_mask
from ._track import Models, make_models
from .config import DEFAULT_TRACKER, VosConfig
from .masks import EditedMasks
from .prompts import Prompts
from .segmentation import Segmentation

_SETTLED = 0.95
"""A mask of at least this IoU with the earlier one counts as unchanged."""

_FRAMES = 3
"""After this many unchanged frames the correction ends in that direction."""


def correct(
    video: Any,
    segmentation: Segmentation,
    clicks: Prompts | Queries,
    *,
    config: VosConfig = VosConfig(),  # noqa: B008 (frozen)
    ime: ImeConfig | None = None,
    tracker: PointTracker | str = DEFAULT_TRACKER,
    segmenter: PointSegmenter | str = DEFAULT_SEGMENTER,
    device: str = "auto",
    progress: Report = silent,
) -> Segmentation:
    """Correct a segmentation by clicks; its tracks are reused, and new points are tracked where the mask changed.

    Args:
        video: of the segmentation: a path, a frame folder, uint8 [T, H, W, 3], or a `Video`; one that is opened here
            is closed again.
        segmentation: stays as it is.
        clicks: in source pixels, on or off objects; an id that is not there yet is a new object.
        config, ime: switches of the segmentation and of the tracking.
        tracker, segmenter, device: as in `segment`.
        progress: called with (stage, done, total); measures the stage "correcting".

    Returns:
        The corrected segmentation; its `ids.changed` are the frames whose masks differ.

    Raises:
        InputError, ShapeError: no clicks, or clicks that do not fit; a segmentation of another video.
        VideoError, DeviceError: as in `segment`.
    """
    given = Prompts.of(clicks)
    if not len(given.points) or given.masks:
        raise InputError(f"corrections: expected at least one click, got {'masks' if given.masks else 'none'}")
    with nullcontext(video) if isinstance(video, Video) else open_video(video) as opened:
        segmentation.tracks.check(opened.info, "segmentation")
        given.check(opened.info, segmentation.objects)
        models = make_models(tracker, segmenter, config, ime, device, progress)
        with progress.stage("correcting"):
            correction = _Correction(opened, segmentation, given, models)
            for t in given.frames:
                correction.correct_frame(t)
    return correction.result()


class _Correction:
    """A segmentation while it is corrected.

    Args:
        video: the frames.
        before: the segmentation.
        clicks: of all frames.
        models: what tracks points and draws masks.
    """

    def __init__(self, video: Video, before: Segmentation, clicks: Prompts, models: Models) -> None:
        self.video, self.clicks, self.models = video, clicks, models
        self.objects = tuple(sorted({*before.objects, *clicks.objects}))
        self.ids, self.tracks = EditedMasks(before.ids), before.tracks
        self.confidence = np.zeros((len(video), len(self.objects)), np.float32)
        self.confidence[:, [self.objects.index(k) for k in before.objects]] = before.confidence
        self.prompted = {k: list(before.prompted.get(k, ())) for k in self.objects}

    def result(self) -> Segmentation:
        """The segmentation as it is now."""
        prompted = {k: sorted(set(frames)) for k, frames in self.prompted.items()}
        return Segmentation(self.objects, self.ids, self.confidence, self.tracks, prompted)

    def correct_frame(self, t: int) -> None:
        """Correct frame t by all of its clicks, and what follows from it."""
        frame, saved = self.video[t], self.ids[t]
        given = self._given(t, frame, saved)
        ids = np.where(np.isin(saved, list(given)), 0, saved).astype(np.uint8)
        for k, mask in given.items():
            ids[mask] = k
        first, last = self._span(t, list(given))
        self._track(t, saved, ids, first, last)
        self._replace(t, ids, {k: 1.0 for k in given})
        for backward, end in ((False, last), (True, first)):
            self._propagate(t, frame, given, end, backward)
        for k in given:
            self.prompted[k].append(t)

    def _given(self, t: int, frame: UInt8, saved: UInt8) -> dict[int, BoolArray]:
        """Masks bool [H, W] of the clicked objects, and of those that lose pixels to them."""
        segmenter = self.models.segmenter
        embedding = segmenter.encode(to_torch(frame[None], segmenter.device)[0])
        given: dict[int, BoolArray] = {}
        for k in self.clicks.prompted(t):
            xy, labels = self.clicks.clicks(t, k)
            known = saved == k
            # A mask that all clicks agree with was right.
            agreed = bool((ids_at(known, xy) == (labels == 1)).all())
            given[k] = known if agreed else mask_of_clicks(segmenter, embedding, xy, labels, known)
        given = disjoint(given)
        taken = np.any(list(given.values()), axis=0)
        losing = [k for k in self.objects if k not in given and (taken & (saved == k)).any()]
        return given | {k: (saved == k) & ~taken for k in losing}

    def _span(self, t: int, objects: Sequence[int]) -> tuple[int, int]:
        """First and last frame that may change: between the frames that were prompted for all of the objects."""
        before = [max((s for s in self.prompted[k] if s < t), default=-1) + 1 for k in objects]
        after = [min((s for s in self.prompted[k] if s > t), default=len(self.video)) - 1 for k in objects]
        return min(before), max(after)

    def _track(self, t: int, saved: UInt8, ids: UInt8, first: int, last: int) -> None:
        """Track the clicks through the span, and points where frame t's mask changed from `saved` to `ids`."""
        config, clicks = self.models.config, self.clicks.points
        here, kind = clicks.t == t, self.clicks.labels
        on: list[Queries] = [clicks[here & (kind == 1)]]
        off: list[Queries] = []
        for k in np.unique(ids[ids != saved]).tolist():
            gained = (ids == k) & (saved != k)
            count = min(config.points if k else config.negatives, int(gained.sum()) // 16)
            xy = sample_mask(gained, count, "k-medoids", seed=config.seed) if count else np.zeros((0, 2))
            (on if k else off).append(queries_at(xy, t, k))
        wrong = clicks[here & (kind == 0)].xy
        off.append(queries_at(wrong[ids_at(ids, wrong) == 0], t, BACKGROUND))
        parts = [self.tracks]
        for queries, known in ((Queries.concat(on), {t - first: ids}), (Queries.concat(off), None)):
            if len(queries):
                parts.append(self._tracked(queries, known, first, last))
        self.tracks = Tracks.concat(parts)

    def _tracked(self, queries: Queries, known: Mapping[int, UInt8] | None, first: int, last: int) -> Tracks:
        """Tracks of the whole video, by the tracker alone without known masks; invisible outside of the span."""
        moved = Queries(queries.xyt - np.array([0, 0, first], np.float32), queries.instance)
        found = self.models.track(self.video.clip(first, last + 1), moved, known, alone=known is None)
        before, after = first, len(self.video) - 1 - last
        xy = np.pad(found.xy, ((0, 0), (before, after), (0, 0)), mode="edge")
        return Tracks(xy, np.pad(found.visibility, ((0, 0), (before, after))), queries, self.tracks.video)

    def _propagate(self, t: int, frame: UInt8, given: Mapping[int, BoolArray], end: int, backward: bool) -> None:
        """Propagate the given masks from frame t on until nothing changes any more."""
        objects = sorted(given)
        propagator = make_propagator(self.video, self.tracks, self.models, objects, backward)
        beyond = end - 1 if backward else end + 1
        if 0 <= beyond < len(self.video):
            # The prompted masks ahead are known from the start: frames between are propagated from both sides.
            ahead = self.ids[beyond]
            known = {k: ahead == k for k in objects if beyond in self.prompted[k] and (ahead == k).any()}
            propagator.step(beyond, self.video[beyond], known)
        propagator.step(t, frame, given)
        same = dict.fromkeys(objects, 0)
        for done, (s, picture) in enumerate(self._frames(t, end, backward), 1):
            active = [k for k, frames in same.items() if frames < _FRAMES and s not in self.prompted[k]]
            # A prompted frame ends an object's correction for good.
            same = {k: frames if k in active else _FRAMES for k, frames in same.items()}
            if not active:
                break
            kept = self._step(propagator, s, picture, active)
            same.update({k: same[k] + 1 if k in kept else 0 for k in active})
            self.models.progress("correcting", done, abs(end - t))

    def _step(self, propagator: Propagator, s: int, frame: UInt8, active: Sequence[int]) -> list[int]:
        """Correct the active objects in frame s; those whose mask is the same as before."""
        saved = self.ids[s]
        found, confidence = propagator.step(s, frame, {k: saved == k for k in propagator.objects if k not in active})
        ids = np.where(np.isin(saved, active), 0, saved).astype(np.uint8)
        free = ids == 0
        for k in active:
            ids[(found == k) & free] = k
        values = dict(zip(propagator.objects, confidence.tolist(), strict=True))
        self._replace(s, ids, {k: values[k] for k in active})
        overlaps = {k: (((ids == k) & (saved == k)).sum(), ((ids == k) | (saved == k)).sum()) for k in active}
        return [k for k, (both, either) in overlaps.items() if both >= _SETTLED * either]

    def _replace(self, t: int, ids: UInt8, confidence: Mapping[int, float]) -> None:
        self.ids.replace(t, ids)
        for k, value in confidence.items():
            self.confidence[t, self.objects.index(k)] = value

    def _frames(self, t: int, end: int, backward: bool) -> Iterator[tuple[int, UInt8]]:
        """(index, frame) from beside t to `end`, away from t."""
        if end == t:
            return
        first, last = (end, t) if backward else (t + 1, end + 1)
        for t0, frames in self.video.chunks(self.models.ime.chunk, first, last, reverse=backward):
            indexed = list(enumerate(frames, t0))
            yield from reversed(indexed) if backward else indexed
