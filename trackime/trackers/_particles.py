"""What the adapters of PIPs and PIPs++ share: feature maps, units of position, and what is remembered of points.

Both networks follow each point by itself from the first of some frames to the last. They count pixels from the centre
of the first one, as the authors' data does, so that half a pixel is taken off going in and put back coming out.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from trackime.devices import resolve_device
from trackime.errors import InputError
from trackime.geometry import resize_frames, scale_points
from trackime.trackers._options import check_positive, check_size
from trackime.trackers.base import (
    Features,
    PointTracker,
    check_features,
    check_frames,
    check_queries,
    pin,
    query_frames,
)
from trackime.trackers.networks import ParticleNetwork, build_pyramid

COARSEST = 8
"""The coarsest level of the pyramid halves the features this many times: every level must have a cell."""

BLOCK = 4
"""Points are followed in multiples of this many (see `patches.rows`)."""


@dataclass
class ParticlePoints:
    """The N points of one clip.

    Attributes:
        start: int64 [N] query frames, in the order of travel.
        begin: int64 [N] the frame the next window of each begins at: it is where the point is surely known.
        place: [N, 2] where it is then, pixels of the resized frame from the first one's centre.
        visibility: [N] there.
        descriptor: [N, C] the query's; zeros until its frame is met.
    """

    start: Tensor
    begin: Tensor
    place: Tensor
    visibility: Tensor
    descriptor: Tensor

    def met(self, end: int) -> Tensor:
        """int64 [K]: the points whose query frame lies before frame `end`."""
        return torch.nonzero(self.start < end)[:, 0]


@dataclass(frozen=True)
class FrameWindow:
    """Frames first .. end - 1 of one clip, those before `fresh` seen once already.

    Attributes:
        pyramid: tensors [end - first, h, w, C].
    """

    pyramid: list[Tensor]
    first: int
    fresh: int
    end: int


@dataclass
class ParticleState:
    """Where `advance` left off: the next frame's index, the points of each clip, and the queries [B, N, 3] as given."""

    t: int
    clips: list[ParticlePoints]
    queries: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class ParticleOptions:
    """Options of both trackers; they differ in defaults.

    Attributes:
        query_chunk: points tracked at once; bounds memory and changes nothing else.
        input_size: (h, w) frames are resized to: multiples of the network's stride, at least 8 cells a side.
        iterations: refinements of a trajectory.
        max_frames: frames fed together, at least two more than windows share; see `PointTracker`.
        antialias: blur before shrinking. The authors' evaluations do not, and the default repeats them.

    Raises:
        InputError: one outside its range.
    """

    stride: ClassVar[int]
    overlap: ClassVar[int]

    query_chunk: int
    input_size: tuple[int, int]
    iterations: int
    max_frames: int = 48
    antialias: bool = False

    def __post_init__(self) -> None:
        check_size(self.input_size, self.stride, COARSEST * self.stride)
        if self.max_frames < 2 + self.overlap:
            raise InputError(f"max_frames: expected {2 + self.overlap} or more, got {self.max_frames}")
        check_positive(query_chunk=self.query_chunk, iterations=self.iterations)


_Network = TypeVar("_Network", bound=ParticleNetwork)


class ParticleTracker(PointTracker, Generic[_Network]):
    """A tracker around one of the two networks.

    Args:
        network: with its weights.
        options: see `ParticleOptions`.
        device: cpu, cuda, cuda:N, mps or auto.

    Raises:
        InputError, DeviceError: no such device.
    """

    channels = 128

    def __init__(self, network: _Network, options: ParticleOptions, device: str | torch.device = "cpu") -> None:
        self.device = resolve_device(device)
        self.input_size: tuple[int, int] = (int(options.input_size[0]), int(options.input_size[1]))
        self.query_chunk, self.max_frames, self.iterations = options.query_chunk, options.max_frames, options.iterations
        self.antialias, self.overlap = options.antialias, options.overlap
        self.network = network.to(self.device)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Features:
        """Feature maps [B, T, h / stride, w / stride, 128], of each frame by itself."""
        check_frames(frames)
        b, t, _, h, w = frames.shape
        # On a CPU a frame at a time: rounding cannot depend on how many came together, and memory stays flat.
        flat, at_once = frames.flatten(0, 1), 1 if self.device.type == "cpu" else 8
        maps = [self.network.encode(self._resize(part)) for part in flat.split(at_once)]
        rows = torch.cat(maps) if maps else flat.new_zeros(0, 1, 1, self.channels)
        return Features({"maps": rows.view(b, t, *rows.shape[1:])}, (h, w))

    def _resize(self, frames: Tensor) -> Tensor:
        """[K, 3, h, w] to [K, 3, *input_size], on the device."""
        assert self.input_size is not None
        frames = frames.to(self.device, torch.float32)
        if self.antialias or frames.shape[-2:] == self.input_size:
            return resize_frames(frames, self.input_size)
        return F.interpolate(frames, self.input_size, mode="bilinear", align_corners=False)

    @torch.no_grad()
    def open(self, queries: Tensor, size: tuple[int, int]) -> ParticleState:
        """See `PointTracker.open`."""
        check_queries(queries)
        assert self.input_size is not None
        queries = queries.to(self.device, torch.float32)
        start = query_frames(queries)
        place = scale_points(queries[..., :2], size, self.input_size) - 0.5
        blank = place.new_zeros(*place.shape[:2], self.channels)
        seen = torch.ones_like(place[..., 0])
        clips = [ParticlePoints(*row) for row in zip(start, start.clone(), place, seen, blank, strict=True)]
        return ParticleState(0, clips, queries, size)

    @torch.no_grad()
    def advance(self, state: ParticleState, features: Features) -> tuple[Tensor, Tensor, ParticleState]:
        """See `PointTracker.advance`. The state given is used up."""
        head = min(self.overlap, state.t)
        check_features(features, len(state.clips), head)
        first, end = state.t - head, state.t - head + features.frames
        results = []
        for points, maps in zip(state.clips, features.data["maps"], strict=True):
            window = FrameWindow(build_pyramid(maps), first, state.t, end)
            self._meet(points, window)
            xy, visibility = self._extend(points, window)
            results.append((xy[:, head:], visibility[:, head:]))
        xy, visibility = torch.stack([r[0] for r in results]), torch.stack([r[1] for r in results])
        xy, visibility = self._finish(state, xy, visibility)
        state.t = end
        return xy, visibility, state

    def _meet(self, points: ParticlePoints, window: FrameWindow) -> None:
        """Take the descriptors of points whose query frame is new."""
        rows = torch.nonzero((points.start >= window.fresh) & (points.start < window.end))[:, 0]
        frames = points.start[rows] - window.first
        points.descriptor[rows] = self.network.describe(window.pyramid[0], frames, points.place[rows])

    @abstractmethod
    def _extend(self, points: ParticlePoints, window: FrameWindow) -> tuple[Tensor, Tensor]:
        """Follow the points of a clip through a window, and move `points` on.

        Returns:
            xy [N, end - first, 2] in pixels of the resized frame, counted from the centre of the first one, and
            visibility [N, end - first]. What is said of frames up to the query's is not used.
        """

    def _finish(self, state: ParticleState, xy: Tensor, visibility: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels of the frames given, and what holds for every tracker.

        Args:
            xy: [B, N, T', 2] as `_extend` returns them.
            visibility: [B, N, T'].
        """
        assert self.input_size is not None
        xy = scale_points(xy + 0.5, self.input_size, state.size)
        h, w = state.size
        inside = (xy >= 0).all(-1) & (xy <= xy.new_tensor([w, h])).all(-1)
        return pin(xy, visibility * inside, state.queries, state.t)
