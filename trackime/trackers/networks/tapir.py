"""TAPIR: an initial guess in each frame independently from a cost volume, refined along time (Doersch et al. 2023).

BootsTAPIR (Doersch et al. 2024) is the same with further convolutions on the coarse maps and one more level of
correlation; its causal form looks back only. Parameter names are those of the published checkpoints.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trackime.geometry import scale_points
from trackime.trackers.networks._heads import CostVolumeHeads
from trackime.trackers.networks._local import local_correlation
from trackime.trackers.networks._lookup import bilinear
from trackime.trackers.networks._resnet import ResNet, unit
from trackime.trackers.networks.mixer import Context, Mixer

SIZE = (256, 256)
"""(h, w) of frames in training: where the cost volume is made, and in whose pixels positions are."""
_ITERATIONS = 4
"""Refinements on each level."""
_FINE, _COARSE = 128, 256
"""Channels of the maps at a stride of 4 and of 8."""
_PATCH = 49
"""Samples of each map around a position."""


class Grids(NamedTuple):
    """Feature maps of clips at one resolution, of unit length in each pixel."""

    coarse: Tensor  # [B, T, h / 8, w / 8, 256]
    fine: Tensor  # [B, T, h / 4, w / 4, 128]

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the frames."""
        return self.fine.shape[2] * 4, self.fine.shape[3] * 4


class Descriptors(NamedTuple):
    """Features of points in their query frames; all that the network needs of these frames."""

    coarse: Tensor  # [B, N, 256]
    fine: Tensor  # [B, N, 128]


class TapirEstimate(NamedTuple):
    """Tracks after one iteration."""

    xy: Tensor  # [B, N, T, 2] pixels of frames of `SIZE`
    occlusion: Tensor  # [B, N, T] logits
    distance: Tensor  # [B, N, T] logits of being far off


@dataclass(frozen=True)
class TapirVariant:
    """A published network by its differences from TAPIR.

    Attributes:
        pyramid: levels of correlation beyond the two maps: 0 TAPIR, 1 BootsTAPIR.
        extra: further convolutions on the coarse maps: BootsTAPIR.
        causal: the mixer looks back only.
    """

    pyramid: int = 0
    extra: bool = False
    causal: bool = False

    @classmethod
    def of(cls, state: Mapping[str, Tensor], causal: bool = False) -> TapirVariant:
        """The variant of a checkpoint by its names and shapes, which do not show whether it is causal."""
        weight = state.get("torch_pips_mixer.linear.weight")
        inputs = weight.shape[1] if weight is not None and weight.ndim == 2 else 0
        pyramid = max(0, (inputs - 4 - _FINE - _COARSE) // _PATCH - 2)
        return cls(pyramid, any(key.startswith("extra_convs.") for key in state), causal)


class ExtraBlock(nn.Module):
    """Normalises the channels, and adds two convolutions of the result to the result."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(channels)
        self.conv = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        self.conv_1 = nn.Conv2d(4 * channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[M, C, h, w] to the same."""
        x = self.layer_norm(x.movedim(1, -1)).movedim(-1, 1)
        out: Tensor = x + self.conv_1(F.gelu(self.conv(x), approximate="tanh"))
        return out


class Tapir(nn.Module):
    """The network, in steps: `grids` of frames, `describe` points, then `guess` and `refine`, or `estimate` for both.

    Args:
        variant: which network.
        temperature: of the softmax of the cost volume; 20 in the authors' torch code, 10 in some of their JAX
            configurations.
    """

    def __init__(self, variant: TapirVariant, temperature: float = 20.0) -> None:
        super().__init__()
        self.variant, self.temperature = variant, temperature
        outputs = 4 + _FINE + _COARSE
        self.resnet_torch = ResNet()
        self.torch_cost_volume_track_mods = CostVolumeHeads()
        self.torch_pips_mixer = Mixer(outputs + (2 + variant.pyramid) * _PATCH, outputs)
        extra = {"blocks": nn.Sequential(*(ExtraBlock(_COARSE) for _ in range(5)))}
        self.extra_convs = nn.Sequential(OrderedDict(extra)) if variant.extra else None

    def grids(self, frames: Tensor) -> Grids:
        """Feature maps.

        Args:
            frames: [B, T, 3, h, w] in [-1, 1]; h and w multiples of 8.
        """
        b, t = frames.shape[:2]
        _, _, fine, _, coarse = self.resnet_torch(frames.flatten(0, 1))
        if self.extra_convs is not None:
            coarse = self.extra_convs(coarse)
        return Grids(unit(coarse).unflatten(0, (b, t)), unit(fine).unflatten(0, (b, t)))

    def describe(
        self,
        grids: Grids,
        xy: Tensor,  # [B, N, 2] in `size`; beyond the frame: its border
        t: Tensor,  # int64 [B, N] frames of `grids`
        size: tuple[int, int],  # (h, w) in whose pixels xy is
    ) -> Descriptors:
        """Features of points, bilinear in the frames they were queried in."""
        frames = torch.arange(len(t), device=t.device)[:, None] * grids.fine.shape[1] + t
        return Descriptors(
            *(
                bilinear(maps.flatten(0, 1), frames, scale_points(xy, size, (maps.shape[2], maps.shape[3])) - 0.5)
                for maps in grids
            )
        )

    def guess(
        self,
        grids: Grids,  # of frames of `SIZE`
        points: Descriptors,
        xy: Tensor | None = None,  # [B, N, 2] pixels of `SIZE`: where the points were queried
        t: Tensor | None = None,  # int64 [B, N] frames in which; outside the clip where it was in none of these
    ) -> TapirEstimate:
        """Tracks from the cost volume alone, frames independent: TAP-Net. Query frames get the query."""
        found, occlusion, distance = self.torch_cost_volume_track_mods(points.coarse, grids.coarse, self.temperature)
        h, w = grids.coarse.shape[2:4]
        found = found * found.new_tensor([SIZE[1] / w, SIZE[0] / h])
        if xy is not None and t is not None:
            here = t[..., None] == torch.arange(found.shape[2], device=t.device)
            found = torch.where(here[..., None], xy[:, :, None], found)
        return TapirEstimate(found, occlusion, distance)

    def estimate(
        self,
        levels: Sequence[Grids],
        points: Sequence[Descriptors],
        xy: Tensor | None = None,
        t: Tensor | None = None,
        contexts: Sequence[Context] | None = None,
        live: Tensor | None = None,
    ) -> tuple[list[TapirEstimate], list[Context]]:
        """Tracks after the guess and after each refinement.

        Args:
            levels: maps of frames of `SIZE`, for the guess, then those of each resolution to refine on, `_ITERATIONS`
                times each.
            points: of each level, for the same points.
            xy, t: as in `guess`.
            contexts: of a causal network: one for each refinement, from the frames before (`empty`).
            live: bool [B, N, T], of a causal network: false in frames that must not change the contexts.

        Returns:
            1 + _ITERATIONS * (len(levels) - 1) estimates, the first one the guess, and the contexts after the last
            frame (none for a network that is not causal).
        """
        estimates, kept = [self.guess(levels[0], points[0], xy, t)], []
        for level, grids in enumerate(levels[1:], 1):
            maps = [grids.fine, grids.coarse]
            for _ in range(self.variant.pyramid):
                maps.append(_halved(maps[-1]))
            # Each level restarts from the guess's logits and the query's features, but keeps the positions.
            current, memory = estimates[0]._replace(xy=estimates[-1].xy), None
            for _ in range(_ITERATIONS):
                past = contexts[len(estimates) - 1] if contexts is not None else None
                current, memory, context = self.refine(grids.size, maps, points[level], current, memory, past, live)
                estimates.append(current)
                if context is not None:
                    kept.append(context)
        return estimates, kept

    def refine(
        self,
        size: tuple[int, int],  # (h, w) of the level's frames
        maps: Sequence[Tensor],  # [B, T, h', w', C]: fine, coarse, and coarser
        points: Descriptors,
        current: TapirEstimate,
        memory: Tensor | None,  # [B, N, T, 384] features the last iteration made of the points; None: the first
        past: Context | None = None,
        live: Tensor | None = None,
    ) -> tuple[TapirEstimate, Tensor, Context | None]:
        """One iteration: correlate around the positions, mix along time, add the update."""
        b, n, t = current.occlusion.shape
        if memory is None:
            memory = torch.cat([points.fine, points.coarse], -1)[:, :, None].expand(-1, -1, t, -1)
        correlations = []
        for i, grid in enumerate(maps):
            target = memory[..., :_FINE] if i == 0 else memory[..., _FINE:]
            scale = current.xy.new_tensor([grid.shape[3] / SIZE[1], grid.shape[2] / SIZE[0]])
            correlations.append(local_correlation(grid, current.xy * scale, target))
        # The mixer has a place for positions, which the published networks leave empty.
        logits = [torch.zeros_like(current.xy), current.occlusion[..., None], current.distance[..., None]]
        inputs = torch.cat([*logits, memory, *correlations], -1).flatten(0, 1)
        if past is None and self.variant.causal:
            past = self.torch_pips_mixer.empty(b * n)
        update, kept = self.torch_pips_mixer(inputs, past, None if live is None else live.flatten(0, 1)[..., None])
        update = update.unflatten(0, (b, n))
        # Steps are in pixels of the level's frames.
        step = update[..., :2] * update.new_tensor([SIZE[1] / size[1], SIZE[0] / size[0]])
        moved = TapirEstimate(current.xy + step, current.occlusion + update[..., 2], current.distance + update[..., 3])
        return moved, memory + update[..., 4:], kept

    def empty(self, count: int, levels: int = 1) -> list[Context]:
        """The contexts of `count` points that have seen nothing: one for each refinement on `levels` levels."""
        return [self.torch_pips_mixer.empty(count) for _ in range(_ITERATIONS * levels)]


def final(estimates: Sequence[TapirEstimate]) -> TapirEstimate:
    """The mean over levels of each one's last iteration; the guess where there was no refinement."""
    last = estimates[_ITERATIONS::_ITERATIONS] or estimates[:1]
    return TapirEstimate(*(torch.stack(values).mean(0) for values in zip(*last, strict=True)))


def levels_for(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Resolutions (h, w) to refine on for frames of `size`: from `SIZE` to it in even ratios, multiples of 8.

    Each is at most twice the one before in either direction; as the authors' code spaces them (Doersch et al. 2023,
    "high-resolution" results).

    Args:
        size: multiples of 8.
    """
    doublings = math.log2(max(size[0] / SIZE[0], size[1] / SIZE[1]))
    count = 1 + max(0, math.ceil(doublings))
    if count == 1:
        return [SIZE]

    def between(start: int, end: int, share: float) -> int:
        return int(start * (end / start) ** share // 8) * 8

    shares = [i / (count - 1) for i in range(count - 1)]
    return [*((between(SIZE[0], size[0], s), between(SIZE[1], size[1], s)) for s in shares), size]


def _halved(maps: Tensor) -> Tensor:
    """[B, T, h, w, C] to [B, T, h / 2, w / 2, C], mean values; not of unit length again."""
    h, w = maps.shape[2] // 2 * 2, maps.shape[3] // 2 * 2
    return maps[:, :, :h, :w].unflatten(3, (w // 2, 2)).unflatten(2, (h // 2, 2)).mean((3, 5))
