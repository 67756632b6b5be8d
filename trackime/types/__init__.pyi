from .ragged import RaggedTracks as RaggedTracks
from .tracks import SCHEMA as SCHEMA
from .tracks import VISIBLE as VISIBLE
from .tracks import Queries as Queries
from .tracks import Tracks as Tracks
from .tracks import VideoInfo as VideoInfo

__all__ = ["SCHEMA", "VISIBLE", "Queries", "RaggedTracks", "Tracks", "VideoInfo"]
