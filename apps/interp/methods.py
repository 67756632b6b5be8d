"""The methods that make frames, each assembled from its parts.

To add one: its name and help in `config.METHODS`, and a function here.
"""

from __future__ import annotations

from collections.abc import Callable

from trackime.errors import UnknownNameError
from trackime.video import MotionFrames

from ._tracked_points import CONTEXT, GivenTracks, PointSource, TrackedPoints
from .blend import Blend
from .config import METHODS
from .flow_estimation import FlowEstimator
from .interpolator import FrameInterpolator, InterpInput
from .synthesis import Synthesis


def make_interpolator(given: InterpInput) -> FrameInterpolator:
    """The interpolator of a video, by the method that `given.config.method` names.

    Raises:
        UnknownNameError: no such method.
    """
    method = given.config.method
    if method not in _MAKE:
        raise UnknownNameError("method", method, METHODS)
    return _MAKE[method](given)


def _tracks(given: InterpInput) -> Synthesis:
    """Frames by flow that tracked points correct."""
    config = given.config
    frames = MotionFrames(given.video, given.marks.cuts, given.marks.duplicates, config.stretch + 2 * CONTEXT + 4)
    points: PointSource
    points = TrackedPoints(frames, given) if given.tracks is None else GivenTracks(frames, given.tracks)
    source = FlowEstimator(frames, points, config.curved, config.mend, config.refine)
    return Synthesis(given.video, source, given.device)


def _flow(given: InterpInput) -> Synthesis:
    """Frames by flow alone."""
    frames = MotionFrames(given.video, given.marks.cuts, given.marks.duplicates)
    return Synthesis(given.video, FlowEstimator(frames, curved=given.config.curved), given.device)


def _mean(given: InterpInput) -> Blend:
    """Frames by cross-fading."""
    return Blend(given.video)


_MAKE: dict[str, Callable[[InterpInput], FrameInterpolator]] = {"tracks": _tracks, "flow": _flow, "mean": _mean}
