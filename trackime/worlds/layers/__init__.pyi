from .build import make_world as make_world
from .options import WorldOptions as WorldOptions
from .world import World as World

__all__ = ["World", "WorldOptions", "make_world"]
