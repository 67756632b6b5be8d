"""TAPIR, BootsTAPIR, causal BootsTAPIR, and TAP-Net's cost volume, from the authors' torch checkpoints.

Doersch et al., TAPIR (2023) and BootsTAP (2024); the authors' code and checkpoints are under the Apache License 2.0.
Points are independent of each other: neither their order nor how many go through the network at once changes any
of them. The network looks for (1 - occlusion)(1 - far off) > 0.5, which is `visibility` here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from trackime.arrays import blocks
from trackime.checkpoints import fill, locate, read_weights
from trackime.devices import resolve_device
from trackime.errors import InputError
from trackime.geometry import resize_frames, scale_points
from trackime.trackers._options import Checkpoint, check_positive, factory
from trackime.trackers.base import (
    Features,
    PointTracker,
    check_features,
    check_frames,
    check_queries,
    pin,
    query_frames,
)
from trackime.trackers.networks import (
    SIZE,
    Context,
    Descriptors,
    Grids,
    Tapir,
    TapirEstimate,
    TapirVariant,
    final,
    levels_for,
)

_WINDOW, _OVERLAP = 48, 12
"""Frames that a network which looks both ways sees together, and how many of them it saw in the last window.

It was trained on 24 frames and reaches 24 to either side in each of its four iterations. With windows of 48 and 12 in
common every frame of a long video is decided with at least 6 on each side, at a third more work; the maps of a window
take 150 MB a clip at 256x256.
"""
_ENCODE = 4
"""Frames that go through the encoder at once."""
STEPS = 24
"""Frames that a causal network advances at once; any number gives the same result."""


@dataclass(frozen=True)
class TapirState:
    """Where `advance` left off: points in the order of their query frames."""

    queries: Tensor  # [B, N, 3] (x, y, t) pixels of the frames, t in steps of travel
    order: Tensor  # int64 [N] where each was among the queries given
    size: tuple[int, int]
    step: int  # frames advanced so far
    points: list[Descriptors] | None  # by level; zeros before the query frame came
    contexts: tuple[list[Context] | None, ...]  # of a causal network, by chunk of queries; None: none has come yet


@dataclass(frozen=True)
class TapirOptions:
    """Options of the family.

    Attributes:
        query_chunk: points that go through the network at once; bounds its memory, changes no result.
        temperature: of the cost volume's softmax; 20 goes with the published torch checkpoints, 10 with some of the
            JAX ones.
        resolution: (h, w) frames are resized to, multiples of 8 from 256 on; beyond 256x256 positions are refined on
            further levels up to it.
        max_frames: frames seen together by a network that looks both ways in time. More of them need more memory;
            clips of up to as many are tracked as the authors do.
        overlap: frames that a window shares with the one before.

    Raises:
        InputError: one outside its range.
    """

    query_chunk: int = 64
    temperature: float = 20.0
    resolution: tuple[int, int] = SIZE
    max_frames: int = _WINDOW
    overlap: int = _OVERLAP

    def __post_init__(self) -> None:
        check_positive(query_chunk=self.query_chunk)
        if len(self.resolution) != 2 or any(v % 8 or v < least for v, least in zip(self.resolution, SIZE, strict=True)):
            raise InputError(f"resolution: expected multiples of 8 from 256 on, got {tuple(self.resolution)}")
        if not 0 <= self.overlap < self.max_frames:
            raise InputError(f"overlap: expected 0 .. max_frames - 1 = {self.max_frames - 1}, got {self.overlap}")


class TapirTracker(PointTracker):
    """Any network of the family. This one looks both ways in time.

    A clip of up to `max_frames` frames is tracked in one pass, which covers both directions in time, as the authors
    do. Longer ones go window by window, once in each direction, with the features of the query frame.

    Args:
        network: with its weights.
        name: in the registry.
        options: see `TapirOptions`.
        device: cpu, cuda, cuda:N, mps or auto.

    Raises:
        InputError, DeviceError: no such device.
    """

    windows = True
    """Whether it sees `max_frames` frames together; else any number."""

    def __init__(
        self, network: Tapir, name: str, options: TapirOptions = TapirOptions(), device: str | torch.device = "cpu"
    ) -> None:
        self.device = resolve_device(device)
        self.network = network.to(self.device)
        self.name, self.query_chunk = name, options.query_chunk
        self.input_size = (options.resolution[0], options.resolution[1])
        if self.windows:
            self.max_frames, self.overlap = options.max_frames, options.overlap
        self.sizes = self._sizes()

    def _sizes(self) -> list[tuple[int, int]]:
        """(h, w) of the frames that are encoded: the first serves the guess and the first refinement."""
        sizes = levels_for(self.input_size or SIZE)
        return sizes if sizes[0] == SIZE else [SIZE, *sizes]

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Features:
        """Feature maps of each size; see `PointTracker.encode`."""
        check_frames(frames)
        b, t = frames.shape[:2]
        flat = frames.flatten(0, 1)
        parts: list[list[Grids]] = [[] for _ in self.sizes]
        for shown in flat.split(_ENCODE):
            shown = shown.to(self.device, torch.float32)
            for made, size in zip(parts, self.sizes, strict=True):
                made.append(self.network.grids(resize_frames(shown, size)[None] * 2 - 1))
        data = {}
        for i, made in enumerate(parts):
            data[f"coarse{i}"] = torch.cat([g.coarse[0] for g in made]).unflatten(0, (b, t))
            data[f"fine{i}"] = torch.cat([g.fine[0] for g in made]).unflatten(0, (b, t))
        return Features(data, (frames.shape[-2], frames.shape[-1]))

    def open(self, queries: Tensor, size: tuple[int, int]) -> TapirState:
        """The state before the first frame; see `PointTracker.open`."""
        check_queries(queries)
        queries = queries.to(self.device, torch.float32)
        # Sorted by time, so that chunks of queries that have not come yet are left out.
        order = queries[..., 2].amin(0).argsort(stable=True)
        chunks = len(list(blocks(queries.shape[1], self.query_chunk)))
        return TapirState(queries[:, order], order, size, 0, None, (None,) * chunks)

    @torch.no_grad()
    def advance(self, state: TapirState, features: Features) -> tuple[Tensor, Tensor, TapirState]:
        """Follow the points through the next chunk; see `PointTracker.advance`."""
        head = min(self.overlap, state.step)
        check_features(features, len(state.queries), head)
        first = state.step - head
        levels, t = self._levels(features), query_frames(state.queries) - first
        points = self._described(state, levels, t, (t >= head) & (t < features.frames))
        xy, visibility, contexts = self._follow_window(state, levels, points, t)
        xy, visibility = pin(xy, visibility, state.queries, first)
        new = replace(state, step=first + features.frames, points=points, contexts=contexts)
        # Frames at the end of the last window had no future: the later half of those in common are re-estimated.
        back, skipped = state.order.argsort(), head - head // 2
        return xy[:, back, skipped:], visibility[:, back, skipped:], new

    @torch.no_grad()
    def track_features(self, features: Features, queries: Tensor) -> tuple[Tensor, Tensor]:
        """As `PointTracker.track_features`; up to `max_frames` frames in one pass, which looks both ways."""
        if self.max_frames is None or features.frames > self.max_frames:
            return super().track_features(features, queries)
        check_queries(queries, features.batch)
        state, levels = self.open(queries, features.size), self._levels(features)
        t = query_frames(state.queries)
        points = self._described(state, levels, t.clamp(0, features.frames - 1), torch.ones_like(t, dtype=torch.bool))
        xy, visibility, _ = self._follow_window(state, levels, points, t)
        xy, visibility = pin(xy, visibility, state.queries, rest=False)
        back = state.order.argsort()
        return xy[:, back], visibility[:, back]

    def _levels(self, features: Features) -> list[Grids]:
        return [Grids(features.data[f"coarse{i}"], features.data[f"fine{i}"]) for i in range(len(self.sizes))]

    def _described(self, state: TapirState, levels: list[Grids], t: Tensor, here: Tensor) -> list[Descriptors]:
        """Descriptors [B, N, C] of each level, with those of the queries `here` [B, N], in frames t, put in."""
        points = state.points or [
            Descriptors(*(m.new_zeros(*t.shape, m.shape[-1]) for m in (grids.coarse, grids.fine))) for grids in levels
        ]
        if not bool(here.any()):
            return points
        found = []
        for old, grids in zip(points, levels, strict=True):
            # Rows that are not here are read from frame 0 and left aside.
            new = self.network.describe(grids, state.queries[..., :2], torch.where(here, t, 0), state.size)
            found.append(Descriptors(*(torch.where(here[..., None], n, o) for n, o in zip(new, old, strict=True))))
        return found

    def _follow_window(
        self, state: TapirState, levels: list[Grids], points: list[Descriptors], t: Tensor
    ) -> tuple[Tensor, Tensor, tuple[list[Context] | None, ...]]:
        """What the network says in all frames of `levels` about points queried in frames t [B, N] of them.

        Returns:
            xy [B, N, T, 2] in pixels of the frames given, visibility [B, N, T] and new contexts; chunks of points none
            of which has come yet are left out.
        """
        length = levels[0].coarse.shape[1]
        xy = state.queries[:, :, None, :2].repeat(1, 1, length, 1)
        visibility = xy.new_zeros(xy.shape[:3])
        contexts, at = list(state.contexts), scale_points(state.queries[..., :2], state.size, SIZE)
        for k, rows in enumerate(blocks(t.shape[1], self.query_chunk)):
            if bool((t[:, rows] < length).any()):
                own = [Descriptors(p.coarse[:, rows], p.fine[:, rows]) for p in points]
                found, contexts[k] = self._follow_chunk(levels, own, at[:, rows], t[:, rows], contexts[k])
                xy[:, rows] = scale_points(found.xy, SIZE, state.size)
                visibility[:, rows] = torch.sigmoid(-found.occlusion) * torch.sigmoid(-found.distance)
        return xy, visibility, tuple(contexts)

    def _follow_chunk(
        self,
        levels: list[Grids],
        points: list[Descriptors],
        xy: Tensor,  # [B, n, 2] queries, in pixels of SIZE
        t: Tensor,  # [B, n] query frames, counted from the first one of `levels`
        contexts: list[Context] | None,
    ) -> tuple[TapirEstimate, list[Context] | None]:
        """Tracks of a chunk of queries through all frames of `levels`."""
        estimates, _ = self.network.estimate([levels[0], *levels], [points[0], *points], xy, t)
        return final(estimates), None


class CausalTapirTracker(TapirTracker):
    """Looks back only: frames can come one at a time, in chunks of any length, with the same result.

    A point starts in its query frame with no memory and goes forward in the order of travel; the time before its
    query comes from the reversed frames. The network's memory is about 1 MB a point.
    """

    windows = False

    def _follow_chunk(
        self, levels: list[Grids], points: list[Descriptors], xy: Tensor, t: Tensor, contexts: list[Context] | None
    ) -> tuple[TapirEstimate, list[Context] | None]:
        if contexts is None:
            contexts = self.network.empty(t.numel(), len(levels))
        parts, length = [], levels[0].coarse.shape[1]
        for first in range(0, length, STEPS):
            shown = [Grids(g.coarse[:, first : first + STEPS], g.fine[:, first : first + STEPS]) for g in levels]
            steps = torch.arange(first, min(length, first + STEPS), device=t.device)
            estimates, contexts = self.network.estimate(
                [shown[0], *shown], [points[0], *points], xy, t - first, contexts, live=steps >= t[..., None]
            )
            parts.append(final(estimates))
        return TapirEstimate(*(torch.cat(values, 2) for values in zip(*parts, strict=True))), contexts


class TapNet(TapirTracker):
    """The guess alone: each frame by itself, from the cost volume at 256x256. Frames in chunks of any length."""

    windows = False

    def _sizes(self) -> list[tuple[int, int]]:
        return [SIZE]

    def _follow_chunk(
        self, levels: list[Grids], points: list[Descriptors], xy: Tensor, t: Tensor, contexts: list[Context] | None
    ) -> tuple[TapirEstimate, list[Context] | None]:
        return self.network.guess(levels[0], points[0], xy, t), None


def _both_ways(name: str, options: TapirOptions, path: Checkpoint, device: torch.device) -> TapirTracker:
    """TAPIR or BootsTAPIR (v2), looking both ways; a checkpoint of either: which one shows in its shapes."""
    file = locate(name, path)
    if file.name.lower().startswith("causal"):
        raise InputError(f"{name}: {file.name} is a causal network by its name: write causal-bootstapir:{file}")
    return TapirTracker(_loaded(name, file, options), name, options, device)


def _causal(options: TapirOptions, path: Checkpoint, device: torch.device) -> CausalTapirTracker:
    """Whether a network is causal shows neither in the names nor in the shapes of its weights: the caller says so."""
    name = "causal-bootstapir"
    return CausalTapirTracker(_loaded(name, locate(name, path), options, causal=True), name, options, device)


def _guess(options: TapirOptions, path: Checkpoint, device: torch.device) -> TapNet:
    return TapNet(_loaded("tapir", locate("tapir", path), options), "tapnet", options, device)


def _loaded(name: str, file: Path, options: TapirOptions, causal: bool = False) -> Tapir:
    state = read_weights(file)
    network = Tapir(TapirVariant.of(state, causal), options.temperature)
    fill(network, state, name)
    return network


tapir = factory(TapirOptions, partial(_both_ways, "tapir"))
bootstapir = factory(TapirOptions, partial(_both_ways, "bootstapir"))
causal_bootstapir = factory(TapirOptions, _causal, without=("max_frames", "overlap"))
"""Causal BootsTAPIR, frame by frame."""
tapnet = factory(TapirOptions, _guess, without=("resolution", "max_frames", "overlap"))
"""TAPIR's cost volume without refinement, which is TAP-Net's way; from a checkpoint of TAPIR, causal or not. Positions
are as coarse as the maps, and visibility is the initial estimate's own."""
