from .colour import to_lab as to_lab
from .distance import signed_distance as signed_distance
from .filters import guided_filter as guided_filter
from .flow import MIN_FLOW_SIDE as MIN_FLOW_SIDE
from .flow import DenseFlow as DenseFlow
from .flow import flow_magnitude as flow_magnitude
from .flow import forward_backward_error as forward_backward_error
from .flow import lands_inside as lands_inside
from .flow import warp_backward as warp_backward
from .mincut import contrast_edges as contrast_edges
from .mincut import min_cut as min_cut
from .mixtures import Mixture as Mixture
from .mixtures import fit_mixture as fit_mixture
from .mixtures import log_ratio as log_ratio
from .regions import RegionTree as RegionTree
from .regions import build_tree as build_tree

__all__ = [
    "MIN_FLOW_SIDE",
    "DenseFlow",
    "Mixture",
    "RegionTree",
    "build_tree",
    "contrast_edges",
    "fit_mixture",
    "flow_magnitude",
    "forward_backward_error",
    "guided_filter",
    "lands_inside",
    "log_ratio",
    "min_cut",
    "signed_distance",
    "to_lab",
    "warp_backward",
]
