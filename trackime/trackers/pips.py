"""PIPs as a tracker: eight frames at once, longer videos chained by visibility.

The method is that of Particle Video Revisited (Harley, Fang, Fragkiadaki, ECCV 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trackime.checkpoints import fill, locate, read_weights
from trackime.patches import row_blocks
from trackime.trackers._options import Checkpoint, factory
from trackime.trackers._particles import BLOCK, FrameWindow, ParticleOptions, ParticlePoints, ParticleTracker
from trackime.trackers.networks import pips as network

_SURE, _RELAX = 0.9, 0.02
"""Visibility from which a window may begin at a frame, and how much less will do each time there is no such frame."""
_EARLIEST = 2
"""First frame of a window that the next one may begin at."""


@dataclass(frozen=True)
class PipsOptions(ParticleOptions):
    """Options of ``pips``: those of `ParticleOptions`.

    A point takes about 1 MB of memory. The authors' demonstration has frames of (360, 640), their evaluation on BADJA
    (320, 512); sides are multiples of 4 of at least 32.
    """

    stride = 4  # of the published network
    overlap = network.FRAMES - 1

    query_chunk: int = 256
    input_size: tuple[int, int] = (360, 640)
    iterations: int = 6


class Pips(ParticleTracker[network.Pips]):
    """PIPs over videos of any length.

    The network sees eight frames. A longer video is chained point by point (section 3.6 and the authors' code): the
    next window begins at the farthest of the window's frames 2 .. 7 whose visibility exceeds 0.9; where there is none,
    0.88 will do, then 0.86 and so on. The descriptor of the query frame goes along. A clip of eight frames queried in
    its first is one window, and equals the network's own result.

    So windows of different points begin in different frames. `max_frames` frames are fed together, the last seven of
    them again with the next chunk: in these begins the next window of every point, and nothing else needs to be
    remembered. Each chunk runs all the windows that fit into it. At its end up to six frames may be left between a
    point's last whole window and the chunk's last frame; a window filled up with copies of the last frame (as the
    authors end a video) answers for these, and the next chunk begins as if it had not been. Fed otherwise than with
    `max_frames`, other frames are answered for so.

    Visibility is the network's own; what lies outside of the frame is not visible.

    Arguments and errors are those of `ParticleTracker`.
    """

    name = "pips"
    overlap = PipsOptions.overlap

    def _extend(self, points: ParticlePoints, window: FrameWindow) -> tuple[Tensor, Tensor]:
        """See `ParticleTracker._extend`."""
        length = window.end - window.first
        xy = points.place[:, None].repeat(1, length, 1)
        visibility = points.visibility[:, None].repeat(1, length)
        covered = points.begin.clone()  # the last frame that a whole window answered for
        reach = network.FRAMES - 1
        started = points.met(window.end)
        while len(rows := started[points.begin[started] + reach < window.end]):
            for some in row_blocks(rows, BLOCK, self.query_chunk):
                path, seen = self._run(points, some, window, xy, visibility)
                covered[some] = points.begin[some] + reach
                skip = _next_begin(seen)
                points.begin[some] = points.begin[some] + skip  # rows may be repeated
                points.place[some] = path[torch.arange(len(some), device=skip.device), skip]
                points.visibility[some] = seen.gather(1, skip[:, None])[:, 0]
        # A last window that ends where the chunk does had eight true frames to go by: nothing knows better.
        left = started[(covered[started] < window.end - 1) & (points.begin[started] < window.end - 1)]
        for some in row_blocks(left, BLOCK, self.query_chunk):
            self._run(points, some, window, xy, visibility)
        return xy, visibility

    def _run(
        self, points: ParticlePoints, rows: Tensor, window: FrameWindow, xy: Tensor, visibility: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One window for each of some points, from its own frame on; beyond the end the last frame is repeated.

        Args:
            rows: int64 [K].
            xy: [N, end - first, 2], written from the frame after the window's first one on.
            visibility: [N, end - first], so too.

        Returns:
            positions [K, FRAMES, 2] and visibility [K, FRAMES] of the window.
        """
        last = window.end - window.first - 1
        steps = torch.arange(network.FRAMES, device=rows.device)
        frames = points.begin[rows, None] - window.first + steps
        place, descriptor = points.place[rows], points.descriptor[rows]
        history, logits = self.network(window.pyramid, frames.clamp(max=last), place, descriptor, self.iterations)
        path, seen = history[-1], torch.sigmoid(logits)
        k, s = torch.nonzero((frames <= last) & (steps > 0), as_tuple=True)
        xy[rows[k], frames[k, s]] = path[k, s]
        visibility[rows[k], frames[k, s]] = seen[k, s]
        return path, seen


def _next_begin(visibility: Tensor) -> Tensor:
    """The frame of a window that the next one begins at: the farthest that is visible enough.

    Args:
        visibility: [N, S] of the window's frames.

    Returns:
        int64 [N] of EARLIEST .. S - 1: the last frame above the first of the thresholds SURE, SURE - RELAX,
        SURE - 2 RELAX, ... that any of these frames exceeds.
    """
    late = visibility[:, _EARLIEST:]
    count = int(_SURE / _RELAX) + 2  # down to less than nothing, which every frame exceeds
    thresholds = _SURE - _RELAX * torch.arange(count, device=late.device, dtype=late.dtype)
    level = (late.amax(1, keepdim=True) > thresholds).to(torch.uint8).argmax(1)  # the first one exceeded
    enough = late > thresholds[level][:, None]
    steps = torch.arange(_EARLIEST, visibility.shape[1], device=late.device)
    return torch.where(enough, steps, _EARLIEST).amax(1)


def _make(options: PipsOptions, path: Checkpoint, device: torch.device) -> Pips:
    tracker = Pips(network.Pips(), options, device)
    fill(tracker.network, read_weights(locate("pips", path)), "pips")
    return tracker


pips = factory(PipsOptions, _make)
"""The tracker ``pips``."""
