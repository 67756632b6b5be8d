"""Data-parallel training: each process has its own worlds, and every step uses the mean gradient."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn


class ProcessTeam:
    """One process of several.

    Args:
        rank: its number.
        size: number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def leads(self) -> bool:
        """Whether this process writes files and the log."""
        return self.rank == 0

    def average(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by the mean over all processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def agree(self, flag: bool) -> bool:
        """The flag of the leading process."""
        if self.size == 1:
            return flag
        shared = torch.tensor(float(flag))
        dist.broadcast(shared, 0)
        return bool(shared)


def together(size: int, work: Callable[..., None], *arguments: Any) -> None:
    """Call `work(team, *arguments)` in `size` processes that can average, and wait for them.

    Args:
        size: 1: in this process.
        work: a function of a module, so that processes can be started with it.
    """
    if size == 1:
        work(ProcessTeam(), *arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        spawn(_join, (size, str(Path(folder) / "meeting"), work, arguments), nprocs=size)


def _join(rank: int, size: int, meeting: str, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    # One thread each: processes that use all cores slow each other down.
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    try:
        work(ProcessTeam(rank, size), *arguments)
    finally:
        dist.destroy_process_group()
