from .flow import LEAST as LEAST
from .flow import DenseFlow as DenseFlow
from .flow import disagreement as disagreement
from .flow import lands as lands
from .flow import length as length
from .flow import pull as pull
from .mincut import contrast_edges as contrast_edges
from .mincut import min_cut as min_cut
from .mixtures import Mixture as Mixture
from .mixtures import fit as fit
from .mixtures import log_ratio as log_ratio
from .mixtures import to_lab as to_lab
from .regions import RegionTree as RegionTree
from .regions import build_tree as build_tree

__all__ = [
    "LEAST",
    "DenseFlow",
    "Mixture",
    "RegionTree",
    "build_tree",
    "contrast_edges",
    "disagreement",
    "fit",
    "lands",
    "length",
    "log_ratio",
    "min_cut",
    "pull",
    "to_lab",
]
