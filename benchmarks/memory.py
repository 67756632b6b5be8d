"""Memory over a long video: resident size, sampled while the tracker runs."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Report, status
from trackime import segmenters, trackers
from trackime.ime import ImeConfig, run
from trackime.types import VideoInfo
from trackime.video import VideoWriter, open_video
from trackime.worlds import World, make_world

MIB = 2**20


def resident() -> int:
    """Bytes of this process in memory now (not the maximum it ever had)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Sampler:
    """Resident size every 20 ms, each with how far the current stage has come."""

    def __init__(self) -> None:
        self.samples: list[tuple[str, float, int]] = []
        self.stage, self.share = "start", 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def progress(self, stage: str, done: int, total: int) -> None:
        """To be given to `run`."""
        self.stage, self.share = stage, done / max(1, total)
        self.samples.append((self.stage, self.share, resident()))

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.samples.append((self.stage, self.share, resident()))


@dataclass(frozen=True)
class LongVideo:
    """A world in a file: its frames, size (width, height), queries in the first frame, and folder."""

    frames: int
    size: tuple[int, int]
    queries: int
    folder: Path


def long_video(
    report: Report, clip: LongVideo, tracker: str, segmenter: str, base: ImeConfig, device: str = "cpu"
) -> None:
    """A world written to a file, then tracked; peaks of the first and the second half of each stage.

    The video is read from a file, like a user's: the benchmark holds nothing of it.
    """
    width, height = clip.size
    path = clip.folder / f"world-{width}x{height}-{clip.frames}.mp4"
    world = make_world(seed=0, width=width, height=height, frames=clip.frames, objects=4)
    if not path.exists():
        _write(world, path)
    points = world.sample(clip.queries, seed=0, t=0).queries
    models = trackers.create(tracker, device=device), segmenters.create(segmenter, device=device)
    video = open_video(path)
    start = time.perf_counter()
    with Sampler() as sampler:
        result = run(video, points, *models, base, progress=sampler.progress)
    seconds = time.perf_counter() - start
    whole = {"first": 0, "second": 0}
    for stage in dict.fromkeys(s for s, _, _ in sampler.samples):
        rows = [(share, size) for s, share, size in sampler.samples if s == stage]
        first = max((size for share, size in rows if share <= 0.5), default=0)
        second = max((size for share, size in rows if share > 0.5), default=0)
        if min(first, second) == 0:  # a stage too short to have halves
            continue
        whole = {"first": max(whole["first"], first), "second": max(whole["second"], second)}
        report.add(
            stage=stage,
            first_half_MiB=first / MIB,
            second_half_MiB=second / MIB,
            growth_percent=100 * (second / first - 1),
        )
    report.add(
        stage="whole run",
        first_half_MiB=whole["first"] / MIB,
        second_half_MiB=whole["second"] / MIB,
        growth_percent=100 * (whole["second"] / whole["first"] - 1),
    )
    report.details.update(
        frames=clip.frames,
        size=[width, height],
        queries=clip.queries,
        tracker=tracker,
        windows=base.windows,
        seconds=seconds,
        operations=result.operations.as_dict(),
    )


def _write(world: World, path: Path) -> None:
    info: VideoInfo = world.info
    status(f"writing {path}")
    with VideoWriter(path, info.width, info.height, fps=info.fps) as writer:
        for t in range(info.frames):
            writer.write(world.frame(t))
