"""Video object segmentation from point trajectories: prompts in, one id mask per frame out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from trackime.arrays import BoolArray, Float32, UInt8
from trackime.errors import InputError
from trackime.ime import DEFAULT_SEGMENTER, ImeConfig
from trackime.progress import Report, silent
from trackime.segmenters import PointSegmenter
from trackime.trackers import PointTracker
from trackime.types import Queries, Tracks
from trackime.video import Video, open_video

from ._click_masks import prompted_masks
from ._propagate import Propagator, make_propagator
from ._track import Models, assign_tracks, make_models, track_objects
from .config import DEFAULT_TRACKER, VosConfig
from .masks import PackedMasks
from .prompts import Prompts
from .segmentation import Segmentation

_FrameMask = tuple[int, UInt8, Float32]
"""A frame's index, its ids uint8 [H, W], and the confidence [objects] of each object there."""


def segment(
    video: Any,
    prompts: Prompts | Queries | Mapping[int, npt.ArrayLike] | npt.ArrayLike,
    *,
    config: VosConfig = VosConfig(),  # noqa: B008 (frozen)
    ime: ImeConfig | None = None,
    tracker: PointTracker | str | None = DEFAULT_TRACKER,
    segmenter: PointSegmenter | str = DEFAULT_SEGMENTER,
    device: str = "auto",
    tracks: Tracks | None = None,
    on_tracks: Callable[[Tracks], None] | None = None,
    progress: Report = silent,
) -> Segmentation:
    """Follow objects through a video.

    No more than a chunk of frames is held; masks are kept as run lengths, a few kilobytes per frame. Frames before an
    object's first prompt are done first, backwards.

    Args:
        video: a path, a frame folder, uint8 [T, H, W, 3], or a `Video`; one that is opened here is closed again.
        prompts: what to follow: `Prompts`; or a mask of ids [H, W] of frame 0, masks by frame, or clicks (x, y, t) in
            source pixels, their instance the object's id.
        config: switches of the segmentation.
        ime: switches of the tracking.
        tracker: a name of `trackime.trackers.names()`, or any PointTracker; where tracks are given it tracks points
            added along the way alone, and None adds none.
        segmenter: a name of `trackime.segmenters.names()`, or any PointSegmenter: turns clicks into masks, and, other
            than graphcut, is prompted in every frame with the tracked points.
        device: auto, cpu, cuda, cuda:N or mps; used where names are given.
        tracks: tracks to use instead of tracking; those of an object's id, or, where none has it, those that lie in
            its first mask; of the rest, those outside all first masks count as background.
        on_tracks: called with the tracks once they are there, before masks are made.
        progress: called with (stage, done, total); measures the stages "tracking" and "masks".

    Raises:
        VideoError: a video that cannot be read.
        InputError, ShapeError: prompts that do not fit the video (see `Prompts`), tracks of another video.
        DeviceError: no such device.
    """
    given = Prompts.of(prompts)
    if tracker is None and tracks is None:
        raise InputError("tracker: expected one where no tracks are given, got none")
    with nullcontext(video) if isinstance(video, Video) else open_video(video) as opened:
        given.check(opened.info)
        if tracks is not None:
            tracks.check(opened.info)
            tracks = Tracks(tracks.xy, tracks.visibility, tracks.queries, opened.info)
        models = make_models(tracker, segmenter, config, ime, device, progress)
        with progress.stage("tracking"):
            first = _first_masks(opened, given, models.segmenter)
            if tracks is None:
                tracks = track_objects(opened, given, first, models)
            else:
                tracks = assign_tracks(tracks, given.first, first)
        if on_tracks is not None:
            on_tracks(tracks)
        ids, confidence = PackedMasks(), np.zeros((len(opened), len(given.objects)), np.float32)
        with progress.stage("masks"):
            for t, mask, values in _Passes(opened, given, first, tracks, models).frames():
                ids.append(mask)
                confidence[t] = values
    return Segmentation(given.objects, ids, confidence, tracks, given.by_object())


def _first_masks(video: Video, prompts: Prompts, segmenter: PointSegmenter) -> dict[int, BoolArray]:
    """Each object's mask bool [H, W] at its first prompt."""
    masks: dict[int, BoolArray] = {}
    for t in sorted(set(prompts.first.values())):
        found = prompted_masks(prompts, t, video[t], segmenter, {})
        masks.update({k: found[k] for k, start in prompts.first.items() if start == t})
    return masks


class _Passes:
    """Two passes over a video: backward from the first prompts to its start, then forward.

    Args:
        video: the frames.
        prompts: of the video.
        first: each object's mask bool [H, W] in its first frame.
        tracks: instance is the object, 0 the background.
        models: what tracks points and draws masks.
    """

    def __init__(
        self, video: Video, prompts: Prompts, first: Mapping[int, BoolArray], tracks: Tracks, models: Models
    ) -> None:
        self.video, self.prompts, self.first, self.models = video, prompts, first, models
        self.tracks, self.objects = tracks, prompts.objects
        self._latest = max(prompts.first.values())
        self._done = 0

    def frames(self) -> Iterator[_FrameMask]:
        """Every frame's masks, in order."""
        earlier, before = PackedMasks(), []
        for _, ids, confidence in self._backward():
            earlier.append(ids)
            before.append(confidence)
            self._report()
        for t, ids, confidence in self._forward():
            if t < len(before):
                # An object that the forward pass has not met yet yields to those it has.
                ids = np.where(ids == 0, earlier[-1 - t], ids)
                confidence = np.maximum(confidence, before[-1 - t])
            self._report()
            yield t, ids, confidence

    def _report(self) -> None:
        self._done += 1
        backward = self._latest + 1 if self._latest else 0
        self.models.progress("masks", self._done, len(self.video) + backward)

    def _forward(self) -> Iterator[_FrameMask]:
        propagator = make_propagator(self.video, self.tracks, self.models, self.objects)
        for t0, frames in self.video.chunks(self.models.ime.chunk):
            for t, frame in enumerate(frames, t0):
                yield t, *propagator.step(t, frame, self._prompted(propagator, t, frame))

    def _backward(self) -> Iterator[_FrameMask]:
        """Frames from the last object's first prompt to 0, with the objects that have not started yet."""
        if self._latest == 0:
            return
        propagator = make_propagator(self.video, self.tracks, self.models, self.objects, backward=True)
        for t0, frames in self.video.chunks(self.models.ime.chunk, 0, self._latest + 1, reverse=True):
            for t, frame in reversed(list(enumerate(frames, t0))):
                ids, confidence = propagator.step(t, frame, self._given(t))
                # The forward pass has these.
                started = [k for k in self.objects if self.prompts.first[k] <= t]
                hidden = np.isin(self.objects, started)
                yield t, np.where(np.isin(ids, started), 0, ids).astype(np.uint8), np.where(hidden, 0, confidence)

    def _given(self, t: int) -> dict[int, BoolArray]:
        """The masks of objects that start in frame t."""
        return {k: self.first[k] for k, start in self.prompts.first.items() if start == t}

    def _prompted(self, propagator: Propagator, t: int, frame: UInt8) -> dict[int, BoolArray]:
        """The masks that frame t's prompts give, of objects that start here or are corrected."""
        given = self._given(t)
        if all(k in given for k in self.prompts.prompted(t)):
            return given
        known = propagator.predict(t, frame)
        return {**prompted_masks(self.prompts, t, frame, self.models.segmenter, known), **given}
