"""The methods that make frames, by name; what they are made of is loaded when one is asked for.

To add one: a `Method` in `METHODS` with the names of its functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from trackime.errors import UnknownNameError
from trackime.types import Tracks

from .between import Between

if TYPE_CHECKING:
    from trackime.video import Video

    from .config import InterpConfig

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Method:
    """A way of making frames.

    Attributes:
        help: one line of what it does.
        make: "module:function" within this package, called as ``make(video, config, tracks=, cuts=, device=,
            progress=)``, gives a `Between`.
        track: the same of what follows the points it needs before any frame is made, called as ``track(video, config,
            cuts=, tracker=, segmenter=, device=, progress=)``, gives `Tracks`; empty: it needs none.
    """

    help: str
    make: str
    track: str = ""


METHODS: dict[str, Method] = {
    "mean": Method("both frames laid over each other, as a yardstick", "mean:make"),
}

DEFAULT_METHOD = "mean"


def make_between(
    method: str,
    video: Video,
    config: InterpConfig,
    *,
    tracks: Tracks | None = None,
    cuts: Sequence[int] = (),
    device: str = "cpu",
    progress: Report | None = None,
) -> Between:
    """What makes the frames of a video.

    Args:
        method: a name of `METHODS`.
        video: the frames; it reads them itself.
        config: switches.
        tracks: of the whole video, where the method uses them.
        cuts: frames that begin a shot.
        device: where to compute.
        progress: called with (stage, done, total).

    Raises:
        UnknownNameError: no such method.
    """
    make = _load(_find(method).make)
    between: Between = make(video, config, tracks=tracks, cuts=cuts, device=device, progress=progress)
    return between


def needs_tracks(method: str) -> bool:
    """Whether a method follows points before it makes frames."""
    return bool(_find(method).track)


def track_for(
    method: str,
    video: Video,
    config: InterpConfig,
    *,
    cuts: Sequence[int] = (),
    tracker: str,
    segmenter: str,
    device: str = "cpu",
    progress: Report | None = None,
) -> Tracks:
    """The tracks a method needs of the whole video; args as in `make_between`, and names of tracker and segmenter.

    Raises:
        UnknownNameError: no such method.
    """
    track = _load(_find(method).track)
    found: Tracks = track(
        video, config, cuts=cuts, tracker=tracker, segmenter=segmenter, device=device, progress=progress
    )
    return found


def _find(method: str) -> Method:
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    return METHODS[method]


def _load(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(import_module(f".{module}", __package__), function)
    return found
