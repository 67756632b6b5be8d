"""Every switch of following many points."""

from __future__ import annotations

from dataclasses import dataclass

from trackime.config import check_choices, option
from trackime.errors import InputError

DEFAULT_TRACKER = "correlation"
"""The tracker of points that are asked for beside those followed by patches; its figures were measured with it."""

LINES = 480
"""Height of the frame that lengths in pixels are of; in others they are in proportion."""


@dataclass(frozen=True)
class FollowConfig:
    """How points are followed."""

    method: str = option(
        "patch",
        "patch: each point set right by its first appearance; flow: dense flow from frame to frame alone",
        ("patch", "flow"),
    )
    spacing: float = option(16.0, f"pixels between points in a frame of {LINES} lines, in proportion in others")
    asked: int = option(
        0, "points each 48 frames that TrackIME follows, too (200 or so); takes far longer than all others"
    )
    cuts: bool = option(True, "find cuts: no point is followed across one; off: the video is one shot")

    def __post_init__(self) -> None:
        check_choices(self)
        if not 1 <= self.spacing <= LINES:
            raise InputError(f"spacing: expected 1 .. {LINES} pixels, got {self.spacing:g}")
        if self.asked < 0:
            raise InputError(f"asked: expected 0 points or more, got {self.asked}")
