from ._densify import DensifyConfig as DensifyConfig
from ._densify import MovingMasks as MovingMasks
from ._densify import densify as densify
from ._fill import fill as fill
from ._neighbours import SparsePoints as SparsePoints

__all__ = ["DensifyConfig", "MovingMasks", "SparsePoints", "densify", "fill"]
