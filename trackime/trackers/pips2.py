"""PIPs++ as a tracker: windows of many frames; forward-backward agreement tells what is visible.

The network is that of PointOdyssey (Zheng et al., ICCV 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trackime.checkpoints import fill, locate, read_weights
from trackime.errors import InputError
from trackime.patches import row_blocks
from trackime.trackers._options import Checkpoint, check_positive, factory
from trackime.trackers._particles import BLOCK, FrameWindow, ParticleOptions, ParticlePoints, ParticleTracker
from trackime.trackers.networks import pips2 as network

_OVERLAP = 8
"""Frames that two windows share: normalisation over time needs some to go by, however few new ones are left."""
_SLACK = 4.0
"""Pixels of the resized frame (half a feature cell) by which a visible point may miss on its way back."""
_SHARE = 0.01
"""Of the squared motions that the way back may miss by besides (Sundaram, Brox and Keutzer 2010, equation 5)."""


@dataclass(frozen=True)
class Pips2Options(ParticleOptions):
    """Options of ``pips2``: those of `ParticleOptions`, and how visibility is checked.

    A point takes about 5 MB of memory at 48 frames. The authors' evaluations have frames of (512, 896), 128 of them
    together, which takes features of 0.8 GB; sides are multiples of 8 of at least 64.

    Attributes:
        check_every: frames between checks of visibility; 0: none are made, and all that is in the frame is visible.
        check_span: frames tracked back in a check.
        check_iterations: refinements of the way back.

    Raises:
        InputError: one outside its range.
    """

    stride = 8  # of the published network
    overlap = _OVERLAP

    query_chunk: int = 64
    input_size: tuple[int, int] = (512, 896)
    iterations: int = 16
    check_every: int = 8
    check_span: int = 12
    check_iterations: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(check_span=self.check_span, check_iterations=self.check_iterations)
        if self.check_every < 0:
            raise InputError(f"check_every: expected 0 (no checks) or more, got {self.check_every}")


class Pips2(ParticleTracker[network.Pips2]):
    """PIPs++ over videos of any length.

    Up to `max_frames` frames are one window, and equal the network's own result. The next window begins eight frames
    before the end of the last one, where each point was then, without motion; only its new frames count. The query
    frame's descriptor goes along. (The authors' evaluation lets windows share one frame, and moves the last window back
    so that it is whole. It also carries the two lagged appearances over, by their place in the window; here both begin
    as the query's, as in the first window, and are taken from the frames after one iteration.)

    The network says nothing of visibility. Every `check_every` frames it follows the point found there back through
    the last `check_span` frames, without motion to begin with, which tells whether what is there is what was followed:
    at an occluder it goes with the occluder. With d the distance between the two tracks in a frame, and w, v the
    displacements of the two since the frame checked, a frame's disagreement is

        r = d^2 / (SLACK^2 + SHARE (|w|^2 + |v|^2))

    (Sundaram, Brox and Keutzer, ECCV 2010, equation 5, with SLACK^2 in place of 0.5: it was made for dense flow, of ten
    times the precision), and the visibility of the frame checked is 2^-r for the median r of the frames gone back
    through: above 0.5 where the tracks agree. Between checks it is interpolated; outside of the frame it is 0.

    Arguments and errors are those of `ParticleTracker`.
    """

    name = "pips2"
    overlap = _OVERLAP

    def __init__(self, module: network.Pips2, options: Pips2Options, device: str | torch.device = "cpu") -> None:
        super().__init__(module, options, device)
        self.check_every, self.check_span = options.check_every, options.check_span
        self.check_iterations = options.check_iterations

    def _extend(self, points: ParticlePoints, window: FrameWindow) -> tuple[Tensor, Tensor]:
        """See `ParticleTracker._extend`."""
        length = window.end - window.first
        xy = points.place[:, None].repeat(1, length, 1)
        visibility = points.visibility[:, None].repeat(1, length)
        started = points.met(window.end)
        begins = points.begin[started] - window.first
        # Points that begin together: normalisation over time knows no frames to be left out.
        for begin in begins.unique().tolist():
            rows = started[begins == begin]
            if begin == length - 1:
                continue
            for some in row_blocks(rows, BLOCK, self.query_chunk):
                frames = torch.arange(begin, length, device=some.device).expand(len(some), -1)
                guess = points.place[some, None].expand(-1, length - begin, -1)
                path = self.network(window.pyramid, frames, guess, points.descriptor[some], self.iterations)[-1]
                seen = self._check(window, frames, path, points.visibility[some])
                xy[some, begin:], visibility[some, begin:] = path, seen
        begins = points.begin[started].clamp(min=window.end - self.overlap)
        points.begin[started] = begins
        points.place[started] = xy[started, begins - window.first]
        points.visibility[started] = visibility[started, begins - window.first]
        return xy, visibility

    def _check(self, window: FrameWindow, frames: Tensor, path: Tensor, first: Tensor) -> Tensor:
        """Visibility [K, S] of points that were followed.

        Args:
            frames: int64 [K, S] numbers in the window.
            path: [K, S, 2] positions.
            first: [K] visibility in the first frame, where the track was begun.
        """
        length = frames.shape[1]
        if not self.check_every:
            return torch.ones_like(path[..., 0])
        steps = [*range(self.check_every, length - 1, self.check_every), length - 1]
        found = {0: first}
        for span in sorted({min(step, self.check_span) for step in steps}):
            alike = [step for step in steps if min(step, self.check_span) == span]
            back = torch.tensor(alike, device=frames.device)[:, None] - torch.arange(span + 1, device=frames.device)
            rows = self._agree(window, frames[:, back].flatten(0, 1), path[:, back].flatten(0, 1), length)
            found |= dict(zip(alike, rows.view(len(path), -1).unbind(1), strict=True))
        return _interpolate([0, *steps], torch.stack([found[step] for step in (0, *steps)], 1))

    def _agree(self, window: FrameWindow, frames: Tensor, path: Tensor, length: int) -> Tensor:
        """How well points followed back stay on their tracks.

        Args:
            frames: int64 [M, S] numbers in the window, descending.
            path: [M, S, 2] the tracks in these frames.
            length: frames that a chunk of queries may take together, a query.

        Returns:
            [M] 2^-r, see `Pips2`.
        """
        size = self.query_chunk * max(1, length // frames.shape[1])
        result = path.new_zeros(len(path))
        for rows in row_blocks(torch.arange(len(path), device=path.device), BLOCK, size):
            way, some = path[rows], frames[rows]
            descriptor = self.network.describe(window.pyramid[0], some[:, 0], way[:, 0])
            guess = way[:, :1].expand_as(way)
            back = self.network(window.pyramid, some, guess, descriptor, self.check_iterations)[-1]
            result[rows] = _agreement(way, back)
        return result


def _agreement(path: Tensor, back: Tensor) -> Tensor:
    """2^-r for the median disagreement r of two tracks that set out from one place (formula: see `Pips2`).

    Args:
        path: [M, S, 2] pixels, S >= 2.
        back: [M, S, 2]; the first frame is the same.

    Returns:
        [M] in [0, 1]; above 0.5: they agree.
    """
    distance = (back - path)[:, 1:].square().sum(-1)
    motion = sum((track[:, 1:] - track[:, :1]).square().sum(-1) for track in (path, back))
    disagreement = distance / (_SLACK**2 + _SHARE * motion)
    return torch.exp2(-disagreement.median(1).values)


def _interpolate(steps: list[int], values: Tensor) -> Tensor:
    """Values [K, L] of frames `steps`, ascending from 0, made linear between them: [K, steps[-1] + 1]."""
    knots = torch.tensor(steps, device=values.device)
    times = torch.arange(steps[-1] + 1, device=values.device)
    right = torch.searchsorted(knots, times).clamp(min=1)
    share = (times - knots[right - 1]) / (knots[right] - knots[right - 1])
    return values[:, right - 1].lerp(values[:, right], share)


def _make(options: Pips2Options, path: Checkpoint, device: torch.device) -> Pips2:
    tracker = Pips2(network.Pips2(), options, device)
    fill(tracker.network, read_weights(locate("pips2", path)), "pips2")
    return tracker


pips2 = factory(Pips2Options, _make)
"""The tracker ``pips2``."""
