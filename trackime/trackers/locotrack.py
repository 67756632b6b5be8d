"""LocoTrack, small and base: published checkpoints behind `PointTracker`.

The network (`networks.locotrack`) looks both ways in time, and follows each point on its own. A clip of up to
`max_frames` frames is handled in one pass, as the authors' predictor does. Longer ones go window by window; from one
to the next are carried the points' features from their query frames, and where they were found in the frames that
both windows see: there refinement goes on from these positions, while occlusion and uncertainty begin again, which is
how TAPIR and LocoTrack go from one level of refinement to the next.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from trackime.arrays import blocks
from trackime.checkpoints import fill, locate, read_weights
from trackime.errors import InputError
from trackime.geometry import resize_frames, scale_points
from trackime.trackers._options import Checkpoint, check_positive, check_size, factory
from trackime.trackers.base import (
    Features,
    PointTracker,
    check_features,
    check_frames,
    check_queries,
    pin,
    query_frames,
)
from trackime.trackers.networks import FIRST_SIZE, LocoTrackMaps, QueryFeatures, blank, size_of
from trackime.trackers.networks import LocoTrack as Network

_ENCODED = 8
"""Frames encoded at a time, which bounds memory and changes nothing else."""
_MULTIPLE = 8
"""What sides of frames are multiples of: the coarsest feature map's stride."""


@dataclass
class LocoTrackState:
    """Where `advance` left off.

    Attributes:
        queries: [B, N, 3] (x, y, t) as given.
        xy: [B, N, 2] queries in pixels of FIRST_SIZE.
        frame: [B, N] their frames, integers.
        size: (h, w) of the frames.
        time: frames seen.
        memory: features of the points whose query frame has been seen, zeros for others; about 90 KB a point.
        last: [B, N, o, 2] where the points were in the last o <= overlap frames, pixels of FIRST_SIZE.
    """

    queries: Tensor
    xy: Tensor
    frame: Tensor
    size: tuple[int, int]
    time: int = 0
    memory: QueryFeatures | None = None
    last: Tensor | None = None


@dataclass(frozen=True)
class LocoTrackOptions:
    """Options of ``locotrack-small`` and ``locotrack-base``.

    Attributes:
        query_chunk: points tracked at once, over all clips of a batch; bounds memory and changes nothing else.
        input_size: (h, w) frames are resized to, multiples of 8 of at least 256. Points are first searched for
            at 256 x 256, and refined at this size.
        max_frames: frames processed together. Encoded frames take 7 MB each at 256 x 256.
        overlap: frames that a window shares with the one before. Attention of the heads of the longest range weakens
            by a factor of e in 24 frames.

    Raises:
        InputError: one outside its range.
    """

    query_chunk: int = 64
    input_size: tuple[int, int] = FIRST_SIZE
    max_frames: int = 96
    overlap: int = 24

    def __post_init__(self) -> None:
        check_size(self.input_size, _MULTIPLE, FIRST_SIZE[0])
        check_positive(query_chunk=self.query_chunk)
        if not 0 <= self.overlap < self.max_frames:
            raise InputError(f"overlap: expected 0 <= overlap < max_frames, got {self.overlap} and {self.max_frames}")


class LocoTrack(PointTracker):
    """A LocoTrack network as a point tracker.

    Args:
        network: on `device`, in evaluation mode.
        name: in the registry.
        options: see `LocoTrackOptions`.
        device: where the network is.
    """

    def __init__(
        self,
        network: Network,
        name: str,
        options: LocoTrackOptions = LocoTrackOptions(),
        device: str | torch.device = "cpu",
    ) -> None:
        self.network, self.name, self.device = network, name, torch.device(device)
        self.query_chunk, self.max_frames, self.overlap = options.query_chunk, options.max_frames, options.overlap
        self.input_size: tuple[int, int] = (int(options.input_size[0]), int(options.input_size[1]))

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Features:
        """Feature maps of the frames at `input_size`, and at 256 x 256 where that is another size.

        Frames are shrunk with antialiasing, as in the authors' evaluation and demonstration.

        Raises:
            ShapeError: not [B, T, 3, h, w].
        """
        check_frames(frames)
        b, t, _, h, w = frames.shape
        flat = frames.flatten(0, 1)
        data: dict[str, Tensor] = {}
        for i in range(0, b * t, _ENCODED):
            block = resize_frames(flat[i : i + _ENCODED].to(self.device, torch.float32), self.input_size) * 2 - 1
            made = self.network.encode(block)._asdict()
            if self.input_size != FIRST_SIZE:
                # From the resized frames and without antialiasing: as the network was published.
                first = self.network.encode(F.interpolate(block, FIRST_SIZE, mode="bilinear"))
                made |= {"first_hires": first.hires, "first_lowres": first.lowres}
            for key, value in made.items():
                if key not in data:
                    data[key] = value.new_empty((b * t, *value.shape[1:]))
                data[key][i : i + _ENCODED] = value
        return Features({key: value.unflatten(0, (b, t)) for key, value in data.items()}, (h, w))

    def open(self, queries: Tensor, size: tuple[int, int]) -> LocoTrackState:
        """See `PointTracker.open`.

        Raises:
            ShapeError: queries that are not [B, N, 3].
        """
        check_queries(queries)
        queries = queries.to(self.device, torch.float32)
        frame = query_frames(queries)
        return LocoTrackState(queries, scale_points(queries[..., :2], size, FIRST_SIZE), frame, size)

    @torch.no_grad()
    def advance(self, state: LocoTrackState, features: Features) -> tuple[Tensor, Tensor, LocoTrackState]:
        """See `PointTracker.advance`."""
        seen, length = min(self.overlap, state.time), features.frames
        check_features(features, len(state.queries), seen)
        maps, first = _maps(features)
        b, n = state.frame.shape
        start = state.time - seen
        local = state.frame - start  # [B, N] query frames in this window
        xy = state.xy[:, :, None].repeat(1, 1, length, 1)
        visibility = xy.new_zeros(b, n, length)
        memory = state.memory if state.memory is not None else blank(b, n, self.device)
        begun = (local < length).any(0).nonzero()[:, 0]  # points that were met in some clip of the batch
        for part in blocks(len(begun), self._chunk(b)):
            rows = begun[part]
            here, places = local[:, rows], state.xy[:, rows]
            query = QueryFeatures(*(whole[:, rows] for whole in memory))
            now = (here >= seen) & (here < length)
            if bool(now.any()):
                met = self.network.query(maps, first, here.clamp(0, length - 1), places)
                query = QueryFeatures(
                    *(torch.where(_like(now, old), new, old) for new, old in zip(met, query, strict=True))
                )
                for whole, rest in zip(memory, query, strict=True):
                    whole[:, rows] = rest
            known = None
            if state.last is not None and seen:
                known = torch.where((here < seen)[..., None, None], state.last[:, rows], torch.nan)
            xy[:, rows], visibility[:, rows] = self._follow_window(maps, first, query, here, places, known)
        last = xy[:, :, length - min(self.overlap, start + length) :].clone()
        xy, visibility = pin(scale_points(xy, FIRST_SIZE, state.size), visibility, state.queries, start)
        after = replace(state, time=start + length, memory=memory, last=last)
        # Frames at the end of the last window had no future: the later half of those in common are re-estimated.
        skipped = seen - seen // 2
        return xy[:, :, skipped:], visibility[:, :, skipped:], after

    @torch.no_grad()
    def track_features(self, features: Features, queries: Tensor) -> tuple[Tensor, Tensor]:
        """See `PointTracker.track_features`: one pass for both directions where the clip fits `max_frames`."""
        if self.max_frames is not None and features.frames > self.max_frames:
            return super().track_features(features, queries)
        check_queries(queries, features.batch)
        state = self.open(queries, features.size)
        maps, first = _maps(features)
        b, n = state.frame.shape
        frame = state.frame.clamp(0, features.frames - 1)
        xy = state.xy.new_zeros(b, n, features.frames, 2)
        visibility = xy.new_zeros(b, n, features.frames)
        for part in blocks(n, self._chunk(b)):
            query = self.network.query(maps, first, frame[:, part], state.xy[:, part])
            found = self._follow_window(maps, first, query, frame[:, part], state.xy[:, part])
            xy[:, part], visibility[:, part] = found
        return pin(scale_points(xy, FIRST_SIZE, features.size), visibility, state.queries, rest=False)

    def _chunk(self, clips: int) -> int:
        """Points of each clip followed at once."""
        return max(1, self.query_chunk // max(1, clips))

    def _follow_window(
        self,
        maps: LocoTrackMaps,
        first: LocoTrackMaps,
        query: QueryFeatures,
        frame: Tensor,
        xy: Tensor,
        known: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """xy [B, N, T, 2] in pixels of FIRST_SIZE and visibility [B, N, T] of a window."""
        size = self.input_size or FIRST_SIZE
        *_, found = self.network.estimates(maps, first, query, frame, xy, size, known)
        # The published decision, as TAPIR's: (1 - occlusion) (1 - expected_dist) > 0.5.
        return found.xy, torch.sigmoid(-found.occlusion) * torch.sigmoid(-found.expected_dist)


def _maps(features: Features) -> tuple[LocoTrackMaps, LocoTrackMaps]:
    """Maps for the refinement and for the initialisation; the same object where they are the same."""
    data = features.data
    maps = LocoTrackMaps(*(data[key] for key in LocoTrackMaps._fields))
    if "first_hires" not in data:
        return maps, maps
    return maps, LocoTrackMaps(data["first_hires"], data["first_lowres"], maps.highest)


def _like(mask: Tensor, values: Tensor) -> Tensor:
    """A mask [B, N] for values [B, N, ...]."""
    return mask.reshape(*mask.shape, *[1] * (values.ndim - 2))


def _make(name: str, options: LocoTrackOptions, path: Checkpoint, device: torch.device) -> LocoTrack:
    """LocoTrack-S or LocoTrack-B; a file given as `path` may be of either size, which its shapes tell."""
    state = read_weights(locate(name, path), prefix="model.")
    size = size_of(state, default=name.removeprefix("locotrack-"))
    network = Network(size)
    fill(network, state, name)
    return LocoTrack(network.to(device), f"locotrack-{size}", options, device)


small = factory(LocoTrackOptions, partial(_make, "locotrack-small"))
base = factory(LocoTrackOptions, partial(_make, "locotrack-base"))
