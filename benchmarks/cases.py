"""What is measured on: worlds made on the spot, and folders of real video when they are given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trackime.metrics import Mode, benchmark_queries
from trackime.types import Tracks
from trackime.video import Video, open_video
from trackime.worlds import make_world


@dataclass(frozen=True)
class Case:
    """A video and the true tracks of its queries."""

    name: str
    video: Video
    truth: Tracks
    mode: Mode


def worlds(
    seeds: int,
    size: tuple[int, int],
    frames: int,
    queries: int,
    mode: Mode,
    objects: int = 4,
    background: bool = True,
) -> Iterator[Case]:
    """Worlds of seeds 0 .. seeds - 1; `queries` points each, asked for as TAP-Vid does.

    Args:
        size: (width, height).
        background: points on the background take part; off: on objects only.
    """
    width, height = size
    for seed in range(seeds):
        world = make_world(seed=seed, width=width, height=height, frames=frames, objects=objects)
        ids = None if background else list(range(1, objects + 1))
        tracks = world.sample(queries, seed=seed, ids=ids)
        truth = benchmark_queries(tracks, mode)
        if mode == "strided":  # every fifth frame asks again: keep as many queries as were wanted
            truth = truth[:: max(1, len(truth) // queries)][:queries]
        yield Case(f"world {seed}", open_video(world.video), truth, mode)
