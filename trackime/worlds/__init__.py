"""Procedural worlds: videos with exact ground truth, made from a seed.

`make_world`: layers over one another, fast and varied; tracks, visibility, masks, flow. `make_scene`: a ray-cast room
with a moving camera; depth, cameras and intrinsics, too. `make_batch`: layers again, a whole batch of clips at once in
torch, to train with.
"""

from trackime.worlds.batch import Batch, BatchOptions, TexturePool, make_batch
from trackime.worlds.build import make_world
from trackime.worlds.options import WorldOptions
from trackime.worlds.scene import Scene
from trackime.worlds.scene_build import make_scene
from trackime.worlds.scene_options import PATHS, SceneOptions
from trackime.worlds.world import World

__all__ = [
    "PATHS",
    "Batch",
    "BatchOptions",
    "Scene",
    "SceneOptions",
    "TexturePool",
    "World",
    "WorldOptions",
    "make_batch",
    "make_scene",
    "make_world",
]
