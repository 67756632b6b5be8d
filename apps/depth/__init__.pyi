from .config import DepthConfig as DepthConfig
from .config import Exports as Exports
from .focal import resolve_focal as resolve_focal
from .initial_depth import InitialDepth as InitialDepth
from .matches import LEAST_SIGMA as LEAST_SIGMA
from .matches import depth_at as depth_at
from .matches import hierarchical_pairs as hierarchical_pairs
from .matches import make_matches as make_matches
from .request import DepthRequest as DepthRequest
from .result import DepthResult as DepthResult
from .result import load as load
from .run import depth as depth
from .run import estimate as estimate

__all__ = [
    "LEAST_SIGMA",
    "DepthConfig",
    "DepthRequest",
    "DepthResult",
    "Exports",
    "InitialDepth",
    "depth",
    "depth_at",
    "estimate",
    "hierarchical_pairs",
    "load",
    "make_matches",
    "resolve_focal",
]
