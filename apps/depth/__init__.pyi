from .config import DepthConfig as DepthConfig
from .config import Exports as Exports
from .focal import given as given
from .maps import InitialDepth as InitialDepth
from .matches import LEAST_SIGMA as LEAST_SIGMA
from .matches import hierarchy as hierarchy
from .matches import make as make
from .pictures import write_pictures as write_pictures
from .run import Depth as Depth
from .run import depth as depth
from .sampling import read as read
from .shot import Shot as Shot

__all__ = [
    "LEAST_SIGMA",
    "Depth",
    "DepthConfig",
    "Exports",
    "InitialDepth",
    "Shot",
    "depth",
    "given",
    "hierarchy",
    "make",
    "read",
    "write_pictures",
]
