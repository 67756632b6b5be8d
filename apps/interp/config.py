"""Every switch of frame interpolation."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from trackime.config import check_choices, option
from trackime.errors import InputError, UnknownNameError

from .methods import DEFAULT_METHOD, METHODS


@dataclass(frozen=True)
class InterpConfig:
    """How many frames there will be, how they are made, and how they are written."""

    factor: int | None = option(None, "frames in the place of each; the duration stays")
    fps: str | float | None = option(None, "frames/s of the result: 60, 23.976 (24000/1001) or 60000/1001")
    slow: float | None = option(None, "slow motion: lasts so many times longer, at the video's rate or at --fps")
    tail: bool = option(True, "hold the last frame, so that the duration is exact; off: end with its time")
    input_fps: str | float | None = option(None, "frames/s of a folder of frames, which has no times (25)")
    method: str = option(
        DEFAULT_METHOD, "how frames are made; " + "; ".join(f"{name}: {m.help}" for name, m in METHODS.items())
    )
    curved: bool = option(True, "paths bend as the frames before and after say; off: they are straight")
    mend: bool = option(True, "points correct the flow; off: they bend paths alone")
    refine: bool = option(True, "flow is searched from the points' motion; off: their motion is taken as it is")
    points: int = option(200, "points on the grid that is followed; where flow is doubtful there are more")
    stretch: int = option(16, "frames in which the same points are followed")
    ime: bool = option(
        False, "TrackIME around the tracker: slower, the same points more surely; off: the tracker alone"
    )
    cuts: float = option(0.45, "unlikeness of two frames, 0 .. 1, from which a shot ends between them; 0: no cuts")
    dedup: bool = option(False, "frames that only repeat the one before are made anew")
    audio: str = option(
        "auto",
        "copy it, stretch it with --slow (the pitch stays), or none; auto: copied, none with --slow",
        ("auto", "copy", "stretch", "none"),
    )
    codec: str = option("", "FFmpeg's encoder, e.g. libx265; none: the best there is for the file's suffix")
    crf: int = option(16, "quality of the encoder, 0 (lossless) .. 51; 18 can hardly be told from the source")
    preset: str = option("", "the encoder's preset, e.g. slow; none: its own")
    depth: str = option(
        "auto", "bits a channel; auto: 10 (images: 16) where the video has more than 8", ("auto", "8", "10")
    )
    segment: int = option(120, "frames of the result that are finished together: what --resume may have to redo")

    def __post_init__(self) -> None:
        check_choices(self)
        if self.method not in METHODS:
            raise UnknownNameError("method", self.method, METHODS)
        if self.factor is None and self.fps is None and self.slow is None:
            raise InputError("expected --factor, --fps or --slow to say how many frames to make, got none")
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

    @property
    def slowness(self) -> Fraction:
        """How many times longer the result lasts: 2.4 is 12/5."""
        return Fraction(1 if self.slow is None else self.slow).limit_denominator(1000)
