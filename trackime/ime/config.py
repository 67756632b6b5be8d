"""Every switch of the method, in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from trackime.config import check_choices, option
from trackime.errors import InputError

DEFAULT_TRACKER = "trackime-s"
"""Of `track` and the command line: with TrackIME around it, it leads on worlds held out from training
(docs/models/trackime-s.md)."""

DEFAULT_SEGMENTER = "graphcut"


_NEEDS = {"joint_masks": "instance_motion", "resample": "clip", "fuse_full": "clip", "fusion_weights": "fusion"}
"""Options that change nothing while another is off."""


@dataclass(frozen=True)
class ImeConfig:
    """How TrackIME runs around a tracker.

    The defaults are the published method (InstaTAP) but for three options (docs/method.md, docs/benchmarks.md):
        windows: "instance", not "query". The encoder runs once a window and frame, so that a window a query dominates
            all other cost; shared windows grow with instances.
        window_scales: shares of the frame's shorter side, not 960 and 384 pixels, which suit 1080p alone: of 480p the
            first is the whole frame. The finer one is 512/1080, not 384/1080, in which more points were lost than
            precision gained. `windows_px=(960, 384)` is the published form.
        fusion_weights: "precision", not "visibility": a tracker that resizes windows to its input errs by a share of
            its own pixels, so that finer windows are more exact, which visibility does not know.

    Raises:
        InputError: an option outside its range; one that has no effect without another that is off.
    """

    instance_motion: bool = option(True, "guide each query by the motion of its instance; off: the tracker's own track")
    clip: bool = option(True, "track again inside windows along the instance's motion; off: the full frame only")
    fusion: bool = option(True, "average the windows' outputs by visibility; off: the finest window alone")
    fusion_weights: str = option(
        "precision",
        "what counts in the fusion: visibility (as published), or visibility and the scale's precision",
        ("precision", "visibility"),
    )
    neighbours: int = option(32, "points an instance is tracked by, the query included; 1: the query alone")
    weights: str = option(
        "visibility",
        "weight of a neighbour's step: visibility at its end, equal, or smaller of both ends",
        ("visibility", "equal", "both"),
    )
    windows: str = option(
        "instance",
        "instance: queries that keep together share windows; query: a window each (the published form)",
        ("instance", "query"),
    )
    window_scales: tuple[float, ...] = option(
        (960 / 1080, 512 / 1080), "sides of the windows as shares of the frame's shorter side, coarse to fine"
    )
    windows_px: tuple[int, ...] = option((), "sides of the windows in pixels, instead of shares (published: 960,384)")
    resample: bool = option(
        False, "sample and average neighbours again inside each window (TrackIME; needs clip); off: InstaTAP"
    )
    fuse_full: bool = option(False, "the full-frame pass takes part in the fusion (needs clip)")
    joint_masks: bool = option(
        False, "weigh neighbours by the instance's mask in each frame (one more pass; needs instance_motion)"
    )
    margin: float = option(0.15, "a query nearer than this share of the side to a shared window's edge gets another")
    confidence: float = option(0.5, "neighbours are drawn where the mask's confidence is at least this")
    cuts: bool = option(True, "find cuts: they end a track's visibility; off: the video is one shot")
    chunk: int = option(16, "frames held in memory at once; changes no result")
    seed: int = option(0, "seed of the neighbours' sampling")

    @classmethod
    def plain(cls, **changes: Any) -> ImeConfig:
        """The tracker alone, in the full frame: no neighbours, no windows."""
        return cls(**{"instance_motion": False, "clip": False, "fusion": False, **changes})

    def alone(self) -> ImeConfig:
        """As `plain`, with what else is configured here."""
        plain = replace(self, joint_masks=False, resample=False, fuse_full=False, fusion_weights="precision")
        return replace(plain, instance_motion=False, clip=False, fusion=False, neighbours=1)

    def __post_init__(self) -> None:
        check_choices(self)
        if self.neighbours < 1:
            raise InputError(f"neighbours: expected 1 or more, got {self.neighbours}")
        if self.chunk < 1:
            raise InputError(f"chunk: expected 1 frame or more, got {self.chunk}")
        if not 0 <= self.margin < 0.5:
            raise InputError(f"margin: expected a share in [0, 0.5), got {self.margin:g}")
        if not 0 < self.confidence < 1:
            raise InputError(f"confidence: expected a probability in (0, 1), got {self.confidence:g}")
        if any(not 0 < s <= 1 for s in self.window_scales):
            raise InputError(f"window_scales: expected shares in (0, 1], got {self.window_scales}")
        if self.clip and not (self.window_scales or self.windows_px):
            raise InputError("window_scales: expected at least one, or windows_px, or clip off; got none")
        defaults = {item.name: item.default for item in fields(self)}
        for name, needed in _NEEDS.items():
            if getattr(self, name) != defaults[name] and not getattr(self, needed):
                raise InputError(f"{name}: has no effect without {needed}; expected {needed} on, or no {name}")
        if self.seed < 0:
            raise InputError(f"seed: expected 0 or more, got {self.seed}")
        if any(side < 8 for side in self.windows_px):
            raise InputError(f"windows_px: expected sides of 8 pixels or more, got {self.windows_px}")
