from ._densify import densify as densify
from ._fill import fill as fill

__all__ = ["densify", "fill"]
