from ._engine import follow as follow
from .config import DEFAULT_TRACKER as DEFAULT_TRACKER
from .config import LINES as LINES
from .config import DenseConfig as DenseConfig

__all__ = ["DEFAULT_TRACKER", "LINES", "DenseConfig", "follow"]
