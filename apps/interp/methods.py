"""The methods that make frames, by name; what they are made of is loaded when one is asked for.

To add one: a `_Method` in `METHODS` with the names of its functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from trackime.errors import UnknownNameError
from trackime.ime import DEFAULT_SEGMENTER
from trackime.types import Tracks

from .interpolator import Between

if TYPE_CHECKING:
    from trackime.segmenters import PointSegmenter
    from trackime.trackers import PointTracker
    from trackime.video import Video

    from .config import InterpConfig

DEFAULT_TRACKER = "lk"
"""New frames need positions to a fraction of a pixel, more than they need every point found again."""


@dataclass(frozen=True)
class _Method:
    """A way of making frames.

    Attributes:
        help: one line of what it does.
        make: "module:function" within this package; called as `make_between` is, without the name, it gives a
            `Between`.
    """

    help: str
    make: str


METHODS: dict[str, _Method] = {
    "tracks": _Method("flow mended and bent by tracked points, splatted", "dense_motion:make_tracks"),
    "flow": _Method("optical flow, splatted", "dense_motion:make_flow"),
    "mean": _Method("both frames laid over each other, as a yardstick", "blend:make"),
}

DEFAULT_METHOD = "tracks"


def make_between(
    method: str,
    video: Video,
    config: InterpConfig,
    *,
    tracks: Tracks | None = None,
    cuts: Sequence[int] = (),
    duplicates: Sequence[int] = (),
    tracker: PointTracker | str = DEFAULT_TRACKER,
    segmenter: PointSegmenter | str = DEFAULT_SEGMENTER,
    device: str = "cpu",
) -> Between:
    """What makes the frames of a video.

    Args:
        method: a name of `METHODS`.
        video: the frames; it reads them itself.
        config: switches.
        tracks: of the whole video, to use instead of following points.
        cuts: frames that begin a shot.
        duplicates: frames that are made anew: nothing is learned from them.
        tracker, segmenter: what follows points, where the method does.
        device: where to compute.

    Raises:
        UnknownNameError: no such method.
    """
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    make = _load(METHODS[method].make)
    between: Between = make(
        video, config, tracks=tracks, cuts=cuts, duplicates=duplicates, tracker=tracker, segmenter=segmenter,
        device=device,
    )  # fmt: skip
    return between


def _load(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(import_module(f".{module}", __package__), function)
    return found
