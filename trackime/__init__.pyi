from .errors import TrackimeError as TrackimeError
from .formats import load as load
from .formats import save as save
from .ime import ImeConfig as ImeConfig
from .ime import track as track
from .types import Queries as Queries
from .types import Tracks as Tracks
from .types import VideoInfo as VideoInfo
from .video import open_video as open_video

__version__: str
__all__ = [
    "ImeConfig",
    "Queries",
    "TrackimeError",
    "Tracks",
    "VideoInfo",
    "__version__",
    "load",
    "open_video",
    "save",
    "track",
]
