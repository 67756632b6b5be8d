from .clip import BodyClip as BodyClip
from .clip import make_bodies as make_bodies
from .options import BodyOptions as BodyOptions

__all__ = ["BodyClip", "BodyOptions", "make_bodies"]
