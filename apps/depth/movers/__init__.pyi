from .movers import Movers as Movers
from .movers import find as find

__all__ = ["Movers", "find"]
