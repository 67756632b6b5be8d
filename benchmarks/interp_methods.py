"""The methods of interpolation that are measured."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from benchmarks.ebme import BiFlowNet, EbmeMotion, load
from benchmarks.interp import BASELINE, MEAN, Methods, Oracles
from benchmarks.interp_cases import Case
from trackime.errors import InputError, UnknownNameError
from trackime.ime import DEFAULT_SEGMENTER
from trackime.video import Video
from trackime_apps.interp import (
    DEFAULT_TRACKER,
    Blend,
    FrameInterpolator,
    InterpConfig,
    InterpInput,
    MotionSource,
    PairMotion,
    Synthesis,
    make_interpolator,
)

NETWORK = "network"
"""The motion of a published flow network in the package's synthesis; the user gives its weights."""
SWITCHES: dict[str, dict[str, Any]] = {
    BASELINE: {"method": "flow", "curved": False},
    "flow-curved": {"method": "flow"},
    "tracks-linear": {"method": "tracks", "curved": False, "refine": False},
    "tracks-curved": {"method": "tracks", "refine": False},
    "tracks": {"method": "tracks"},
}
"""The package's methods, by how they differ from its defaults."""
METHODS = (MEAN, BASELINE, NETWORK, *list(SWITCHES)[1:])
"""In the table's order; the last is the whole method."""


@dataclass(frozen=True)
class Maker:
    """Makes the package's methods for one video after another.

    Attributes:
        device: where they run.
        tracker, segmenter: of methods that track points.
        make: makes a `FrameInterpolator` by the method of its input.
        synthesise: ``synthesise(video, source, device)``, a `FrameInterpolator` of any motion.
    """

    device: str
    tracker: str = DEFAULT_TRACKER
    segmenter: str = DEFAULT_SEGMENTER
    make: Callable[[InterpInput], FrameInterpolator] = make_interpolator
    synthesise: Callable[[Video, MotionSource, str], FrameInterpolator] = Synthesis

    def named(self, name: str, video: Video) -> FrameInterpolator:
        """A method of the package."""
        config = InterpConfig(**SWITCHES[name])
        given = InterpInput(video, config, tracker=self.tracker, segmenter=self.segmenter, device=self.device)
        return self.make(given)

    def network(self, network: BiFlowNet, video: Video) -> FrameInterpolator:
        """The flow network's motion, in the same synthesis as the others."""
        return self.synthesise(video, EbmeMotion(video, network, self.device), self.device)


@dataclass(frozen=True)
class Straight:
    """Motion without its quadratic terms."""

    source: MotionSource

    def between(self, i: int, j: int) -> PairMotion:
        """The motion between frames i < j."""
        motion = self.source.between(i, j)
        return PairMotion(replace(motion.forward, quadratic=None), replace(motion.backward, quadratic=None))


def oracles(maker: Maker) -> Oracles:
    """The true motion of worlds in the package's synthesis, straight and quadratic: the upper bound for motion."""

    def make(straight: bool, case: Case) -> FrameInterpolator:
        if case.source is None:
            raise InputError(f"{case.name}: expected a world, whose true motion is known, for an oracle")
        source = Straight(case.source) if straight else case.source
        return maker.synthesise(case.video, source, maker.device)

    return {"true motion, straight": partial(make, True), "true motion": partial(make, False)}


def methods(
    names: Sequence[str] = (),
    weights: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    maker: Callable[[str], Maker] = Maker,
) -> Methods:
    """Methods by name.

    Args:
        names: of `METHODS`; empty: all of them, the network where it has weights.
        weights: of the network.
        device: where they run.
        maker: makes all but the mean, for a device.

    Raises:
        UnknownNameError: a name that is none of them.
        InputError: the network without weights, or weights without it; weights that are not there.
        FormatError: weights of something else.
    """
    chosen = tuple(dict.fromkeys(names)) or tuple(m for m in METHODS if m != NETWORK or weights is not None)
    for name in chosen:
        if name not in METHODS:
            raise UnknownNameError("method", name, METHODS)
    if NETWORK in chosen and weights is None:
        raise InputError(f"{NETWORK}: expected the file of its weights (--weights), got none")
    if NETWORK not in chosen and weights is not None:
        raise InputError(f"weights: expected {NETWORK} among the methods, got {', '.join(chosen)}")
    out: dict[str, Callable[[Video], FrameInterpolator]] = {}
    made = None if set(chosen) == {MEAN} else maker(device)
    for name in sorted(chosen, key=METHODS.index):
        if made is None or name == MEAN:
            out[name] = Blend
        elif name == NETWORK and weights is not None:
            out[name] = partial(made.network, load(weights))  # read once, not for every case
        else:
            out[name] = partial(made.named, name)
    return out
