"""The network of `trackime-s`: search every frame whole, then refine the trajectory from local correlations.

An encoder makes unit descriptors at strides 4, 8 and 16. A point's own descriptors, taken in its query frame, are
compared with the whole of every frame: one matrix product a level. The cost map tells where the point may be, frame
by frame (InstaTAP, section 3.2). Then, several times over, as PIPs do (Harley, Fang, Fragkiadaki, ECCV 2022): 7 x 7
correlations around the present positions, what is known of the trajectory, and convolutions over time give new
positions, visibilities and expected errors. A second descriptor, the mean of what is seen along the trajectory so far,
follows a change of appearance.

Everything is the same whichever way time runs (see `timeblock`). Positions are (x, y) in pixels of the frames encoded,
the centre of the top-left pixel at (0.5, 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trackime.errors import InputError
from trackime.trackers.networks._lookup import SIDE, around, bilinear, blend
from trackime.trackers.networks._timeblock import DILATIONS, TimeBlock
from trackime.trackers.networks.costinit import CostInit, SearchStart
from trackime.trackers.networks.fpn import STRIDES, Encoder, unit

_TEMPLATES = 2
"""Descriptors a point is compared by: the query's, and the mean along its trajectory."""
_WAVES = (128.0, 32.0, 8.0)
"""Wavelengths in pixels of the encoding of positions."""
_SURE = 6.0
"""Logit of what is given: a point is visible, and right, at its query."""
_PEAK = 30.0
"""Factor of correlations, as logits, where the search is made sharper."""
_PRIOR, _PRIOR_PX = 1.0, 16.0
"""Weight of the search's prior, and pixels a frame."""
_UNIT = 16.0
"""Pixels that distances are divided by."""
_PEAKS = 3 * len(STRIDES) * _TEMPLATES
"""Channels of `_peaks` of all levels."""
_KNOWN = 4 + 4 * len(_WAVES) + 2 + 2 + 2 + 2 + 1 + 3
"""Channels of `TrackimeS._known`."""


@dataclass(frozen=True)
class NetworkSize:
    """How large the network is; goes into the weights' metadata.

    Attributes:
        channels: of the encoder at strides 2, 4, 8 and 16.
        blocks: residual blocks at strides 4, 8 and 16.
        dim: channels of descriptors.
        width: of the mixer.
        layers: blocks of the mixer.
        iterations: refinements.
        attention: contextual attention in the encoder.
        window: frames processed together.
        overlap: frames that successive windows share.
    """

    channels: tuple[int, ...] = (24, 48, 96, 128)
    blocks: tuple[int, ...] = (2, 2, 1)
    dim: int = 96
    width: int = 192
    layers: int = 4
    iterations: int = 4
    attention: bool = False
    window: int = 12
    overlap: int = 8

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))  # lists, as they come from JSON
        object.__setattr__(self, "blocks", tuple(self.blocks))
        whole = (*self.channels, *self.blocks, self.dim, self.width, self.layers, self.iterations)
        if len(self.channels) != 4 or len(self.blocks) != 3 or not all(isinstance(v, int) and v > 0 for v in whole):
            raise InputError(f"size: expected 4 channels, 3 blocks and whole numbers above 0, got {self}")
        if self.dim % 8 or not 0 < self.overlap < self.window:
            raise InputError(f"size: expected dim a multiple of 8 and overlap within the window, got {self}")


SMALL = NetworkSize()
"""Learns fast on a CPU."""
LARGE = NetworkSize(channels=(32, 64, 128, 160), blocks=(2, 3, 1), dim=128, width=256, layers=6)
"""For a GPU."""


class TrackimeSEstimate(NamedTuple):
    """What is thought of B x N points in T frames."""

    xy: Tensor  # [B, N, T, 2] pixels
    visibility: Tensor  # [B, N, T] logits
    error: Tensor  # [B, N, T] logits: that the position is wrong by more than a few pixels


class QueriedPoints(NamedTuple):
    """N points of each of B clips.

    Attributes:
        xy: [B, N, 2] queries, pixels.
        t: int64 [B, N] their frames, counted from the window's first; may lie outside of the window.
        descriptors: a level: [B, N, C] unit descriptors at the queries.
    """

    xy: Tensor
    t: Tensor
    descriptors: list[Tensor]


class LastSeen(NamedTuple):
    """Where B x N points were surely, and when."""

    xy: Tensor  # [B, N, 2] pixels
    t: Tensor  # int64 [B, N] frames, counted from the window's first; may lie outside of the window


class WindowResult(NamedTuple):
    """A window's estimates, after each iteration, and the search they began with."""

    estimates: list[TrackimeSEstimate]
    start: SearchStart
    volumes: list[Tensor]  # a level: [B, N, T, h, w] correlations with the query's descriptor


class TrackimeS(nn.Module):
    """See the module's docstring.

    Args:
        size: how large.

    Attributes:
        threshold: a point is called visible where P(visible) x P(right) is above this; set on validation worlds.
        forget: share of points whose place, relative to the query and the border, the mixer is not told in training.
    """

    def __init__(self, size: NetworkSize = SMALL) -> None:
        super().__init__()
        self.size = size
        self.threshold = 0.5
        self.forget = 0.0
        self.encoder = Encoder(size.channels, size.blocks, size.dim, size.attention)
        self.init = CostInit()
        self.embed = nn.Linear(len(STRIDES) * _TEMPLATES * SIDE**2 + _KNOWN + _PEAKS, size.width)
        self.again = nn.Linear(size.width, size.width)
        self.mixer = nn.ModuleList(TimeBlock(size.width, DILATIONS[i % len(DILATIONS)]) for i in range(size.layers))
        self.norm = nn.LayerNorm(size.width)
        self.head = nn.Linear(size.width, 4)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        nn.init.zeros_(self.again.weight)

    def encode(self, frames: Tensor) -> list[Tensor]:
        """Maps [M, h / s, w / s, dim] for s = 4, 8, 16 of frames [M, 3, h, w], h and w multiples of 16."""
        maps: list[Tensor] = self.encoder(frames)
        return maps

    def describe(self, maps: list[Tensor], frames: Tensor, xy: Tensor) -> list[Tensor]:
        """Unit descriptors at points, a level [..., dim].

        Args:
            maps: a level [M, h, w, dim].
            frames: int64 [...], which of the M frames.
            xy: [..., 2] pixels.
        """
        return [unit(bilinear(level, frames, xy / stride - 0.5)) for level, stride in zip(maps, STRIDES, strict=True)]

    def forward(
        self,
        maps: list[Tensor],
        points: QueriedPoints,
        before: TrackimeSEstimate | None = None,
        iterations: int | None = None,
        last: LastSeen | None = None,
    ) -> WindowResult:
        """Follow points through a window.

        Args:
            maps: a level [B, T, h, w, dim].
            points: the points.
            before: what is known of the first frames already, [B, N, O, ...]; NaN positions: nothing.
            iterations: refinements; None: as many as the network was made for.
            last: where points were last seen, which the search prefers to be near of; None: their queries.
        """
        b, n = points.t.shape
        length = maps[0].shape[1]
        with torch.autocast(points.xy.device.type, enabled=False):
            volumes = [_correlate(level, d) for level, d in zip(maps, points.descriptors, strict=True)]
        prior = None if self.training else _prior(last or LastSeen(points.xy, points.t), volumes[1].shape)
        start = self.init([volume.flatten(0, 2) for volume in volumes], prior)
        start = start._replace(xy=_sharpen(volumes[0], start.xy.view(b, n, length, 2)))
        estimate = self._begin(start, (b, n, length), before)
        estimate = _pin(estimate, points)
        hidden: Tensor | None = None
        seconds = volumes
        estimates = []
        for iteration in range(iterations or self.size.iterations):
            if iteration == 1:
                with torch.autocast(points.xy.device.type, enabled=False):
                    seen = self._mean_descriptors(maps, points, estimate)
                    seconds = [_correlate(level, d) for level, d in zip(maps, seen, strict=True)]
            with torch.autocast(points.xy.device.type, enabled=False):
                looks = [
                    _look(first, second, estimate.xy / stride)
                    for first, second, stride in zip(volumes, seconds, STRIDES, strict=True)
                ]
                known = self._known(estimate, points, start, maps[0].shape[2:4])
                peaks = [_peaks(look) for look in looks]
            token = self.embed(torch.cat([*looks, known, *peaks], -1))
            if hidden is not None:
                token = token + self.again(hidden)
            for block in self.mixer:
                token = block(token)
            hidden = self.norm(token)
            out = self.head(hidden).float()
            step = out[..., :2] * STRIDES[0]
            estimate = _pin(TrackimeSEstimate(estimate.xy.detach() + step, out[..., 2], out[..., 3]), points)
            estimates.append(estimate)
        return WindowResult(estimates, start, volumes)

    def _begin(
        self, start: SearchStart, shape: tuple[int, int, int], before: TrackimeSEstimate | None
    ) -> TrackimeSEstimate:
        """What refinement starts from: the search, or what is known."""
        # The search is sure where its peak holds most of the probability.
        sure = 2 * start.peak[:, 1].detach().view(shape) + 3
        estimate = TrackimeSEstimate(start.xy.view(*shape, 2), sure, -sure)
        if before is None:
            return estimate
        shared = before.xy.shape[2]
        known = before.xy.isfinite().all(-1)  # [B, N, O]

        def join(old: Tensor, new: Tensor) -> Tensor:
            mask = known[..., None] if old.ndim == 4 else known
            return torch.cat([torch.where(mask, old, new[:, :, :shared]), new[:, :, shared:]], 2)

        return TrackimeSEstimate(*(join(old.detach(), new) for old, new in zip(before, estimate, strict=True)))

    def _mean_descriptors(self, maps: list[Tensor], points: QueriedPoints, estimate: TrackimeSEstimate) -> list[Tensor]:
        """Descriptors [B, N, dim] a level: of the query, and as much again of what is seen along the trajectory.

        No gradient: what it would say to the maps, the comparison with them says already.
        """
        b, _, length = estimate.visibility.shape
        flat = [level.detach().flatten(0, 1) for level in maps]
        frames = torch.arange(b * length, device=estimate.xy.device).view(b, 1, length)
        weight = (torch.sigmoid(estimate.visibility) * torch.sigmoid(-estimate.error)).detach()
        weight = weight / weight.sum(-1, keepdim=True).clamp(min=1.0)
        means = []
        for level, own in zip(
            self.describe(flat, frames, estimate.xy.detach().nan_to_num()), points.descriptors, strict=True
        ):
            # Summed frame by frame, pairs from both ends: the same to the last bit when time runs backward.
            weighted = level * weight[..., None]
            means.append(unit(own.detach() + _mirror_sum(weighted)))
        return means

    def _known(
        self, estimate: TrackimeSEstimate, points: QueriedPoints, start: SearchStart, cells: torch.Size
    ) -> Tensor:
        """What the mixer gets beside correlations: [B, N, T, KNOWN]."""
        xy = estimate.xy.detach()
        b, n, length = estimate.visibility.shape
        h, w = (side * STRIDES[0] for side in cells)
        away = xy - points.xy[:, :, None]
        phase = torch.stack([away * (2 * torch.pi / wave) for wave in _WAVES], -1).flatten(-2)
        border = torch.cat([xy, xy.new_tensor([w, h]) - xy], -1) / _UNIT
        padded = torch.cat([xy[:, :, :1], xy, xy[:, :, -1:]], 2)
        backward, forward = padded[:, :, :-2] - xy, padded[:, :, 2:] - xy
        speed = backward.norm(dim=-1) + forward.norm(dim=-1)
        found = start.xy.view(b, n, length, 2) - xy
        told: Tensor | float = 1.0
        if self.training and self.forget:
            told = (torch.rand(b, n, 1, 1) >= self.forget).to(xy)
        steps = (torch.arange(length, device=xy.device) - points.t[..., None]).abs()
        parts = [
            border.clamp(-2, 2) * told,
            phase.sin() * told,
            phase.cos() * told,
            _squash(away) * told,
            _squash(backward + forward),
            _squash(found),
            start.peak.detach().view(b, n, length, 2) / 4,
            _squash(speed)[..., None],
            torch.sigmoid(estimate.visibility.detach())[..., None],
            torch.sigmoid(estimate.error.detach())[..., None],
            (torch.log1p(steps.to(xy.dtype)) / 2)[..., None],
        ]
        return torch.cat(parts, -1)


def _squash(pixels: Tensor) -> Tensor:
    """Distances, large ones compressed."""
    scaled = pixels / _UNIT
    return scaled.sign() * torch.log1p(scaled.abs())


def _mirror_sum(x: Tensor) -> Tensor:
    """Sum over axis -2 of [..., T, C], in an order that is the same from both ends."""
    return ((x + x.flip(-2)) * 0.5).movedim(-2, 0).contiguous().sum(0) if x.shape[-2] > 1 else x[..., 0, :]


def _correlate(maps: Tensor, descriptors: Tensor) -> Tensor:
    """[B, T, h, w, C] and [B, N, C] to [B, N, T, h, w]: one matrix product."""
    b, t, h, w, c = maps.shape
    return torch.bmm(descriptors, maps.view(b, t * h * w, c).transpose(1, 2)).view(b, -1, t, h, w)


def _look(first: Tensor, second: Tensor, place: Tensor) -> Tensor:
    """Samples of correlations around positions: zero outside of the frame.

    Args:
        first: [B, N, T, h, w].
        second: the same of the other descriptor.
        place: [B, N, T, 2] cells, the centre of the top-left one at (0.5, 0.5).

    Returns:
        [B, N, T, TEMPLATES * 49].
    """
    shape = place.shape[:3]
    cells = torch.arange(shape.numel(), device=place.device).view(shape)
    # A network whose weights are not finite must say so, not look beyond the ends of memory.
    near = around(place.detach().nan_to_num() - 0.5, cells, (first.shape[-2], first.shape[-1]))
    index = near.rows.flatten()
    values = torch.stack(
        [
            (v.reshape(-1).index_select(0, index).view(near.rows.shape) * near.inside)
            for v in ((first,) if second is first else (first, second))
        ],
        -1,
    )
    samples = blend(values, near.fraction)
    if second is first:
        samples = samples.expand(*samples.shape[:-1], _TEMPLATES)
    return samples.flatten(3)


def _prior(last: LastSeen, shape: torch.Size) -> Tensor:
    """How much less likely it is that a point went far: logits [B * N * T, h, w] of stride 8.

    As far as PRIOR_PX times the root of the frames since it was last seen is nothing unusual.

    Args:
        shape: [B, N, T, h, w].
    """
    length, h, w = shape[2:]
    known, at = last
    frames = torch.arange(length, device=at.device)
    reach = _PRIOR_PX**2 * (frames - at[..., None]).abs().clamp(min=1)  # [B, N, T]
    x, y = ((torch.arange(side, device=at.device) + 0.5) * STRIDES[1] for side in (w, h))
    squared = (x - known[..., :1]).square()[:, :, None] + (y - known[..., 1:]).square()[..., None]  # [B, N, h, w]
    return -_PRIOR * torch.log1p(squared[:, :, None] / reach[..., None, None]).flatten(0, 2)


@torch.no_grad()
def _sharpen(volume: Tensor, xy: Tensor) -> Tensor:
    """Positions moved to the peak of the finest correlation around them.

    Args:
        volume: [B, N, T, h, w] of stride 4.
        xy: [B, N, T, 2] pixels.
    """
    return xy + _peaks(_look(volume, volume, xy / STRIDES[0]))[..., :2] * (SIDE // 2 * STRIDES[0])


@torch.no_grad()
def _peaks(look: Tensor) -> Tensor:
    """Where correlations around a position stand out, so that it need not be read off 49 numbers.

    Args:
        look: [B, N, T, 49 * TEMPLATES] of one level.

    Returns:
        [B, N, T, 3 * TEMPLATES]: the soft-argmax (x, y) in [-1, 1] across the samples, for each template, then each
        one's largest correlation.
    """
    samples = look.unflatten(-1, (SIDE, SIDE, _TEMPLATES))
    weights = (samples * _PEAK).flatten(-3, -2).softmax(-2).view_as(samples)
    steps = torch.linspace(-1, 1, SIDE, device=look.device)[:, None]
    places = torch.stack([(weights.sum(-3) * steps).sum(-2), (weights.sum(-2) * steps).sum(-2)], -1)
    return torch.cat([places.flatten(-2), samples.amax((-3, -2))], -1)


def _pin(estimate: TrackimeSEstimate, points: QueriedPoints) -> TrackimeSEstimate:
    """The estimate with each query in its own frame."""
    frames = torch.arange(estimate.visibility.shape[2], device=points.t.device)
    here = frames == points.t[..., None]
    return TrackimeSEstimate(
        torch.where(here[..., None], points.xy[:, :, None], estimate.xy),
        torch.where(here, _SURE, estimate.visibility),
        torch.where(here, -_SURE, estimate.error),
    )
