"""LocoTrack: local all-pair correspondence for point tracking (Cho et al., ECCV 2024, arXiv 2407.15420).

Each frame is searched for the point by its features (the initialisation of TAPIR), then positions, occlusion and
uncertainty are refined by a transformer along time from local 4D correlations around the current estimate at three
strides. Points are independent of each other.

Points are (x, y) in pixels of the frame resized to FIRST_SIZE, the centre of the first at (0.5, 0.5). Feature maps
are [B, T, h, w, C] with features of length 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trackime.trackers.networks._alibi import TimeTransformer
from trackime.trackers.networks._correlation4d import CorrelationEncoder, local_correlation, surroundings
from trackime.trackers.networks._lookup import RADIUS, SIDE
from trackime.trackers.networks._motion import MOTION, encode_motion
from trackime.trackers.networks._resnet import ResNet, unit
from trackime.trackers.networks._softargmax import soft_argmax

FIRST_SIZE = (256, 256)
"""(h, w) that frames have for the initialisation, in whose pixels points are given."""
_ITERATIONS = 4
_TEMPERATURE = 20.0
"""Factor on the cost volume before the softmax."""
_CHANNELS = {"hires": 128, "lowres": 256, "highest": 64}
"""Strides of the feature maps, in the order in which their correlations are concatenated."""
_BLOCK = 1024
"""Points times frames correlated at once; bounds memory and changes nothing else."""


class LocoTrackSize(NamedTuple):
    """The differences between the published sizes: the transformer and the correlation encoders."""

    dim: int
    heads: int
    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[int, ...]


_SIZES = {
    "small": LocoTrackSize(256, 4, (64, 128), (5, 2), (4, 2)),
    "base": LocoTrackSize(384, 6, (64, 128, 128), (3, 3, 2), (2, 2, 2)),
}
_LAYERS = 3


class LocoTrackMaps(NamedTuple):
    """Features of clips, at strides 4, 8 and 2 of the frames encoded."""

    hires: Tensor  # [B, T, h / 4, w / 4, 128]
    lowres: Tensor  # [B, T, h / 8, w / 8, 256]
    highest: Tensor  # [B, T, h / 2, w / 2, 64]


class QueryFeatures(NamedTuple):
    """Features of N points in their query frames: all that the network needs of these frames."""

    hires: Tensor  # [B, N, SIDE, SIDE, 128] surroundings, for the refinement
    lowres: Tensor  # [B, N, SIDE, SIDE, 256]
    highest: Tensor  # [B, N, SIDE, SIDE, 64]
    first_hires: Tensor  # [B, N, 128] the point itself, for the initialisation
    first_lowres: Tensor  # [B, N, 256]


class LocoTrackEstimate(NamedTuple):
    """The estimate of points in T frames."""

    xy: Tensor  # [B, N, T, 2] pixels of FIRST_SIZE
    occlusion: Tensor  # [B, N, T] logit of being hidden
    expected_dist: Tensor  # [B, N, T] logit of being far from `xy`


def size_of(state: Mapping[str, Tensor], default: str = "base") -> str:
    """The entry of `_SIZES` that fits a checkpoint's shapes; `default` where none does."""
    weight = state.get("torch_pips_mixer.input_proj.weight")
    dim = len(weight) if weight is not None and weight.ndim else 0
    return next((name for name, size in _SIZES.items() if size.dim == dim), default)


def blank(b: int, n: int, device: torch.device) -> QueryFeatures:
    """Zeros for [B, N] points that have not been met."""
    near = [torch.zeros(b, n, SIDE, SIDE, c, device=device) for c in _CHANNELS.values()]
    return QueryFeatures(*near, *(torch.zeros(b, n, _CHANNELS[key], device=device) for key in ("hires", "lowres")))


class LocoTrack(nn.Module):
    """The network.

    Args:
        size: one of `_SIZES`.
    """

    def __init__(self, size: str = "base") -> None:
        super().__init__()
        dim, heads, *encoder = _SIZES[size]
        self.resnet_torch = ResNet()
        encoded = 2 * encoder[0][-1] * len(_CHANNELS)
        before = 2 + encoded + MOTION
        # All but the first 4 outputs update unused features; checkpoints have them.
        after = 4 + _CHANNELS["hires"] + _CHANNELS["lowres"]
        self.torch_pips_mixer = TimeTransformer(before, after, dim, heads, _LAYERS)
        self.cmdtop = nn.ModuleList(CorrelationEncoder(*encoder) for _ in _CHANNELS)
        self.cost_conv = nn.Conv2d(2, 1, 3, padding=1)
        self.occ_linear = nn.Linear(6, 2)

    def encode(self, frames: Tensor) -> LocoTrackMaps:
        """Features of frames [T, 3, h, w] in [-1, 1], h and w multiples of 8; without the axis B."""
        _, highest, hires, _, lowres = self.resnet_torch(frames)
        return LocoTrackMaps(unit(hires), unit(lowres), unit(highest))

    def query(
        self,
        maps: LocoTrackMaps,
        first: LocoTrackMaps,  # those of the frames at FIRST_SIZE; may be `maps`
        frame: Tensor,  # [B, N] integers
        xy: Tensor,  # [B, N, 2]
    ) -> QueryFeatures:
        """Features of points in their query frames."""
        supports = [surroundings(grid, frame, _on(grid, xy)) for grid in maps]
        if first is maps:
            points = [s[:, :, RADIUS, RADIUS] for s in supports[:2]]
        else:
            points = [surroundings(g, frame, _on(g, xy))[:, :, RADIUS, RADIUS] for g in (first.hires, first.lowres)]
        return QueryFeatures(*supports, *points)

    def initialise(self, first: LocoTrackMaps, query: QueryFeatures) -> LocoTrackEstimate:
        """Search every frame for the points: cost volumes at two strides (TAPIR, Doersch et al. 2023)."""
        parts = []
        for t0, t1 in _blocks(first.hires.shape[1], query.first_hires[..., 0].numel()):
            fine, coarse = first.hires[:, t0:t1], first.lowres[:, t0:t1]
            parts.append(self._search(fine, coarse, query))
        return LocoTrackEstimate(*(torch.cat(part, 2) for part in zip(*parts, strict=True)))

    def refine(
        self,
        maps: LocoTrackMaps,
        query: QueryFeatures,
        estimate: LocoTrackEstimate,
        size: tuple[int, int],  # (h, w) of the frames that `maps` were made of
    ) -> LocoTrackEstimate:
        """One step of refinement from local correlations and motion."""
        xy = estimate.xy
        b, n, t = xy.shape[:3]
        parts = []
        for t0, t1 in _blocks(t, b * n):
            vectors = []
            for grid, support, encoder in zip(maps, query[: len(maps)], self.cmdtop, strict=True):
                correlation = local_correlation(grid, _on(grid, xy[:, :, t0:t1]), support, t0)
                vectors.append(encoder(correlation.flatten(0, 2)).view(b, n, t1 - t0, -1))
            parts.append(torch.cat(vectors, -1))
        ratio = xy.new_tensor([size[1] / FIRST_SIZE[1], size[0] / FIRST_SIZE[0]])
        motion = encode_motion(xy, xy.new_tensor(FIRST_SIZE[::-1]) / ratio)
        logits = torch.stack([estimate.occlusion, estimate.expected_dist], -1)
        update = self.torch_pips_mixer(torch.cat([logits, torch.cat(parts, 2), motion], -1).flatten(0, 1))
        update = update.unflatten(0, (b, n))
        return LocoTrackEstimate(
            xy + update[..., :2] / ratio,
            estimate.occlusion + update[..., 2],
            estimate.expected_dist + update[..., 3],
        )

    def estimates(
        self,
        maps: LocoTrackMaps,
        first: LocoTrackMaps,  # as for `query`
        query: QueryFeatures,
        frame: Tensor,  # [B, N] query frames; outside the clip where another window has them
        xy: Tensor,  # [B, N, 2] queries
        size: tuple[int, int],  # (h, w) of the frames that `maps` were made of
        known: Tensor | None = None,  # [B, N, t, 2] places in the first t frames, NaN where unknown
    ) -> Iterator[LocoTrackEstimate]:
        """The initialisation, then each refinement; the last one is the result.

        A point starts at the query in its query frame, and at a position known from before where there is one.
        """
        start = self.initialise(first, query)
        place = start.xy
        if known is not None:
            t = known.shape[2]
            place = torch.cat([torch.where(known.isnan(), place[:, :, :t], known), place[:, :, t:]], 2)
        at = torch.arange(place.shape[2], device=place.device) == frame[..., None]
        estimate = start._replace(xy=torch.where(at[..., None], xy[:, :, None], place))
        yield estimate
        for _ in range(_ITERATIONS):
            estimate = self.refine(maps, query, estimate, size)
            yield estimate

    def _search(
        self,
        fine: Tensor,  # [B, t, h, w, 128]
        coarse: Tensor,  # [B, t, h / 2, w / 2, 256]
        query: QueryFeatures,
    ) -> LocoTrackEstimate:
        shape = fine.shape[2:4]
        costs = [_products(query.first_lowres, coarse), _products(query.first_hires, fine)]
        costs[0] = F.interpolate(costs[0].flatten(0, 1), shape, mode="bilinear").view_as(costs[1])
        both = torch.stack([c.flatten(0, 2) for c in costs], 1)  # [B * N * t, 2, h, w]
        statistics = [both.mean((2, 3)), both.amax((2, 3)), both.amin((2, 3))]
        logits = self.occ_linear(torch.cat(statistics, -1)).view(*costs[1].shape[:3], 2)
        xy = soft_argmax(self.cost_conv(both)[:, 0] * _TEMPERATURE).view(*costs[1].shape[:3], 2)
        xy = xy * xy.new_tensor([FIRST_SIZE[1] / shape[1], FIRST_SIZE[0] / shape[0]])
        return LocoTrackEstimate(xy, logits[..., 0], logits[..., 1])


def _products(
    points: Tensor,  # [B, N, C]
    grid: Tensor,  # [B, t, h, w, C]
) -> Tensor:
    """[B, N, t, h, w]."""
    return torch.matmul(points, grid.flatten(1, 3).transpose(1, 2)).unflatten(2, grid.shape[1:4])


def _on(grid: Tensor, xy: Tensor) -> Tensor:
    """Points [..., 2] of FIRST_SIZE in pixels of a feature map [B, T, h, w, C]."""
    return xy * xy.new_tensor([grid.shape[3] / FIRST_SIZE[1], grid.shape[2] / FIRST_SIZE[0]])


def _blocks(frames: int, points: int) -> Iterator[tuple[int, int]]:
    """Spans of frames [t0, t1) with at most `_BLOCK` times as many points."""
    size = max(1, _BLOCK // max(1, points))
    for t0 in range(0, frames, size):
        yield t0, min(frames, t0 + size)
