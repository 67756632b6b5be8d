from .build import make_world as make_world
from .options import WorldOptions as WorldOptions
from .options import check_whole as check_whole
from .render import develop as develop
from .render import pixel_centres as pixel_centres
from .world import World as World

__all__ = ["World", "WorldOptions", "check_whole", "develop", "make_world", "pixel_centres"]
