"""The contract between the application and its methods: `FrameInterpolator` and its input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from trackime.arrays import Float32, UInt8, UInt16
from trackime.ime import DEFAULT_SEGMENTER
from trackime.segmenters import PointSegmenter
from trackime.trackers import PointTracker
from trackime.types import Tracks
from trackime.video import Video

from .config import DEFAULT_TRACKER, InterpConfig
from .timeline import Marks


@dataclass(frozen=True, eq=False)
class InterpInput:
    """Input of an interpolation and of the method that makes its frames.

    Attributes:
        video: the input frames; methods read them themselves.
        config: the switches.
        marks: cuts and duplicates of the video.
        tracks: of the whole video, used in place of following points; None: points are followed.
        tracker, segmenter: what follows points, where the method does.
        device: where to compute: cpu, cuda, cuda:N or mps.
    """

    video: Video
    config: InterpConfig
    marks: Marks = field(default_factory=Marks)
    tracks: Tracks | None = None
    tracker: PointTracker | str = DEFAULT_TRACKER
    segmenter: PointSegmenter | str = DEFAULT_SEGMENTER
    device: str = "cpu"


Pixels = UInt8 | UInt16
"""A frame [H, W, C] in the full scale of its type, RGB or RGB with alpha."""


class FrameInterpolator(Protocol):
    """Makes frames between two frames of the video it was made for."""

    def __call__(self, i: int, j: int, taus: Sequence[float]) -> Iterator[Float32]:
        """New frames between frames i < j, which belong to one shot. Called for increasing i.

        Args:
            i, j: frame indices; j may be greater than i + 1 where the frames between them are replaced.
            taus: times of the new frames, 0 < tau < 1, increasing.

        Returns:
            For each tau a frame float32 [H, W, C] in [0, 1], C = 3 (RGB) or 4 (RGB not premultiplied, alpha) as the
            video has it.
        """
