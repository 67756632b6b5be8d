"""Everything that decides how depth of a video is estimated, beside the video itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trackime.dense import DEFAULT_TRACKER, DenseConfig
from trackime.errors import InputError
from trackime.ime import DEFAULT_SEGMENTER

from .config import DepthConfig
from .solver import SolverConfig
from .source import Source

if TYPE_CHECKING:
    from trackime.segmenters import PointSegmenter
    from trackime.trackers import PointTracker


@dataclass(frozen=True)
class DepthRequest:
    """How depth is estimated.

    Attributes:
        depth: options of the application.
        dense: how points are tracked; shots are split by `depth.cuts`, not by its `cuts`.
        solver: options of the solver; its `focal` follows from `focal` and `depth.zoom`.
        source: of the initial depth.
        focal: focal length in pixels, kept as it is; None: estimated.
        tracker, segmenter: of the points that TrackIME tracks, as in `trackime.track`.
        device: auto, cpu, cuda, cuda:N or mps.

    Raises:
        InputError: a focal length that is not above 0, options that exclude each other.
    """

    depth: DepthConfig = field(default_factory=DepthConfig)
    dense: DenseConfig = field(default_factory=DenseConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)
    source: Source = field(default_factory=Source)
    focal: float | None = None
    tracker: PointTracker | str = DEFAULT_TRACKER
    segmenter: PointSegmenter | str = DEFAULT_SEGMENTER
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.focal is not None and not 0 < self.focal < float("inf"):
            raise InputError(f"focal: expected pixels above 0, got {self.focal:g}")
        if self.focal is not None and self.depth.zoom:
            raise InputError("zoom: expected it off where the focal length is given: that is kept for all frames")
        if not self.depth.solve and not self.source.parallax:
            raise InputError("solve: expected it on where depth does not come from parallax: cameras are unknown then")
