"""Tracks of points on objects and around them: tracked, or given and assigned to the objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from trackime import segmenters, trackers
from trackime.arrays import BoolArray, UInt8, ids_at
from trackime.devices import resolve_device
from trackime.ime import ImeConfig
from trackime.ime import run as track
from trackime.progress import Report, silent
from trackime.segmenters import PointSegmenter
from trackime.trackers import PointTracker
from trackime.types import Queries, Tracks
from trackime.video import Video

from ._points import Follow
from ._sampling import BACKGROUND, sample_background, sample_objects
from .config import VosConfig
from .prompts import Prompts


@dataclass(frozen=True)
class Models:
    """The models that track points and draw masks.

    Attributes:
        tracker: None: no points are tracked.
        segmenter: turns clicks into masks; one other than graphcut is prompted in every frame, too.
        config: switches of the segmentation.
        ime: switches of the tracking.
        progress: called with (stage, done, total).
    """

    tracker: PointTracker | None
    segmenter: PointSegmenter
    config: VosConfig
    ime: ImeConfig
    progress: Report = silent

    def track(
        self, video: Video, queries: Queries, masks: Mapping[int, UInt8] | None = None, alone: bool = False
    ) -> Tracks:
        """Tracks of `queries` in their order, through all of a video.

        Args:
            video: the frames.
            queries: kept as they are, instances included.
            masks: ids by frame, where they are known.
            alone: by the tracker alone, in the full frame: enough for points of the background, and short tracks.
        """
        assert self.tracker is not None
        ime = self.ime
        if alone:
            ime = replace(ime, instance_motion=False, clip=False, neighbours=1)
        # Ids without masks are no instances that TrackIME could average over.
        plain = Queries(queries.xyt) if masks is None else queries
        found = track(video, plain, self.tracker, self.segmenter, ime, self.progress, masks=masks).tracks
        return Tracks(found.xy, found.visibility, queries, found.video)

    def follower(self, video: Video) -> Follow | None:
        """The function that tracks points added along the way; None without a tracker."""
        quiet = replace(self, progress=silent)

        def follow(queries: Queries, last: int) -> Tracks:
            t = int(queries.t[0])
            first, stop = min(t, last), max(t, last) + 1
            moved = Queries(queries.xyt - np.array([0, 0, first], np.float32), queries.instance)
            return quiet.track(video.clip(first, stop), moved, alone=True)

        return None if self.tracker is None else follow


def make_models(
    tracker: PointTracker | str | None,
    segmenter: PointSegmenter | str,
    config: VosConfig,
    ime: ImeConfig | None,
    device: str,
    progress: Report,
) -> Models:
    """The models of these names on a device, or those given."""
    if isinstance(segmenter, str):
        segmenter = segmenters.create(segmenter, device=str(resolve_device(device)))
    if isinstance(tracker, str):
        tracker = trackers.create(tracker, device=str(resolve_device(device)))
    return Models(tracker, segmenter, config, ime or ImeConfig(), progress)


def track_objects(video: Video, prompts: Prompts, first: Mapping[int, BoolArray], models: Models) -> Tracks:
    """Tracks of points on the objects (TrackIME, with their first masks) and around them (the tracker alone).

    Args:
        video: the frames.
        prompts: of the video; clicks are tracked, too.
        first: each object's mask bool [H, W] in its first frame.
        models: what tracks.
    """
    on, off, known = [], [], {}
    for t in sorted(set(prompts.first.values())):
        ids = np.zeros((video.info.height, video.info.width), np.uint8)
        for k in prompts.objects:
            if prompts.first[k] == t:
                ids[first[k]] = k
        known[t] = ids
        on.append(sample_objects(ids, t, models.config, video[t]))
        off.append(sample_background(ids, t, models.config))
    clicked = np.asarray(prompts.labels == 1)
    on.append(prompts.points[clicked])
    off.append(Queries(prompts.points.xyt[~clicked], np.full(np.count_nonzero(~clicked), BACKGROUND)))
    parts = [models.track(video, Queries.concat(on), known)]
    around = Queries.concat(off)
    if len(around):
        parts.append(models.track(video, around, alone=True))
    return Tracks.concat(parts)


def assign_tracks(tracks: Tracks, start: Mapping[int, int], first: Mapping[int, BoolArray]) -> Tracks:
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
        held = ids_at(first[k], xy) & visible
        outside &= visible & ~held
        if not (instance == k).any():
            instance[held & (instance == -1)] = k
    instance[outside & (instance == -1)] = BACKGROUND
    return Tracks(tracks.xy, tracks.visibility, Queries(tracks.queries.xyt, instance), tracks.video)
