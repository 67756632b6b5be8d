"""Semi-dense tracking of a whole video, cheaply: the correspondences of cameras, depth and interpolation."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from trackime.dense import _chained_flow as chained_flow
from trackime.dense import _template_tracker as template_tracker
from trackime.dense._observations import Observations
from trackime.dense._seeds import Cells
from trackime.dense.config import DEFAULT_TRACKER, LINES, DenseConfig
from trackime.imaging import DenseFlow
from trackime.ime import DEFAULT_SEGMENTER
from trackime.patches import FramePair, GreyFrame, patch_stride
from trackime.progress import Report, silent
from trackime.segmenters import PointSegmenter
from trackime.trackers import PointTracker
from trackime.types import RaggedTracks
from trackime.video import Pictures, Video, find_cuts

_LEAST = 3
"""Frames in which a point is seen at least, where its shot has as many."""


def follow(
    video: Video,
    *,
    config: DenseConfig | None = None,
    tracker: PointTracker | str = DEFAULT_TRACKER,
    segmenter: PointSegmenter | str = DEFAULT_SEGMENTER,
    device: str = "auto",
    progress: Report = silent,
) -> RaggedTracks:
    """Track points so that every part of every frame stays covered, where anything can be tracked.

    The video is read twice (once without cuts); two frames are held. Points begin on a grid, one a cell, wherever none
    is alive; none crosses a cut.

    Args:
        video: the frames.
        config: how.
        tracker, segmenter, device: of `config.trackime_points`, as in `trackime.track`.
        progress: called as progress(stage, frames done, frames): "cuts", "following", "trackime points".

    Returns:
        Ragged tracks; `sigma` is the expected standard deviation along an axis, relative to the place of birth.
    """
    config = config or DenseConfig()
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
    if config.trackime_points:
        from trackime.dense._trackime_points import add_trackime_points, made

        tools = made(tracker, segmenter, device)
        return add_trackime_points(video, found, config.trackime_points, [0, *cuts, count], tools, progress)
    return found


def _shot(pictures: Pictures, start: int, stop: int, config: DenseConfig, progress: Report) -> RaggedTracks:
    """Tracks of frames start .. stop - 1, in pixels of the pictures."""
    h, w = pictures.size
    cells = Cells(pictures.size, config.spacing * min(h, w) / LINES)
    stride = patch_stride(pictures.size)
    observations = Observations(len(pictures.video))
    flow = DenseFlow()
    alive, last = template_tracker.AlivePoints.none(), None
    for t in range(start, stop):
        frame = GreyFrame(pictures.grey(t), stride)
        back = None
        if last is not None:
            pair = FramePair.between(last, frame)
            there, back = flow(last.grey, frame.grey), flow(frame.grey, last.grey)
            move = template_tracker.step if config.method == "patch" else chained_flow.step
            alive = move(alive, pair, there, back)
        seen = alive.take(alive.doubt == 0)
        observations.add(t, seen.number, seen.xy, seen.sigma)
        corners = cells.corners(frame.grey, seen.xy, back)
        new = template_tracker.begin(observations.begin(len(corners)), corners, frame)
        observations.add(t, new.number, new.xy, new.sigma)
        alive = alive.join(new)
        last = frame
        progress("following", t + 1, len(pictures.video))
    return observations.tracks(min(_LEAST, stop - start))
