"""Which methods of interpolation are measured, and what makes each of them for a video."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.ebme import EbmeMotion, load
from benchmarks.interp import BASELINE, MEAN, Mean, Methods
from trackime.errors import InputError, UnknownNameError
from trackime.video import Video
from trackime_apps.interp.between import Between

NETWORK = "network"
"""The motion of a published flow network in the same synthesis; its weights are given by the user."""
METHODS = (MEAN, BASELINE, NETWORK, "tracks-linear", "tracks-curved", "tracks")
"""In the table's order; the last is the whole method."""

Make = Callable[..., Between]
"""``make(method, video, device=..., **options)``; for other motion ``make("motion", video, motion=a MotionSource)``."""


def methods(
    names: Sequence[str] = (),
    weights: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    make: Make | None = None,
    **options: Any,
) -> Methods:
    """Methods by name.

    Args:
        names: of `METHODS`; empty: all of them, the network where it has weights.
        weights: of the network.
        device: where they run.
        make: makes the package's methods; None: `trackime_apps.interp.methods.make_between`.
        options: handed on to `make`.

    Raises:
        UnknownNameError: a name that is none of them.
        InputError: the network without weights, weights that are not there.
        FormatError: weights of something else.
    """
    chosen = tuple(dict.fromkeys(names)) or tuple(m for m in METHODS if m != NETWORK or weights is not None)
    for name in chosen:
        if name not in METHODS:
            raise UnknownNameError("method", name, METHODS)
    if (NETWORK in chosen) != (weights is not None):
        missing, given = (
            ("--weights", f"--method {NETWORK}") if weights is None else (f"--method {NETWORK}", "--weights")
        )
        raise InputError(f"{NETWORK}: expected {missing} beside {given}, got none")
    if make is None and set(chosen) != {MEAN}:
        from trackime_apps.interp.methods import make_between as make
    out: dict[str, Callable[[Video], Between]] = {}
    for name in sorted(chosen, key=METHODS.index):
        if name == MEAN:
            out[name] = Mean
            continue
        assert make is not None
        if name == NETWORK:
            assert weights is not None
            network = load(weights)  # once, not for every case
            out[name] = lambda video: make(
                "motion", video, motion=EbmeMotion(video, network, device), device=device, **options
            )
        else:
            out[name] = partial(make, name, device=device, **options)
    return out
