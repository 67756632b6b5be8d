"""What every step of a run works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from trackime.arrays import UInt8
from trackime.ime.config import ImeConfig
from trackime.ime.operations import Operations
from trackime.progress import Report, silent
from trackime.segmenters import PointSegmenter
from trackime.trackers import PointTracker


class FrameReader(Protocol):
    """What the steps need of a video."""

    def __len__(self) -> int: ...
    def read(self, t0: int, t1: int) -> UInt8: ...


@dataclass(frozen=True, eq=False)
class RunContext:
    """One run over one shot.

    Attributes:
        video: its frames; read as often as needed.
        tracker: any point tracker.
        segmenter: any point-prompted segmenter.
        config: switches of the method.
        operations: counts the work.
        progress: called with (stage, done, total).
    """

    video: FrameReader
    tracker: PointTracker
    segmenter: PointSegmenter
    config: ImeConfig
    operations: Operations = field(default_factory=Operations)
    progress: Report = silent
