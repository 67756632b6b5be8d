from ._particle import ParticleNetwork as ParticleNetwork
from .correlation import build_pyramid as build_pyramid
from .costinit import STRIDE as STRIDE
from .cotracker import LEVELS as LEVELS
from .cotracker import CoTracker3 as CoTracker3
from .cotracker import CoTrackerEstimate as CoTrackerEstimate
from .cotracker import FeatureLevel as FeatureLevel
from .cotracker import as_level as as_level
from .fpn import STRIDES as STRIDES
from .fpn import unit as unit
from .locotrack import FIRST_SIZE as FIRST_SIZE
from .locotrack import LocoTrack as LocoTrack
from .locotrack import LocoTrackMaps as LocoTrackMaps
from .locotrack import QueryFeatures as QueryFeatures
from .locotrack import blank as blank
from .locotrack import size_of as size_of
from .mixer import Context as Context
from .tapir import SIZE as SIZE
from .tapir import Descriptors as Descriptors
from .tapir import Grids as Grids
from .tapir import Tapir as Tapir
from .tapir import TapirEstimate as TapirEstimate
from .tapir import TapirVariant as TapirVariant
from .tapir import final as final
from .tapir import levels_for as levels_for
from .trackime_s import LARGE as LARGE
from .trackime_s import SMALL as SMALL
from .trackime_s import LastSeen as LastSeen
from .trackime_s import NetworkSize as NetworkSize
from .trackime_s import QueriedPoints as QueriedPoints
from .trackime_s import TrackimeS as TrackimeS
from .trackime_s import TrackimeSEstimate as TrackimeSEstimate
from .trackime_s import WindowResult as WindowResult

__all__ = [
    "FIRST_SIZE",
    "LARGE",
    "LEVELS",
    "SIZE",
    "SMALL",
    "STRIDE",
    "STRIDES",
    "CoTracker3",
    "CoTrackerEstimate",
    "Context",
    "Descriptors",
    "FeatureLevel",
    "Grids",
    "LastSeen",
    "LocoTrack",
    "LocoTrackMaps",
    "NetworkSize",
    "ParticleNetwork",
    "QueriedPoints",
    "QueryFeatures",
    "Tapir",
    "TapirEstimate",
    "TapirVariant",
    "TrackimeS",
    "TrackimeSEstimate",
    "WindowResult",
    "as_level",
    "blank",
    "build_pyramid",
    "final",
    "levels_for",
    "size_of",
    "unit",
]
