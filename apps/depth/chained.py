"""Points chained along dense flow from frame to frame, without a memory: what following by patches is held against."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trackime.trackers.framepair import FramePair
from trackime.trackers.patches import length

from ..flow import Field
from .live import Live, at, inside

ENDS = 1.0
"""Pixels by which flow there and back may disagree before a point ends."""
DRIFT = 0.15
"""Pixels of error that each frame adds (measured on scenes: a median of 0.1 to 0.2)."""


def step(live: Live, pair: FramePair, flow: Field, back: Field) -> Live:
    """The same points in the next frame; those that cannot be followed are gone. Arguments as of `live.step`."""
    moved = at(flow, live.xy)
    place = live.xy + moved
    doubt = length(moved + at(back, place))
    sigma = np.hypot(live.sigma, np.float32(DRIFT) + doubt / 2)
    good = (doubt < ENDS) & inside(place, pair.after)
    return replace(live, xy=place, age=live.age + 1, sigma=sigma.astype(np.float32)).take(good)
