"""CoTracker3, offline and online: points followed together.

Unlike most trackers CoTracker3 lets points attend to each other. Who attends to whom, the joint group, is part of
its result: all queries given together, up to `query_chunk`, and a support grid of `support_grid` x `support_grid`
points laid over the first frame. The order within a group changes nothing; another group does, a little.

Both networks look both ways in time, at a window of frames together. The next window begins with the last frames of
the one before: queries keep the features of their query frame, and the positions, visibilities and confidences found
for the overlap, the last of them held for the new frames, are what the refinement starts from (CoTracker3, arXiv
2410.11831, section 3.4). `advance` returns the overlap re-estimated: frames with others after them are tracked better.

Offline, a clip that fits in one window is followed in both directions by one run, as the published predictor does.
Longer ones, which that predictor would still take at once, go window by window, once each way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from trackime.arrays import blocks
from trackime.checkpoints import fill, locate, read_weights
from trackime.devices import resolve_device
from trackime.errors import InputError
from trackime.trackers._options import Checkpoint, check_positive, check_size, factory
from trackime.trackers._windowed import WindowedTracker
from trackime.trackers.base import Features, check_frames, check_queries, query_frames
from trackime.trackers.networks import LEVELS, CoTracker3, CoTrackerEstimate, FeatureLevel, as_level

_SIZE = (384, 512)
"""(h, w) the networks were trained on."""
_OFFLINE_VISIBLE = 0.9
"""The offline predictor calls a point visible where its visibility is above this."""
_ONLINE_VISIBLE = 0.6
"""The online predictor calls a point visible where visibility x confidence is above this."""
_ENCODED = 8
"""Frames encoded at once."""


@dataclass(frozen=True)
class JointGroup:
    """Points that attend to each other, the support grid last.

    Attributes:
        xy: [B, n, 2] queries, pixels of the resized frames, integer centres.
        t: int [B, n] their frames.
        support: a scale: [B, n, 49, 128] features around the queries; zeros until their frames came.
        tail: the estimate in the last frames that were seen, as many as windows overlap; None before the first.
    """

    xy: Tensor
    t: Tensor
    support: list[Tensor] | None = None
    tail: CoTrackerEstimate | None = None


@dataclass(frozen=True)
class CoTrackerState:
    """Where `advance` left off: the next frame's index, the queries [B, N, 3] as given, and their groups in order."""

    t: int
    queries: Tensor
    size: tuple[int, int]
    groups: list[JointGroup] = field(default_factory=list)


@dataclass(frozen=True)
class CoTrackerOptions:
    """Options of ``cotracker3`` and ``cotracker3-online``.

    Attributes:
        online: which of the two published predictors.
        query_chunk: points of a joint group: bounds memory (about 2.5 MB a point and clip for 60 frames).
        support_grid: points a side of the grid that is tracked with them; 0: none.
        input_size: (h, w) frames are resized to, multiples of 4 of at least 32; trained on 384 x 512.
        window: frames processed together.
        overlap: frames that a window shares with the one before.
        iterations: refinements of a window; 6 in the published predictors.

    Raises:
        InputError: one outside its range.
    """

    online: bool
    query_chunk: int = 512
    support_grid: int = 6
    input_size: tuple[int, int] = _SIZE
    window: int = 60
    overlap: int = 20
    iterations: int = 6

    def __post_init__(self) -> None:
        check_size(self.input_size, 4, 32)
        check_positive(query_chunk=self.query_chunk, iterations=self.iterations)
        if self.support_grid < 0 or self.support_grid == 1:
            raise InputError(f"support_grid: expected 0 (none), or 2 or more a side, got {self.support_grid}")
        if not 0 < self.overlap < self.window:
            raise InputError(f"overlap: expected 1 to {self.window - 1}, within the window, got {self.overlap}")


class CoTracker(WindowedTracker):
    """CoTracker3 behind `PointTracker`; made by `cotracker3` and `cotracker3_online`.

    Args:
        network: with its weights, in evaluation mode.
        options: see `CoTrackerOptions`.
        device: cpu, cuda, cuda:N, mps or auto.

    Raises:
        InputError, DeviceError: no such device.
    """

    def __init__(self, network: CoTracker3, options: CoTrackerOptions, device: str | torch.device = "cpu") -> None:
        self.name = "cotracker3-online" if options.online else "cotracker3"
        self.device = resolve_device(device)
        self.network = network.to(self.device)
        self.online, self.query_chunk, self.support_grid = options.online, options.query_chunk, options.support_grid
        self.input_size: tuple[int, int] = (options.input_size[0], options.input_size[1])
        self.window = self.max_frames = options.window
        self.both_ways = not options.online
        self.overlap, self.iterations = options.overlap, options.iterations

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Features:
        """Four scales of features of each frame (8.4 MB a frame at 384 x 512)."""
        check_frames(frames)
        parts = [self._encode(part) for part in frames.flatten(0, 1).split(_ENCODED)]
        scales = [torch.cat([part[i] for part in parts]).unflatten(0, frames.shape[:2]) for i in range(LEVELS)]
        return Features({f"level{i}": scale for i, scale in enumerate(scales)}, (frames.shape[-2], frames.shape[-1]))

    def _encode(self, frames: Tensor) -> list[Tensor]:
        frames = frames.to(self.device, torch.float32)
        # Corners on corners and no antialiasing: how the published predictors resize.
        return self.network.encode(F.interpolate(frames, self.input_size, mode="bilinear", align_corners=True))

    @torch.no_grad()
    def open(self, queries: Tensor, size: tuple[int, int]) -> CoTrackerState:
        """See `PointTracker.open`."""
        check_queries(queries)
        queries = queries.to(self.device, torch.float32)
        xy, t = self._resized(queries[..., :2], size), query_frames(queries)
        grid = self._grid().expand(len(queries), -1, -1)
        groups = [
            JointGroup(torch.cat([xy[:, part], grid], 1), F.pad(t[:, part], (0, grid.shape[1])))
            for part in blocks(queries.shape[1], self.query_chunk)
        ]
        return CoTrackerState(0, queries, size, groups)

    def follow_windows(
        self, state: CoTrackerState, features: Features, first: int, both: bool = False
    ) -> tuple[Tensor, Tensor, CoTrackerState]:
        """See `WindowedTracker.follow_windows`; frames before a point's own are always estimated."""
        length, count = features.frames, state.queries.shape[1]
        xy = state.queries.new_zeros(features.batch, count, length, 2)
        visibility = xy[..., 0].clone()
        for t0, t1, new in self.spans(state.t, first, length):
            levels = [as_level(scale) for scale in features.window(t0, t1).data.values()]
            groups = []
            for group, rows in zip(state.groups, blocks(count, self.query_chunk), strict=True):
                estimate, followed = self._follow_window(group, levels, first + t0, first + new)
                mine = rows.stop - rows.start  # the support grid behind them is nobody's query
                xy[:, rows, t0:t1] = self._restored(estimate.xy[:, :mine], state.size)
                visibility[:, rows, t0:t1] = self._visibility(estimate)[:, :mine]
                groups.append(followed)
            state = replace(state, t=first + t1, groups=groups)
        return xy, visibility, state

    def _follow_window(
        self, group: JointGroup, levels: list[FeatureLevel], start: int, new: int
    ) -> tuple[CoTrackerEstimate, JointGroup]:
        """The estimate of a group in a window that begins at frame `start`, whose frames from `new` on are new."""
        shown = levels[0].shape[1]
        # The online network only ever saw whole windows: the last frame is repeated.
        length = self.window if self.online else shown
        fresh = (group.t >= new) & (group.t < start + shown)  # [B, n]
        support = self.network.support(levels, group.xy, (group.t - start).clamp(0, shown - 1))
        known = group.support or [torch.zeros_like(scale) for scale in support]
        support = [torch.where(fresh[..., None, None], a, b) for a, b in zip(support, known, strict=True)]
        estimate = _start(group, length, new)
        t = torch.arange(length, device=self.device).clamp(max=shown - 1)
        time = self.network.time_embedding(length)
        for _ in range(self.iterations):
            estimate = self.network.refine(levels, support, estimate, t, time)
        estimate = estimate.cut(0, shown)
        return estimate, replace(group, support=support, tail=estimate.cut(max(0, shown - self.overlap), shown))

    def _visibility(self, estimate: CoTrackerEstimate) -> Tensor:
        """Probabilities [B, N, T], above 0.5 where the published predictor calls a point visible."""
        if not self.online:
            return torch.sigmoid(estimate.visibility - _logit(_OFFLINE_VISIBLE))
        both = torch.sigmoid(estimate.visibility) * torch.sigmoid(estimate.confidence)
        return torch.sigmoid(torch.logit(both, eps=1e-6) - _logit(_ONLINE_VISIBLE))

    def _grid(self) -> Tensor:
        """[support_grid ** 2, 2] points spread over the resized frame, a 64th of its width off the border."""
        h, w = self.input_size
        margin, side = w / 64, self.support_grid
        x, y = (torch.linspace(margin, extent - margin, side, device=self.device) for extent in (w, h))
        return torch.cartesian_prod(y, x).flip(-1)

    def _resized(self, xy: Tensor, size: tuple[int, int]) -> Tensor:
        """Points [..., 2] of frames of `size` in the resized ones: corner pixels' centres fall on each other."""
        steps = [(to - 1) / (of - 1) if of > 1 else 0.0 for to, of in zip(self.input_size, size, strict=True)]
        return (xy - 0.5) * xy.new_tensor(steps[::-1])

    def _restored(self, xy: Tensor, size: tuple[int, int]) -> Tensor:
        """The way back of `_resized`."""
        steps = [(to - 1) / (of - 1) for to, of in zip(size, self.input_size, strict=True)]
        return xy * xy.new_tensor(steps[::-1]) + 0.5


def _start(group: JointGroup, length: int, new: int) -> CoTrackerEstimate:
    """What refinement starts from: the query everywhere; what is known of the overlap, and its last frame held."""
    blank = group.xy.new_zeros(*group.t.shape, length)
    fresh = CoTrackerEstimate(group.xy[:, :, None].expand(-1, -1, length, -1), blank, blank)
    if group.tail is None:
        return fresh
    held = torch.arange(length, device=group.xy.device).clamp(max=group.tail.visibility.shape[2] - 1)
    known = (group.t < new)[..., None]  # [B, n, 1]
    return CoTrackerEstimate(
        torch.where(known[..., None], group.tail.xy[:, :, held], fresh.xy),
        torch.where(known, group.tail.visibility[:, :, held], blank),
        torch.where(known, group.tail.confidence[:, :, held], blank),
    )


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _make(options: CoTrackerOptions, path: Checkpoint, device: torch.device) -> CoTracker:
    name = "cotracker3-online" if options.online else "cotracker3"
    network = CoTracker3(16 if options.online else 60)
    fill(network, read_weights(locate(name, path)), name)
    return CoTracker(network, options, device)


cotracker3 = factory(CoTrackerOptions, _make, online=False)
"""CoTracker3 offline, which looks at up to 60 frames at once."""
cotracker3_online = factory(CoTrackerOptions, _make, online=True, window=16, overlap=8)
"""CoTracker3 online: windows of 16 frames, 8 of them new."""
