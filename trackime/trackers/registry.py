"""Point trackers: `create("lk")`, `names()`, and the contract `PointTracker`."""

from typing import Any

from trackime.registry import Registry
from trackime.trackers.base import PointTracker

_REGISTRY: Registry[PointTracker] = Registry(
    "tracker",
    "trackime.trackers",
    {
        "lk": "trackime.trackers.lk:LucasKanade",
        "correlation": "trackime.trackers.correlation:Correlation",
        "trackime-s": "trackime.trackers.trackime_s:trackime_s",
        "cotracker3": "trackime.trackers.cotracker:cotracker3",
        "cotracker3-online": "trackime.trackers.cotracker:cotracker3_online",
        "locotrack-small": "trackime.trackers.locotrack:small",
        "locotrack-base": "trackime.trackers.locotrack:base",
        "pips": "trackime.trackers.pips:pips",
        "pips2": "trackime.trackers.pips2:pips2",
        "tapir": "trackime.trackers.tapir:tapir",
        "bootstapir": "trackime.trackers.tapir:bootstapir",
        "causal-bootstapir": "trackime.trackers.tapir:causal_bootstapir",
        "tapnet": "trackime.trackers.tapir:tapnet",
    },
)
names = _REGISTRY.names


def create(name: str, device: str = "cpu", **options: Any) -> PointTracker:
    """The tracker called `name`, on `device`. Raises UnknownNameError, InputError."""
    return _REGISTRY.create(name, device=device, **options)
