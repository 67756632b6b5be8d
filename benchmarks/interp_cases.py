"""Videos with frames left out, for interpolation: any video, standard data sets, worlds with the motion of sports.

Methods get a video of the kept frames only, with their original times.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from trackime import datasets
from trackime.arrays import UInt8
from trackime.errors import InputError
from trackime.types import Queries, VideoInfo
from trackime.video import PixelKind, Video, open_video
from trackime.worlds import World, make_world
from trackime_apps.interp import FrameMotion, MotionSource, PairMotion

GROUPS = {"vimeo90k": "Vimeo-90K", "snufilm": "SNU-FILM {}", "x4k1000fps": "X4K1000FPS", "sportsslomo": "SportsSloMo"}
"""Data sets of interpolation in `trackime.datasets`, and the title of their samples; {} is the difficulty."""

SPORTS: dict[str, Any] = {
    "speed": 16.0,
    "occlusion": 0.9,
    "size": (0.25, 0.6),
    "jerky": 0.0,
    "leaving": 0.0,
}
"""Options of worlds whose objects move 20 to 80 px between frames 2 / 25 s apart, at 640x360."""

GRID = 16
"""Pixels between the points at which the motion of a world is measured."""
LARGE = (20.0, 80.0)
"""Pixels between kept frames that count as large motion."""


@dataclass(frozen=True)
class Target:
    """A frame to be made.

    Attributes:
        i, j: frames of the kept video on both sides of it.
        tau: its time between them, 0 < tau < 1.
        t: its index in the whole video.
    """

    i: int
    j: int
    tau: float
    t: int


@dataclass(frozen=True, eq=False)
class Case:
    """A video with frames left out.

    Attributes:
        name: of the video.
        video: the kept frames, with the times they have in the whole.
        targets: the frames to be made, in order.
        truth: the whole video, of which `Target.t` is an index.
        motion: statistics of the true motion between kept frames; empty where it is unknown.
        source: the true motion, for an oracle; None where it is unknown.
        group: title under which the short cases of a data set are shown together. Empty: each by itself.
    """

    name: str
    video: Video
    targets: tuple[Target, ...]
    truth: Video
    motion: dict[str, float] = field(default_factory=dict)
    source: MotionSource | None = None
    group: str = ""

    def close(self) -> None:
        """Close the files."""
        self.video.close()
        self.truth.close()


class _FrameSubset:
    """Some frames of a video, in order, as the source of another; resized by area where a size is given."""

    def __init__(self, video: Video, frames: Sequence[int], size: tuple[int, int] | None = None) -> None:
        info = video.info
        width, height = size or (info.width, info.height)
        names = tuple(info.names[t] for t in frames)
        self._video, self._frames = video, tuple(frames)
        self.info = VideoInfo(width, height, info.pts[list(frames)], names, info.source)
        self.warnings: list[str] = []
        self.kind = PixelKind()

    def pixels(self, t0: int, t1: int) -> UInt8:
        return self.read(t0, t1)

    def again(self) -> _FrameSubset:
        return _FrameSubset(self._video.again(), self._frames, (self.info.width, self.info.height))

    def read(self, t0: int, t1: int) -> UInt8:
        out = np.empty((t1 - t0, self.info.height, self.info.width, 3), np.uint8)
        for row, t in enumerate(self._frames[t0:t1]):
            picture = self._video[t]
            if picture.shape != out.shape[1:]:
                picture = cv2.resize(picture, (self.info.width, self.info.height), interpolation=cv2.INTER_AREA)
            out[row] = picture
        return out

    def close(self) -> None:
        self._video.close()


def left_out(
    name: str, reopen: Callable[[], Video], kept: Sequence[int], targets: Sequence[int], scale: float = 1.0
) -> Case:
    """A case of a video.

    Args:
        name: of the case.
        reopen: opens the video; called twice: the truth and the kept frames have readers of their own.
        kept: frames that are given, increasing.
        targets: frames to be made, increasing, each between two that are kept.
        scale: factor by which all frames are resized first.

    Raises:
        InputError: fewer than two kept frames, a target that is not between them, a scale that leaves no frame.
    """
    video, truth = reopen(), reopen()
    info = video.info
    if len(kept) < 2 or not targets:
        raise InputError(f"{name}: expected at least 3 frames to leave one out, got {info.frames}")
    size = (round(info.width * scale), round(info.height * scale))
    if min(size) < 2:
        raise InputError(f"{name}: expected frames of 2x2 or more, got {size[0]}x{size[1]} at scale {scale:g}")
    places = []
    for t in targets:
        j = bisect_right(kept, t)
        if not 0 < j < len(kept) or kept[j - 1] == t:
            raise InputError(f"{name}: expected frames between kept ones to be made, got {t}; kept are {list(kept)}")
        begin, end = (float(info.pts[kept[k]]) for k in (j - 1, j))
        # Rounded, so that rounding of the times does not move the middle.
        places.append(Target(j - 1, j, round((float(info.pts[t]) - begin) / (end - begin), 9), t))
    given = Video(_FrameSubset(video, kept, size))
    whole = truth if scale == 1 else Video(_FrameSubset(truth, range(info.frames), size))
    return Case(name, given, tuple(places), whole)


def every(name: str, reopen: Callable[[], Video], limit: int | None, scale: float, step: int = 2) -> Case:
    """Every `step`-th of the first `limit` frames is kept, those between are made. Frames after the last are not used.

    Raises:
        InputError: a step below 2; as `left_out`.
    """
    if step < 2:
        raise InputError(f"step: expected 2 or more (1 leaves nothing out), got {step}")
    with reopen() as video:
        count = len(video) if limit is None else min(limit, len(video))
    kept = range(0, count, step)
    return left_out(name, reopen, kept, [t for t in range(kept[-1]) if t % step], scale)


def clips(paths: Iterable[str], limit: int | None = None, scale: float = 1.0, step: int = 2) -> Iterator[Case]:
    """Frames left out of any videos or folders of frames; see `every`.

    Raises:
        VideoError: a video that cannot be read.
        InputError: one that is too short.
    """
    for path in paths:
        place = Path(path).resolve()
        # The folder of a sequence is often just called frames.
        name = f"{place.parent.name}/{place.name}" if place.is_dir() else place.stem
        yield every(name, partial(open_video, path), limit, scale, step)


def davis(root: str, limit: int | None = None, scale: float = 1.0, step: int = 2) -> Iterator[Case]:
    """Frames left out of the sequences of DAVIS; see `every`.

    Raises:
        FormatError: no sequences.
        InputError: one that is too short.
    """
    for sample in datasets.read("davis", root):
        yield every(sample.name, partial(open_video, sample.video), limit, scale, step)


def dataset(kind: str, root: str, limit: int | None = None, scale: float = 1.0, **options: Any) -> Iterator[Case]:
    """The first `limit` samples of a data set of interpolation, one of `GROUPS`.

    Raises:
        FormatError: no such data set there, or a sample that is not whole.
    """
    for sample in islice(datasets.read(kind, root, **options), limit):
        kept, targets = sample.labels["kept"], sample.labels["targets"]
        case = left_out(sample.name, partial(open_video, sample.video), kept, targets, scale)
        yield replace(case, group=GROUPS[kind].format(sample.name.split("/")[0]))


def worlds(
    count: int, size: tuple[int, int] = (640, 360), frames: int = 17, objects: int = 10, step: int = 2, **options: Any
) -> Iterator[Case]:
    """Worlds of seeds 0 .. count - 1 with the large motion of sports; see `SPORTS`.

    Args:
        count: how many.
        size: (width, height). Motion grows with the frame: 20 to 80 px are those of 640x360.
        frames: of the whole video.
        objects: of each world.
        step: every `step`-th frame is kept.
        options: of `trackime.worlds.make_world`, over those of `SPORTS`.
    """
    for seed in range(count):
        world = make_world(
            seed=seed, width=size[0], height=size[1], frames=frames, objects=objects, **{**SPORTS, **options}
        )
        case = every(f"world {seed}", partial(open_video, world.video, world.options.fps), None, 1.0, step)
        kept = range(0, frames, step)
        yield replace(case, motion=true_motion(world, kept), source=TrueMotion(world, kept))


class TrueMotion:
    """The true motion between kept frames of a world: quadratic terms, visibility and layer order included.

    Args:
        world: the world.
        kept: its frames that are kept.
    """

    def __init__(self, world: World, kept: Sequence[int]) -> None:
        self.world, self.kept = world, kept

    def between(self, i: int, j: int) -> PairMotion:
        """The motion between kept frames i < j."""
        return PairMotion(self._motion(self.kept[i], self.kept[j]), self._motion(self.kept[j], self.kept[i]))

    def _motion(self, a: int, b: int) -> FrameMotion:
        middle = (a + b) // 2
        flow, seen = self.world.flow(a, b)
        quadratic = None
        if middle not in (a, b):
            # x + s flow + s (s - 1) quadratic is where the point is at half the time.
            s = (middle - a) / (b - a)
            quadratic = torch.from_numpy((self.world.flow(a, middle)[0] - s * flow) / (s * (s - 1))).movedim(-1, 0)
        nearness = self.world.rank[a][self.world.mask(a)] / max(1, int(self.world.rank[a].max()))
        return FrameMotion(
            torch.from_numpy(flow).movedim(-1, 0).contiguous(),
            torch.from_numpy(seen.astype(np.float32)),
            None if quadratic is None else quadratic.contiguous(),
            torch.from_numpy(nearness.astype(np.float32)),
        )


def true_motion(world: World, kept: Sequence[int]) -> dict[str, float]:
    """Statistics of a world's motion from one kept frame to the next: true tracks of points every 16 px of each.

    Returns:
        ``p10``, ``p50``, ``p90``: percentiles of displacements in pixels; ``objects_p50``: the median of points on
        objects; ``large``: the share in `LARGE`; ``hidden``: the share that is occluded in the next kept frame;
        ``bend_p90``: a percentile of the distance (px) of the point, half of the frames later, from the middle of its
        straight path.
    """
    y, x = np.mgrid[GRID // 2 : world.info.height : GRID, GRID // 2 : world.info.width : GRID]
    xy = np.stack([x.ravel(), y.ravel()], 1) + 0.5
    moved, seen, thing, bent = [], [], [], []
    for a, b in pairwise(kept):
        tracks = world.track(Queries(np.concatenate([xy, np.full((len(xy), 1), a)], 1)))
        moved.append(np.linalg.norm(tracks.xy[:, b] - tracks.xy[:, a], axis=1))
        seen.append(tracks.visible[:, b])
        thing.append(tracks.instance > 0)
        share = ((a + b) // 2 - a) / (b - a)
        straight = (1 - share) * tracks.xy[:, a] + share * tracks.xy[:, b]
        bent.append(np.linalg.norm(tracks.xy[:, (a + b) // 2] - straight, axis=1))
    distance, visible, objects, bend = (np.concatenate(v) for v in (moved, seen, thing, bent))
    p10, p50, p90 = np.percentile(distance, (10, 50, 90))
    return {
        "p10": float(p10),
        "p50": float(p50),
        "p90": float(p90),
        "objects_p50": float(np.median(distance[objects])) if objects.any() else 0.0,
        "large": float(((distance >= LARGE[0]) & (distance <= LARGE[1])).mean()),
        "hidden": float((~visible).mean()),
        "bend_p90": float(np.percentile(bend, 90)),
    }
