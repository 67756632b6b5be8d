"""trackime: long-term point tracks at a video's own resolution.

The names below are imported when first used; importing the package loads no torch.
"""

from typing import TYPE_CHECKING

from trackime.lazy import lazy_names

if TYPE_CHECKING:
    from trackime.errors import TrackimeError as TrackimeError
    from trackime.formats import load as load
    from trackime.formats import save as save
    from trackime.ime import ImeConfig as ImeConfig
    from trackime.ime import track as track
    from trackime.types import Queries as Queries
    from trackime.types import Tracks as Tracks
    from trackime.types import VideoInfo as VideoInfo
    from trackime.video import open_video as open_video

__version__ = "0.1.0"

_HOMES = {
    "ImeConfig": "trackime.ime",
    "Queries": "trackime.types",
    "TrackimeError": "trackime.errors",
    "Tracks": "trackime.types",
    "VideoInfo": "trackime.types",
    "load": "trackime.formats",
    "open_video": "trackime.video",
    "save": "trackime.formats",
    "track": "trackime.ime",
}
__all__ = ["__version__", *_HOMES]
__getattr__ = lazy_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return list(__all__)
