from ._triangulate import triangulate as triangulate
from .bundle import Observed as Observed
from .bundle import Views as Views
from .bundle import errors as errors
from .degeneracy import check_frames as check_frames
from .incremental import reconstruct as reconstruct
from .world_points import POINTS as POINTS
from .world_points import PointColours as PointColours
from .world_points import WorldPoints as WorldPoints
from .world_points import points_of as points_of

__all__ = [
    "POINTS",
    "Observed",
    "PointColours",
    "Views",
    "WorldPoints",
    "check_frames",
    "errors",
    "points_of",
    "reconstruct",
    "triangulate",
]
