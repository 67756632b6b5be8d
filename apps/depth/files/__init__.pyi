from ._export import check as check
from ._export import export as export
from .colours import Colouring as Colouring
from .results import DepthResult as DepthResult
from .results import check_names as check_names

__all__ = ["Colouring", "DepthResult", "check", "check_names", "export"]
