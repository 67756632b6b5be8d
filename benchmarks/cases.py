"""The cases to score: synthetic worlds, and folders of real video where they are given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trackime import datasets
from trackime.arrays import BoolArray
from trackime.metrics import Mode, benchmark_queries
from trackime.training import ValidationSet, WorldClips
from trackime.types import Queries, Tracks
from trackime.video import Video, open_video
from trackime.worlds import make_world


@dataclass(frozen=True)
class Case:
    """A video and the true tracks of its queries; `known` [N, T]: the cells with ground truth, None: all."""

    name: str
    video: Video
    truth: Tracks
    mode: Mode
    known: BoolArray | None = None


def worlds(
    seeds: int,
    size: tuple[int, int],
    frames: int,
    queries: int,
    mode: Mode,
    objects: int = 4,
    background: bool = True,
) -> Iterator[Case]:
    """Worlds of seeds 0 .. seeds - 1; `queries` points each, queried as TAP-Vid does.

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
        if mode == "strided":  # every fifth frame queries again: keep the number requested
            truth = truth[:: max(1, len(truth) // queries)][:queries]
        yield Case(f"world {seed}", open_video(world.video), truth, mode)


def validation_worlds(held: ValidationSet, images: str | None, sprites: str | None) -> Iterator[Case]:
    """The worlds that `trackime-s` is validated on: other seeds, and of images and cut-outs those held out.

    Args:
        images: folder of photographs; None: procedural textures alone.
        sprites: folder of cut-outs.
    """
    for k, clips in enumerate(held.make(WorldClips(images, sprites, "val"))):
        video = open_video(np.ascontiguousarray(clips.compact().frames[0].permute(0, 2, 3, 1).numpy()))
        queries = Queries(clips.queries[0].numpy())
        truth = Tracks(clips.xy[0].numpy(), clips.visible[0].float().numpy(), queries, video.info)
        # Every query has its own frame, anywhere: all frames but that are scored.
        yield Case(f"held-out world {k}", video, truth, "strided")


def scans(path: str, points: int) -> Iterator[Case]:
    """Scans of still rooms with depth and poses: true tracks of random pixels of every 30th frame, 30 frames each way.

    Args:
        path: a scan in the layout ``rgbd``, or a folder of some.
        points: queries per query frame.
    """
    for sample in datasets.read("rgbd", path, points=points):
        assert sample.tracks is not None
        yield Case(sample.name, open_video(sample.video), sample.tracks, "strided", sample.known)
