"""Point-prompted segmenters: `create("graphcut")`, `names()`, and the contract `PointSegmenter`."""

from typing import Any

from trackime.registry import Registry
from trackime.segmenters.base import PointSegmenter

__all__ = ["PointSegmenter", "create", "names"]

REGISTRY: Registry[PointSegmenter] = Registry(
    "segmenter",
    "trackime.segmenters",
    {"graphcut": "trackime.segmenters.graphcut:GraphCut"},
)
names = REGISTRY.names


def create(name: str, device: str = "cpu", **options: Any) -> PointSegmenter:
    """The segmenter called `name`, on `device`. Raises UnknownNameError, InputError."""
    return REGISTRY.create(name, device=device, **options)
