from ._follow import follow as follow
from .config import DEFAULT_TRACKER as DEFAULT_TRACKER
from .config import LINES as LINES
from .config import FollowConfig as FollowConfig

__all__ = ["DEFAULT_TRACKER", "LINES", "FollowConfig", "follow"]
