"""Every switch of semi-dense tracking."""

from __future__ import annotations

from dataclasses import dataclass

from trackime.config import check_choices, option
from trackime.errors import InputError

DEFAULT_TRACKER = "correlation"
"""The tracker of `trackime_points`; the figures of docs/benchmarks.md were measured with it."""

LINES = 480
"""Height of the frame that lengths in pixels are of; in others they are in proportion."""


@dataclass(frozen=True)
class DenseConfig:
    """How dense points are tracked. Raises InputError for an option outside its range."""

    method: str = option(
        "patch",
        "patch: each point corrected by its template of birth; flow: dense flow from frame to frame alone",
        ("patch", "flow"),
    )
    spacing: float = option(16.0, f"pixels between points in a frame of {LINES} lines, in proportion in others")
    trackime_points: int = option(
        0, "points each 48 frames that TrackIME tracks, too (200 or so); 0: none; takes far longer than all others"
    )
    cuts: bool = option(True, "find cuts: no point is followed across one; off: the video is one shot")

    def __post_init__(self) -> None:
        check_choices(self)
        if not 1 <= self.spacing <= LINES:
            raise InputError(f"spacing: expected 1 .. {LINES} pixels, got {self.spacing:g}")
        if self.trackime_points < 0:
            raise InputError(f"trackime_points: expected 0 points or more, got {self.trackime_points}")
