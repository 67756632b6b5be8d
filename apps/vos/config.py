"""Every switch of video object segmentation."""

from __future__ import annotations

from dataclasses import dataclass

from trackime.config import check_choices, option
from trackime.errors import InputError

DEFAULT_TRACKER = "correlation"
"""The tracker that the defaults were tuned and the published figures measured with."""


@dataclass(frozen=True)
class VosConfig:
    """How masks are propagated through a video."""

    points: int = option(32, "points tracked on each object; small ones get one per 16 pixels, at least 4")
    strategy: str = option(
        "mixed",
        "where they are sampled: spread (k-medoids), on textured corners, at random, or half spread and half corners",
        ("mixed", "k-medoids", "corners", "random"),
    )
    negatives: int = option(8, "points tracked around each object, as background; 0: none")
    ring: float = option(0.5, "width of the ring they lie in, as a share of the object's size (root of its area)")
    side: int = option(480, "longer side in pixels the frames are shrunk to for the cut; 0: the video's own size")
    threshold: float = option(0.5, "an object's pixels are those with a probability above this")
    smoothing: float = option(6.0, "price of a pixel of border in a flat area, nats; larger is smoother, 0: none")
    band: float = option(40.0, "pixels of the cut frame beyond the propagated mask where the object may still be found")
    colour: float = option(3.0, "most nats of evidence from a pixel's colour; 0: colours are ignored")
    frozen: float = option(0.4, "weight of the first frame's colours against the recent frames' (0.3 or more is wise)")
    shape: float = option(2.0, "most nats of evidence from the propagated masks; 0: they only limit where to look")
    seeds: float = option(3.0, "nats of evidence from a visible tracked point for the pixels beside it; 0: none")
    flow: bool = option(True, "optical flow between neighbouring frames propagates the mask too; off: tracks alone")
    motion: float = option(2.0, "most nats of evidence from moving with the object, or with its surroundings; 0: none")
    reseed: int = option(8, "frames between checks for parts of an object without points, which get new ones; 0: never")
    prompts: str = option(
        "joint",
        "with a segmenter other than graphcut: all points of an object in one prompt, or one each and a vote",
        ("joint", "each"),
    )
    abstain: float = option(0.1, "an object of less confidence than this is left out of a frame; 0: never")
    seed: int = option(0, "seed of the sampling of points and of the colour models")

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("points", "negatives", "side", "reseed", "seed"):
            if getattr(self, name) < 0:
                raise InputError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        if 0 < self.side < 32:
            raise InputError(f"side: expected 0 or at least 32 pixels, got {self.side}")
        for name in ("ring", "smoothing", "band", "colour", "shape", "seeds", "motion"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name}: expected 0 or more, got {getattr(self, name):g}")
        for name in ("threshold", "frozen", "abstain"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}: expected a share in [0, 1], got {getattr(self, name):g}")
