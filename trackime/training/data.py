"""Training clips, rendered by number, so that a run does not depend on its division into slices."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from trackime.files import atomic
from trackime.training._config import CurriculumStage, TrainConfig
from trackime.training._losses import ClipTruth

_AHEAD = 3
"""Batches that each worker renders ahead."""
_SEEDS = 10_000_000
"""Worlds of a run; those of validation have seeds from `VALIDATION_SEED` on."""
VALIDATION_SEED = 2_000_000_000


@dataclass(frozen=True)
class Clips:
    """B clips with N points each; pixel centres at half-integers.

    Attributes:
        frames: [B, T, 3, H, W], uint8, or float in [0, 1].
        xy: float32 [B, N, T, 2] pixels.
        visible: bool [B, N, T].
        query_frame: int64 [B, N], in which the point is visible.
        object: int64 [B, N], 0 for the background.
        masks: uint8 [B, T, H, W], 0 for the background.
    """

    frames: Tensor
    xy: Tensor
    visible: Tensor
    query_frame: Tensor
    object: Tensor
    masks: Tensor

    def to(self, device: torch.device) -> Clips:
        """The same on a device, frames as float."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self)}
        if moved["frames"].dtype == torch.uint8:
            moved["frames"] = moved["frames"].to(torch.float32).div_(255)
        return Clips(**moved)

    def compact(self) -> Clips:
        """Frames as uint8: a quarter of the transfer between processes."""
        if self.frames.dtype == torch.uint8:
            return self
        return replace(self, frames=(self.frames * 255 + 0.5).clamp(0, 255).to(torch.uint8))

    @property
    def query_xy(self) -> Tensor:
        """[B, N, 2]: where the points are in their query frames."""
        index = self.query_frame[..., None, None].expand(*self.query_frame.shape, 1, 2)
        return self.xy.gather(2, index)[:, :, 0]

    @property
    def queries(self) -> Tensor:
        """float32 [B, N, 3] (x, y, t), as trackers take them."""
        return torch.cat([self.query_xy, self.query_frame[..., None].float()], -1)

    def truth(self) -> ClipTruth:
        """Ground truth of all frames; all are scored but the query's."""
        frames = torch.arange(self.xy.shape[2], device=self.xy.device)
        scored = frames != self.query_frame[..., None]
        return ClipTruth(self.xy, self.visible, scored, self.object, self.masks)


Maker = Callable[[int, CurriculumStage], Clips]
"""Clips of a seed, for a stage of the curriculum."""


@dataclass(frozen=True)
class WorldClips:
    """Renders clips of layers or of bodies (`CurriculumStage.bodies`); images are read once in each process.

    Attributes:
        images: folder of photographs; None: procedural textures alone.
        sprites: folder of cut-outs.
        split: train or val: all images of a source are in one split.
        options: of the worlds.
        device: where they are rendered.
        cache: folder that keeps batches; None: none are kept.
        kept: batches in it: later ones are the earlier ones again, which `batches` mirrors and reverses.
    """

    images: str | None = None
    sprites: str | None = None
    split: str = "train"
    options: tuple[tuple[str, Any], ...] = ()
    device: str = "cpu"
    cache: str | None = None
    kept: int = 4000

    def __call__(self, seed: int, stage: CurriculumStage) -> Clips:
        """Clips of a seed."""
        if self.cache is None:
            return self._render(seed, stage)
        name = hashlib.sha256(f"{self.split} {stage} {self.options}".encode()).hexdigest()[:12]
        file = Path(self.cache) / f"{name}-{seed % self.kept:06d}.safetensors"
        if file.exists():
            return Clips(**load_file(file))
        clips = self._render(seed % self.kept, stage)
        with atomic(file) as temporary:
            save_file({item.name: getattr(clips, item.name).contiguous() for item in fields(clips)}, temporary)
        return clips

    def _render(self, seed: int, stage: CurriculumStage) -> Clips:
        from trackime.worlds import BatchOptions, make_batch

        if np.random.default_rng([seed, 77]).random() < stage.bodies:
            return self._bodies(seed, stage)
        options = BatchOptions(**{**dict(self.options), **stage.world})
        made = make_batch(
            seed, stage.batch, stage.rendered or stage.frames, *stage.size, stage.points,
            options=options, pool=_pool(self), device=self.device,
        )  # fmt: skip
        clips = Clips(
            made.frames, made.xy, made.visibility > 0.5, made.query_frame, made.object, made.masks.to(torch.uint8)
        )
        return clips.compact()

    def _bodies(self, seed: int, stage: CurriculumStage) -> Clips:
        from trackime.worlds import make_bodies

        made = [
            make_bodies(
                seed * stage.batch + k, stage.rendered or stage.frames, *stage.size, stage.points, pool=_pool(self)
            )
            for k in range(stage.batch)
        ]
        frames, xy, visible, query, thing, masks = (
            torch.stack([getattr(clip, name) for clip in made])
            for name in ("frames", "xy", "visibility", "query_frame", "object", "masks")
        )
        return Clips(frames, xy, visible > 0.5, query, thing, masks).compact()


_POOLS: dict[tuple[str | None, str | None, str, str], Any] = {}


def _pool(worlds: WorldClips) -> Any:
    key = (worlds.images, worlds.sprites, worlds.split, worlds.device)
    if key not in _POOLS:
        from trackime.worlds import TexturePool

        pool = TexturePool.from_folders(worlds.images, worlds.sprites, split=worlds.split)
        _POOLS[key] = pool.to(worlds.device)
    return _POOLS[key]


def _thin(clips: Clips, count: int, generator: torch.Generator) -> Clips:
    """`count` of the frames: consecutive ones, evenly spaced ones, or any; the same of each clip.

    Points that are visible in none of them are replaced by others of the clip.

    Args:
        generator: on the CPU.
    """
    length = clips.frames.shape[1]
    if count >= length:
        return clips

    def draw(limit: int) -> int:
        return int(torch.randint(limit, (), generator=generator))

    kind, widest = draw(3), (length - 1) // (count - 1)
    if kind < 2:
        step = 1 + (draw(widest) if kind else 0)
        frames = torch.arange(count) * step + draw(length - (count - 1) * step)
    else:
        frames = torch.randperm(length, generator=generator)[:count].sort().values
    visible = clips.visible[:, :, frames]
    # Points with a visible frame come first; the others' places are taken by these once more.
    seen = visible.any(-1)
    order = seen.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices
    rows = order.gather(1, torch.arange(order.shape[1]) % seen.sum(1, keepdim=True).clamp(min=1))
    each = torch.arange(len(rows))[:, None]
    lots = torch.rand(visible.shape, generator=generator)
    return Clips(
        clips.frames[:, frames], clips.xy[:, :, frames][each, rows], visible[each, rows],
        (lots * visible).argmax(-1)[each, rows], clips.object[each, rows], clips.masks[:, frames],
    )  # fmt: skip


def _vary(clips: Clips, generator: torch.Generator, requery: bool) -> Clips:
    """Square clips mirrored, transposed, time-reversed and with permuted colour channels, at random.

    Args:
        generator: on the CPU.
        requery: choose other query frames, too.
    """

    def toss() -> bool:
        return bool(torch.rand((), generator=generator) < 0.5)

    frames, xy, visible, query, masks = clips.frames, clips.xy, clips.visible, clips.query_frame, clips.masks
    h, w = frames.shape[-2:]
    if toss():
        frames, masks = frames.flip(-1), masks.flip(-1)
        xy = torch.stack([w - xy[..., 0], xy[..., 1]], -1)
    if toss():
        frames, masks = frames.flip(-2), masks.flip(-2)
        xy = torch.stack([xy[..., 0], h - xy[..., 1]], -1)
    if toss() and h == w:
        frames, masks, xy = frames.transpose(-1, -2), masks.transpose(-1, -2), xy.flip(-1)
    if toss():
        frames, masks, xy, visible = frames.flip(1), masks.flip(1), xy.flip(2), visible.flip(2)
        query = frames.shape[1] - 1 - query
    if toss():
        frames = frames[:, :, torch.randperm(3, generator=generator)]
    if requery:
        lots = torch.rand(visible.shape, generator=generator).to(visible.device)
        query = (lots * visible).argmax(-1)
    return Clips(frames.contiguous(), xy, visible, query, clips.object, masks)


def batches(
    config: TrainConfig, make: Maker, first: int, workers: int = 0, rank: int = 0
) -> Generator[Clips, None, None]:
    """The batches of steps first, first + 1, ... to the end of the run.

    Args:
        workers: processes that render them; 0: this one. It changes no result.
        rank: which of the `config.processes` that share each step.
    """
    for step, clips in zip(range(first, config.steps), _worlds(config, make, first, workers, rank), strict=False):
        generator = torch.Generator().manual_seed(1_000_003 * (config.seed + 1) + step * config.processes + rank)
        clips = _thin(clips, config.stage(step).frames, generator)
        yield _vary(clips, generator, requery=step % config.uses > 0)


def _worlds(config: TrainConfig, make: Maker, first: int, workers: int, rank: int) -> Generator[Clips, None, None]:
    """A batch of worlds a step, each `config.uses` times."""
    numbers = range(first // config.uses, -(-config.steps // config.uses))

    def arguments(number: int) -> tuple[int, CurriculumStage]:
        return config.seed * _SEEDS + number * config.processes + rank, config.stage(number * config.uses)

    skip = first % config.uses
    if workers == 0:
        for number in numbers:
            clips = make(*arguments(number))
            for _ in range(config.uses - skip):
                yield clips
            skip = 0
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_use_one_thread) as pool:
        queue: list[Future[Clips]] = []
        remaining = iter(numbers)
        try:
            for number in remaining:
                queue.append(pool.submit(make, *arguments(number)))
                if len(queue) < _AHEAD * workers:
                    continue
                for _ in range(config.uses - skip):
                    yield queue[0].result()
                queue.pop(0)
                skip = 0
            for future in queue:
                for _ in range(config.uses - skip):
                    yield future.result()
                skip = 0
        finally:
            for future in queue:
                future.cancel()


def _use_one_thread() -> None:
    # One thread each: processes that use all cores slow each other down.
    torch.set_num_threads(1)
