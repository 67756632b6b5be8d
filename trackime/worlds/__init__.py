"""Procedural worlds: videos with exact ground truth (tracks, visibility, masks, flow), made from a seed."""

from trackime.worlds.build import make_world
from trackime.worlds.options import WorldOptions
from trackime.worlds.world import World

__all__ = ["World", "WorldOptions", "make_world"]
