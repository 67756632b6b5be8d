from .data import Worlds as Worlds
from .validate import Held as Held

__all__ = ["Held", "Worlds"]
