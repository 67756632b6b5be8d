from .base import Features as Features
from .base import PointTracker as PointTracker
from .base import chunk_spans as chunk_spans
from .registry import create as create
from .registry import names as names
from .trackime_s import EmbeddedOptions as EmbeddedOptions
from .trackime_s import EmbeddedTracker as EmbeddedTracker
from .trackime_s import load_weights as load_weights
from .trackime_s import save_weights as save_weights

__all__ = [
    "EmbeddedOptions",
    "EmbeddedTracker",
    "Features",
    "PointTracker",
    "chunk_spans",
    "create",
    "load_weights",
    "names",
    "save_weights",
]
