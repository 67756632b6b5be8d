from ._drive import drive as drive
from .config import DEFAULT_SEGMENTER as DEFAULT_SEGMENTER
from .config import DEFAULT_TRACKER as DEFAULT_TRACKER
from .config import ImeConfig as ImeConfig
from .fusion import fuse as fuse
from .masks import instance_masks as instance_masks
from .motion import instance_steps as instance_steps
from .motion import integrate as integrate
from .motion import prefer_query as prefer_query
from .neighbours import Instance as Instance
from .neighbours import find_instances as find_instances
from .operations import Operations as Operations
from .pipeline import Result as Result
from .pipeline import run as run
from .pipeline import track as track
from .progressive import plan_windows as plan_windows
from .progressive import track_in_windows as track_in_windows
from .pruning import window_sides as window_sides

__all__ = [
    "DEFAULT_SEGMENTER",
    "DEFAULT_TRACKER",
    "ImeConfig",
    "Instance",
    "Operations",
    "Result",
    "drive",
    "find_instances",
    "fuse",
    "instance_masks",
    "instance_steps",
    "integrate",
    "plan_windows",
    "prefer_query",
    "run",
    "track",
    "track_in_windows",
    "window_sides",
]
