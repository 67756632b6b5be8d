from .models import DepthModel as DepthModel
from .source import Source as Source

__all__ = ["DepthModel", "Source"]
