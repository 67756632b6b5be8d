"""Many points followed through a whole video, cheaply: what cameras and consistent depth are made from."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from trackime.dense import _chained as chained
from trackime.dense import _templates as live
from trackime.dense._seeds import Cells
from trackime.dense._sightings import Sightings
from trackime.dense.config import DEFAULT_TRACKER, LINES, FollowConfig
from trackime.imaging import DenseFlow
from trackime.ime import DEFAULT_SEGMENTER
from trackime.patches import FramePair, GreyFrame, patch_stride
from trackime.progress import Report, silent
from trackime.segmenters import PointSegmenter
from trackime.trackers import PointTracker
from trackime.types import RaggedTracks
from trackime.video import Pictures, Video, find_cuts

LEAST = 3
"""Frames in which a point is seen at least, where its shot has as many."""


def follow(
    video: Video,
    *,
    config: FollowConfig | None = None,
    tracker: PointTracker | str = DEFAULT_TRACKER,
    segmenter: PointSegmenter | str = DEFAULT_SEGMENTER,
    device: str = "auto",
    progress: Report = silent,
) -> RaggedTracks:
    """Follow points that keep every part of every frame covered, where anything can be followed.

    The video is read twice (once without cuts); two frames are held. Points begin on a grid, one a cell, wherever none
    is alive; none crosses a cut.

    Args:
        video: the frames.
        config: how.
        tracker, segmenter, device: of the points that are asked for, as in `trackime.track`.
        progress: called as progress(stage, frames done, frames): "cuts", "following", "asking".

    Returns:
        The trails; `sigma` is the standard deviation to be expected along an axis against the place of birth.
    """
    config = config or FollowConfig()
    count = len(video)
    cuts = find_cuts(video, progress=progress) if config.cuts else []
    pictures = Pictures(video, cuts, kept=2)
    parts = []
    for start, stop in pairwise([0, *cuts, count]):
        parts.append(_shot(pictures, start, stop, config, progress))
    found = RaggedTracks.join(parts)
    scale = np.array([video.info.width, video.info.height]) / pictures.size[::-1]
    if (scale != 1).any():
        sigma = found.sigma * np.float32(scale.max())
        found = RaggedTracks(count, found.first, found.frame, found.xy * scale, sigma, found.instance)
    if config.asked:
        from trackime.dense._with_trackime import ask

        return ask(video, found, config.asked, [0, *cuts, count], tracker, segmenter, device, progress)
    return found


def _shot(pictures: Pictures, start: int, stop: int, config: FollowConfig, progress: Report) -> RaggedTracks:
    """The trails of frames start .. stop - 1, in pixels of the pictures."""
    h, w = pictures.size
    cells = Cells(pictures.size, config.spacing * min(h, w) / LINES)
    stride = patch_stride(pictures.size)
    sightings = Sightings(len(pictures.video))
    flow = DenseFlow()
    alive, last = live.Live.none(), None
    for t in range(start, stop):
        frame = GreyFrame(pictures.grey(t), stride)
        back = None
        if last is not None:
            pair = FramePair.between(last, frame)
            there, back = flow(last.grey, frame.grey), flow(frame.grey, last.grey)
            move = live.step if config.method == "patch" else chained.step
            alive = move(alive, pair, there, back)
        seen = alive.take(alive.doubt == 0)
        sightings.add(t, seen.number, seen.xy, seen.sigma)
        corners = cells.corners(frame.grey, seen.xy, back)
        new = live.born(sightings.begin(len(corners)), corners, frame)
        sightings.add(t, new.number, new.xy, new.sigma)
        alive = alive.join(new)
        last = frame
        progress("following", t + 1, len(pictures.video))
    return sightings.trails(min(LEAST, stop - start))
