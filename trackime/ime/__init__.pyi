from .config import DEFAULT_SEGMENTER as DEFAULT_SEGMENTER
from .config import DEFAULT_TRACKER as DEFAULT_TRACKER
from .config import ImeConfig as ImeConfig
from .operations import Operations as Operations
from .pipeline import TrackResult as TrackResult
from .pipeline import run as run
from .pipeline import track as track

__all__ = [
    "DEFAULT_SEGMENTER",
    "DEFAULT_TRACKER",
    "ImeConfig",
    "Operations",
    "TrackResult",
    "run",
    "track",
]
