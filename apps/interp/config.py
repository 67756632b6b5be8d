"""Every switch of frame interpolation."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from trackime.config import check_choices, option
from trackime.errors import InputError, UnknownNameError

DEFAULT_TRACKER = "lk"
"""For new frames sub-pixel accuracy matters more than finding every lost point again."""

METHODS = {
    "tracks": "optical flow corrected by tracked points, splatted",
    "flow": "optical flow, splatted",
    "mean": "cross-fade of both frames, a baseline",
}
"""Methods that make frames, by name; the default first."""


@dataclass(frozen=True)
class InterpConfig:
    """How many frames are made, how, and how they are written.

    One of `factor`, `fps` and `slow` is needed, here or as an argument of `interpolate`; `fps` and `slow` combine.
    """

    factor: int | None = option(None, "frames in place of each input frame; the duration stays")
    fps: str | float | None = option(None, "frames/s of the result: 60, 23.976 (24000/1001) or 60000/1001")
    slow: float | None = option(
        None, "slow motion: how many times longer the result lasts, at the video's rate or at --fps"
    )
    tail: bool = option(True, "hold the last frame, so that the duration is exact; off: end with the last frame's time")
    input_fps: str | float | None = option(None, "frames/s of a folder of frames, which has no times (25)")
    method: str = option(
        next(iter(METHODS)), "how frames are made; " + "; ".join(f"{name}: {help}" for name, help in METHODS.items())
    )
    curved: bool = option(True, "quadratic motion, estimated from the frames before and after; off: straight paths")
    mend: bool = option(True, "points correct the flow; off: they only contribute to quadratic motion")
    refine: bool = option(True, "flow is refined from the points' motion; off: that motion is used unchanged")
    points: int = option(200, "points tracked on a grid; more are added where flow is unreliable")
    stretch: int = option(16, "frames through which the same points are tracked")
    ime: bool = option(False, "TrackIME around the tracker: slower, more reliable points; off: the tracker alone")
    cuts: float = option(0.45, "difference of two frames, 0 .. 1, from which a cut is assumed between them; 0: no cuts")
    dedup: bool = option(False, "replace frames that only repeat the one before")
    audio: str = option(
        "auto",
        "copy, stretch with --slow (the pitch stays), or none; auto: copy, none with --slow",
        ("auto", "copy", "stretch", "none"),
    )
    codec: str = option("", "FFmpeg's encoder, e.g. libx265; none: the best available for the file's suffix")
    crf: int = option(16, "quality of the encoder, 0 (lossless) .. 51; 18 is visually close to the source")
    preset: str = option("", "the encoder's preset, e.g. slow; none: its own")
    depth: str = option(
        "auto", "bits per channel; auto: 10 (images: 16) where the video has more than 8", ("auto", "8", "10")
    )
    segment: int = option(120, "frames of the result encoded together: what --resume may have to redo")

    def __post_init__(self) -> None:
        check_choices(self)
        if self.method not in METHODS:
            raise UnknownNameError("method", self.method, METHODS)
        if self.factor is not None and (self.fps is not None or self.slow is not None):
            raise InputError("--factor excludes --fps and --slow: expected one of them")
        if self.factor is not None and not 1 <= self.factor <= 1000:
            raise InputError(f"factor: expected 1 .. 1000, got {self.factor}")
        if self.slow is not None and not 1 <= self.slow <= 1000:
            raise InputError(f"slow: expected 1 .. 1000, got {self.slow:g}")
        if not 0 <= self.cuts < 1:
            raise InputError(f"cuts: expected 0 .. 1, got {self.cuts:g}")
        if not 0 <= self.crf <= 63:
            raise InputError(f"crf: expected 0 .. 63, got {self.crf}")
        for name, least in (("points", 1), ("stretch", 2)):
            if getattr(self, name) < least:
                raise InputError(f"{name}: expected {least} or more, got {getattr(self, name)}")
        if self.segment < 1:
            raise InputError(f"segment: expected 1 or more, got {self.segment}")
        if self.audio == "stretch" and self.slow is None:
            raise InputError("audio: stretch goes with --slow: expected copy or none")
        if self.audio == "copy" and self.slowness != 1:
            raise InputError("audio: copied with --slow it would end long before the video: expected stretch or none")

    def check_rate(self) -> None:
        """Raise InputError where none of `factor`, `fps` and `slow` gives how many frames to make."""
        if self.factor is None and self.fps is None and self.slow is None:
            raise InputError("expected --factor, --fps or --slow to give how many frames to make, got none")

    @property
    def slowness(self) -> Fraction:
        """How many times longer the result lasts: 2.4 is 12/5."""
        return Fraction(1 if self.slow is None else self.slow).limit_denominator(1000)
