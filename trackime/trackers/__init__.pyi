from .base import Features as Features
from .base import PointTracker as PointTracker
from .base import chunk_spans as chunk_spans
from .base import query_chunks as query_chunks
from .lk import STRIDE_SIDE as STRIDE_SIDE
from .registry import create as create
from .registry import names as names
from .trackime_s import EmbeddedTracker as EmbeddedTracker
from .trackime_s import save_weights as save_weights

__all__ = [
    "STRIDE_SIDE",
    "EmbeddedTracker",
    "Features",
    "PointTracker",
    "chunk_spans",
    "create",
    "names",
    "query_chunks",
    "save_weights",
]
