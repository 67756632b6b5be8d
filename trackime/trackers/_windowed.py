"""Trackers that look both ways in time at a window of frames, and go through longer clips window by window."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from trackime.trackers.base import Features, PointTracker, check_features, check_queries, pin


class WindowedTracker(PointTracker):
    """Chunks of one window or more; successive windows share `overlap` frames, which are re-estimated.

    A state has the next frame's index `t`, and `queries` [B, N, 3] as given.

    Attributes:
        window: frames processed together.
        both_ways: a clip that fits in one window is followed in both directions at once.
    """

    window: int
    both_ways: bool = True

    @abstractmethod
    def follow_windows(
        self, state: Any, features: Features, first: int, both: bool = False
    ) -> tuple[Tensor, Tensor, Any]:
        """What is found in all frames of a chunk that begins at frame `first`, and the new state.

        Args:
            state: the last one.
            features: the chunk's.
            first: frame.
            both: frames before a point's own matter, too.

        Returns:
            xy [B, N, T, 2] in pixels of the frames, visibility [B, N, T], and the state.
        """

    def spans(self, start: int, first: int, length: int) -> Iterator[tuple[int, int, int]]:
        """The windows of a chunk of `length` frames that begins at frame `first`, when `start` is the next new frame.

        Returns:
            (t0, t1, new): frames t0 .. t1 - 1 of the chunk are a window, those from `new` on were not seen before.
        """
        new = start - first
        while new < length:
            t0 = new - min(first + new, self.overlap)
            t1 = min(length, t0 + self.window)
            yield t0, t1, new
            new = t1

    @torch.no_grad()
    def advance(self, state: Any, features: Features) -> tuple[Tensor, Tensor, Any]:
        """See `PointTracker.advance`: xy and visibility of all frames of the chunk, the overlap's re-estimated.

        A chunk longer than a window is taken window by window.
        """
        head = min(state.t, self.overlap)
        check_features(features, len(state.queries), head)
        first = state.t - head
        xy, visibility, state = self.follow_windows(state, features, first)
        return *pin(xy, visibility, state.queries, first), state

    @torch.no_grad()
    def track_features(self, features: Features, queries: Tensor) -> tuple[Tensor, Tensor]:
        """See `PointTracker.track_features`. Both directions at once where the clip fits in the window."""
        if not self.both_ways or features.frames > self.window:
            return super().track_features(features, queries)
        check_queries(queries, features.batch)
        state = self.open(queries, features.size)
        xy, visibility, state = self.follow_windows(state, features, 0, both=True)
        return pin(xy, visibility, state.queries, rest=False)
