from .track import count as count
from .track import describe as describe

__all__ = ["count", "describe"]
