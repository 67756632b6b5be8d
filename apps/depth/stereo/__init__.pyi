from ._densify import MovingMasks as MovingMasks
from ._densify import densify as densify
from ._fill import fill as fill
from ._neighbours import SparsePoints as SparsePoints

__all__ = ["MovingMasks", "SparsePoints", "densify", "fill"]
