"""The contract every point tracker meets, and what a plain tracker gets for free from it.

Time runs forward here. A tracker only ever sees frames in the order of travel; `track_features` runs the same
state machine over the flipped frames for the part of a track before its query. So a model that knows one
direction serves both, and reversing a video reverses its tracks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trackime.errors import ShapeError


@dataclass(frozen=True)
class Features:
    """What `PointTracker.encode` makes of B clips of T frames; opaque but for its sizes.

    Attributes:
        data: what the tracker needs, by name. Tensors are [B, T, ...]; anything else is a list of B lists of T
            entries (one a frame).
        size: (h, w) of the frames that were encoded, in whose pixels points are given and returned.
    """

    data: dict[str, Any]
    size: tuple[int, int]

    @property
    def batch(self) -> int:
        """Number of clips B."""
        return len(next(iter(self.data.values())))

    @property
    def frames(self) -> int:
        """Number of frames T."""
        first = next(iter(self.data.values()))
        return first.shape[1] if isinstance(first, Tensor) else len(first[0])

    def window(self, t0: int, t1: int) -> Features:
        """Frames t0 .. t1 - 1 alone; shares memory."""
        return self._map(lambda v: v[:, t0:t1], lambda row: row[t0:t1])

    def flip(self) -> Features:
        """The same frames, last first."""
        return self._map(lambda v: v.flip(1), lambda row: row[::-1])

    def _map(self, tensor: Any, row: Any) -> Features:
        data = {k: tensor(v) if isinstance(v, Tensor) else [row(r) for r in v] for k, v in self.data.items()}
        return Features(data, self.size)


class PointTracker(ABC):
    """Follows points through clips. All positions are in pixels of the frames given, whatever the tracker resizes to.

    A tracker is a state machine over time, which is what lets any length run in bounded memory: `open` makes the
    state of some queries, `advance` feeds it the next chunk's features.

    Attributes:
        name: its name in the registry.
        input_size: (h, w) it resizes frames to; None: works on frames as they are, and windows are not resized.
        max_frames: frames it processes together; None: any number, and chunks of any length give the same result.
            A network that looks both ways in time decides about a frame by what comes after it, too, so that its
            result depends on where chunks end: it is always fed exactly this many frames, whatever chunk is
            configured (see `chunk_spans`).
        overlap: frames of a chunk that `advance` wants to see again at the head of the next one.
        device: where it computes.
    """

    name: str = ""
    input_size: tuple[int, int] | None = None
    max_frames: int | None = None
    overlap: int = 0
    device: torch.device = torch.device("cpu")

    @abstractmethod
    def encode(self, frames: Tensor) -> Features:
        """Features of clips.

        Each frame's features depend on that frame alone, or on frames no further than `overlap` before it.

        Args:
            frames: float [B, T, 3, h, w] in [0, 1].
        """

    @abstractmethod
    def open(self, queries: Tensor, size: tuple[int, int]) -> Any:
        """The state before the first frame.

        Args:
            queries: [B, N, 3] (x, y, t), pixels of frames of `size`; t counts frames in the order of travel.
            size: (h, w) of the frames.
        """

    @abstractmethod
    def advance(self, state: Any, features: Features) -> tuple[Tensor, Tensor, Any]:
        """Follow the points through the next chunk.

        Args:
            state: what `open` or the last `advance` returned; not to be used again.
            features: the chunk's, in the order of travel; its first `overlap` frames are the last ones of the
                chunk before (none in the first chunk).

        Returns:
            xy [B, N, T', 2] and visibility [B, N, T'] of the chunk's new frames, and the new state. A tracker that
            re-estimates its `overlap` returns these frames, too, before the new ones: they replace the earlier
            estimates. Before its query frame a point is at the query with visibility 0; at its query frame it is
            the query itself.
        """

    def track(self, frames: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Follow points through whole clips, both ways from their query frames.

        Args:
            frames: float [B, T, 3, h, w] in [0, 1].
            queries: [B, N, 3] (x, y, t).

        Returns:
            xy [B, N, T, 2] in pixels of `frames`, visibility [B, N, T] in [0, 1].

        Raises:
            ShapeError: frames or queries of another rank, or of different batch sizes.
        """
        check_frames(frames)
        return self.track_features(self.encode(frames.to(self.device)), queries)

    def track_features(self, features: Features, queries: Tensor) -> tuple[Tensor, Tensor]:
        """As `track`, on features already made: many queries share one encoding."""
        check_queries(queries, features.batch)
        queries = queries.to(self.device)
        length, t = features.frames, queries[..., 2]
        xy, visibility = self._follow(queries, features)
        if queries.shape[1] and bool((t > 0).any()):
            mirrored = torch.stack([queries[..., 0], queries[..., 1], length - 1 - t], -1)
            back_xy, back_vis = self._follow(mirrored, features.flip())
            xy, visibility = _merge_directions(xy, visibility, back_xy.flip(2), back_vis.flip(2), t)
        return xy, visibility

    def _follow(self, queries: Tensor, features: Features) -> tuple[Tensor, Tensor]:
        """The whole clip in the order of travel: xy [B, N, T, 2], visibility [B, N, T]."""
        state = self.open(queries, features.size)
        xy = torch.zeros(*queries.shape[:2], features.frames, 2, device=self.device)
        visibility = torch.zeros(xy.shape[:3], device=self.device)
        for t0, t1 in chunk_spans(features.frames, self.max_frames or features.frames, self.overlap):
            new_xy, new_vis, state = self.advance(state, features.window(max(0, t0 - self.overlap), t1))
            span = slice(t1 - new_xy.shape[2], t1)  # the new frames, and maybe some re-estimated ones before them
            xy[:, :, span], visibility[:, :, span] = new_xy, new_vis
        return xy, visibility


def check_frames(frames: Tensor) -> None:
    """Raise ShapeError for frames that are not [B, T, 3, h, w]."""
    if frames.ndim != 5 or frames.shape[2] != 3:
        raise ShapeError("frames", "[B, T, 3, h, w]", frames.shape)


def check_queries(queries: Tensor, batch: int | None = None) -> None:
    """Raise ShapeError for queries that are not [B, N, 3], or not of `batch` clips."""
    if queries.ndim != 3 or queries.shape[-1] != 3 or (batch is not None and len(queries) != batch):
        raise ShapeError("queries", f"[{'B' if batch is None else batch}, N, 3] (x, y, t)", queries.shape)


def check_features(features: Features, batch: int, overlap: int) -> None:
    """Raise ShapeError for a chunk of other than `batch` clips, or without a frame beyond the `overlap` at its head."""
    if features.batch != batch:
        raise ShapeError("features", f"{batch} clips", (features.batch,))
    if features.frames <= overlap:
        raise ShapeError("features", f"more than the {overlap} frames of overlap", (batch, features.frames))


def query_frames(queries: Tensor) -> Tensor:
    """int64 [B, N]: the frames of queries [B, N, 3] (x, y, t)."""
    return queries[..., 2].round().long()


def pin(xy: Tensor, visibility: Tensor, queries: Tensor, first: int = 0, rest: bool = True) -> tuple[Tensor, Tensor]:
    """A network's estimates with what every tracker guarantees: at its query frame a point is the query, and visible.

    Args:
        xy: [B, N, T, 2] from frame `first` on, pixels of the frames given.
        visibility: [B, N, T].
        queries: [B, N, 3] (x, y, t).
        first: number of the first of the T frames.
        rest: whether points rest at the query, hidden, before its frame, as in `PointTracker.advance`.
    """
    steps = torch.arange(first, first + xy.shape[2], device=xy.device) - query_frames(queries)[..., None]  # [B, N, T]
    held = steps <= 0 if rest else steps == 0
    visibility = torch.where(held, (steps == 0).to(visibility.dtype), visibility)
    return torch.where(held[..., None], queries[:, :, None, :2], xy), visibility


def _merge_directions(
    xy: Tensor,  # [B, N, T, 2] followed forward
    visibility: Tensor,  # [B, N, T]
    back_xy: Tensor,  # [B, N, T, 2] followed backward, in the order of the video
    back_visibility: Tensor,  # [B, N, T]
    t: Tensor,  # [B, N] query frames
) -> tuple[Tensor, Tensor]:
    """Forward results from the query frame on, backward ones before it."""
    before = torch.arange(xy.shape[2], device=xy.device) < t[..., None]  # [B, N, T]
    return torch.where(before[..., None], back_xy, xy), torch.where(before, back_visibility, visibility)


def chunk_spans(length: int, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    """New frames [t0, t1) of each chunk: chunks of `size` frames, `overlap` of which the last chunk had already."""
    t0 = 0
    while t0 < length:
        t1 = min(length, t0 + (size if t0 == 0 else max(1, size - overlap)))
        yield t0, t1
        t0 = t1
