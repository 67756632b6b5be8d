"""Published networks: savings by shared features and chunks of queries, against a direct use of the same network.

Speed and memory do not depend on what the weights are, so they are filled from their names: nothing is downloaded.
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.memory import MIB, Sampler, resident
from benchmarks.report import Report, status
from tests.golden import filled
from trackime import trackers
from trackime.arrays import blocks
from trackime.errors import InputError
from trackime.geometry import to_torch
from trackime.trackers import PointTracker
from trackime.trackers.networks import TapirVariant
from trackime.worlds import make_world

SIZE = 256
"""Frames are 256x256, what most of the networks were trained on."""

_TAPIR, _BOOTS = TapirVariant(), TapirVariant(pyramid=1, extra=True)
NETWORKS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "tapir": ("tapir:Tapir", (_TAPIR,)),
    "bootstapir": ("tapir:Tapir", (_BOOTS,)),
    "causal-bootstapir": ("tapir:Tapir", (_BOOTS,)),
    "tapnet": ("tapir:Tapir", (_TAPIR,)),
    "locotrack-small": ("locotrack:LocoTrack", ("small",)),
    "locotrack-base": ("locotrack:LocoTrack", ("base",)),
    "cotracker3": ("cotracker:CoTracker3", (60,)),
    "cotracker3-online": ("cotracker:CoTracker3", (16,)),
    "pips": ("pips:Pips", ()),
    "pips2": ("pips2:Pips2", ()),
}
"""The network of each registered tracker: its class in trackime.trackers.networks, and the arguments."""

PLAIN = ("tapir", "bootstapir", "causal-bootstapir", "tapnet")
"""Trackers that `plain_operations` knows to put in plain terms."""


@dataclass(frozen=True)
class Way:
    """A way to track a clip.

    Attributes:
        name: in the table.
        chunk: points that go through the network at once.
        reencode: the clip is encoded for every chunk of points.
        plain: in `plain_operations`.
    """

    name: str
    chunk: int
    reencode: bool = False
    plain: bool = False


@dataclass(frozen=True)
class Measured:
    """Seconds and the most memory beyond what was held before (MiB), of encoding and of following; the tracks."""

    encode: float
    follow: float
    cpu: float  # seconds of all threads together: what other programs on the machine do not change
    encode_memory: float
    follow_memory: float
    encoded: int
    xy: Tensor

    @property
    def seconds(self) -> float:
        """The whole."""
        return self.encode + self.follow


def checkpoint(name: str, folder: Path) -> Path:
    """A file of weights for the tracker called `name`, filled from their names."""
    if name not in NETWORKS:
        raise InputError(f"{name} has no network to fill: expected one of {', '.join(NETWORKS)}")
    place, arguments = NETWORKS[name]
    module, _, attribute = place.partition(":")
    network: nn.Module = getattr(import_module(f"trackime.trackers.networks.{module}"), attribute)(*arguments)
    path = folder / f"{name}.pt"
    torch.save(filled(network), path)
    return path


@dataclass(frozen=True)
class Sizes:
    """The amount of work.

    Attributes:
        frames: of the clip.
        queries: points, queried in the first frame.
        chunk: points that go through the network at once.
        small: another chunk, to show that memory follows it.
    """

    frames: int
    queries: int
    chunk: int
    small: int


def compare(report: Report, name: str, sizes: Sizes, device: str, folder: Path) -> None:
    """One tracker on one clip: features shared, then re-encoded for every chunk, then every point at once.

    Args:
        report: gets one row per way.
        name: of the tracker.
        sizes: how much it tracks.
        device: where it runs.
        folder: for the weights.
    """
    path, queries, chunk = checkpoint(name, folder), sizes.queries, sizes.chunk
    world = make_world(seed=0, width=SIZE, height=SIZE, frames=sizes.frames, objects=4)
    clip = to_torch(np.stack([world.frame(t) for t in range(sizes.frames)]))[None]
    points = torch.from_numpy(_points(queries))[None]

    def measure(way: Way) -> Measured:
        status(f"{name}: {way.name}, {way.chunk} points at once")
        tracker = trackers.create(name, device=device, path=path, query_chunk=way.chunk)
        parts = list(blocks(queries, way.chunk)) if way.reencode else [slice(0, queries)]
        with plain_operations() if way.plain else nullcontext():
            return _measured(tracker, clip.to(tracker.device), [points[:, rows].to(tracker.device) for rows in parts])

    warm = trackers.create(name, device=device, path=path)
    warm.track(clip[:, :2], points[:, :2])  # first calls make tables and choose kernels
    del warm
    ways = [Way("shared", chunk), Way("shared", sizes.small), Way("all at once", queries)]
    ways.append(Way("encoded anew", chunk, True))
    if name in PLAIN:
        ways.append(Way("anew, plain operations", chunk, True, True))
    ours = None
    for way in ways:
        got = measure(way)
        ours = ours or got
        report.add(
            tracker=name,
            way=way.name,
            chunk=way.chunk,
            encoded=got.encoded,
            seconds=got.seconds,
            ratio=got.seconds / ours.seconds,
            encode_s=got.encode,
            cpu_s=got.cpu,
            cpu_ratio=got.cpu / ours.cpu,
            encode_MiB=got.encode_memory,
            follow_MiB=got.follow_memory,
            differs_px=float((got.xy - ours.xy).abs().max()),
        )


def _measured(tracker: PointTracker, clip: Tensor, parts: list[Tensor]) -> Measured:
    """Encode and follow, once for each part of the points [1, n, 3]."""
    found, encode, follow, cpu = [], (0.0, 0.0), (0.0, 0.0), time.process_time()
    for points in parts:
        features, seconds, memory = _watched(partial(tracker.encode, clip), tracker.device)
        encode = encode[0] + seconds, max(encode[1], memory)
        (xy, _), seconds, memory = _watched(partial(tracker.track_features, features, points), tracker.device)
        follow = follow[0] + seconds, max(follow[1], memory)
        found.append(xy.cpu())
        features = None
    encoded = len(parts) * clip.shape[1]
    cpu = time.process_time() - cpu
    return Measured(encode[0], follow[0], cpu, encode[1], follow[1], encoded, torch.cat(found, 1))


def _watched(work: Callable[[], Any], device: torch.device) -> tuple[Any, float, float]:
    """The result of `work`, its seconds, and its peak memory beyond that held before, in MiB."""
    cuda = device.type == "cuda"
    gc.collect()
    _return_freed()
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if cuda else resident()
    with Sampler() as sampler:
        start = time.perf_counter()
        result = work()
        if cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() if cuda else max((s[2] for s in sampler.samples), default=before)
    return result, seconds, (max(peak, before) - before) / MIB


def _points(count: int) -> np.ndarray:
    """float32 [count, 3] (x, y, 0) spread over the frame."""
    xy = np.random.default_rng(0).uniform(4, SIZE - 4, (count, 2))
    return np.concatenate([xy, np.zeros((count, 1))], 1).astype(np.float32)


def _return_freed() -> None:
    """Return freed memory to the system, so that one measurement does not reuse what another left."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # not glibc
        return


# ---- the same network of the TAPIR family in plain operations


@contextmanager
def plain_operations() -> Iterator[None]:
    """Inside, TAPIR samples features before it multiplies them, and runs torch's own convolution along time."""
    with (
        patch("trackime.trackers.networks.tapir.local_correlation", _sampled),
        patch("trackime.trackers.networks.mixer._over_time", lambda conv, x: conv(x.transpose(1, 2)).transpose(1, 2)),
        patch("trackime.trackers.networks._heads.SLICE", {}),
    ):
        yield


def _sampled(grid: Tensor, xy: Tensor, features: Tensor) -> Tensor:
    """As `local_correlation`: [B, N, T, 49]."""
    b, t, h, w, _ = grid.shape
    offset = torch.stack(torch.meshgrid(*[torch.arange(-3, 4, device=xy.device)] * 2, indexing="xy"), -1)
    place = (xy[..., None, :] + offset.reshape(49, 2)) * 2 / xy.new_tensor([w, h]) - 1  # [B, N, T, 49, 2]
    maps = grid.flatten(0, 1).movedim(-1, 1)
    samples = F.grid_sample(maps, place.transpose(1, 2).flatten(0, 1), align_corners=False)
    samples = samples.unflatten(0, (b, t)).movedim(2, -1)  # [B, T, N, 49, C]
    return torch.einsum("btnsc,bntc->bnts", samples, features.expand(-1, -1, t, -1))
