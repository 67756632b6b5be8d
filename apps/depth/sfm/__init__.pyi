from ._reprojection import Observations as Observations
from ._reprojection import Views as Views
from ._reprojection import errors as errors
from ._triangulate import triangulate as triangulate
from .degeneracy import check_frames as check_frames
from .incremental import reconstruct as reconstruct
from .world_points import POINTS as POINTS
from .world_points import PointColours as PointColours
from .world_points import WorldPoints as WorldPoints
from .world_points import points_of as points_of

__all__ = [
    "POINTS",
    "Observations",
    "PointColours",
    "Views",
    "WorldPoints",
    "check_frames",
    "errors",
    "points_of",
    "reconstruct",
    "triangulate",
]
