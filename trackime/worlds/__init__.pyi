from .bodies import BodyClip as BodyClip
from .bodies import BodyOptions as BodyOptions
from .bodies import make_bodies as make_bodies
from .layers.batch.batch import Batch as Batch
from .layers.batch.batch import make_batch as make_batch
from .layers.batch.options import BatchOptions as BatchOptions
from .layers.batch.pool import TexturePool as TexturePool
from .layers.build import make_world as make_world
from .layers.options import WorldOptions as WorldOptions
from .layers.world import World as World
from .motion import curve as curve
from .motion import similarity as similarity
from .motion import wander as wander
from .scene.build import make_scene as make_scene
from .scene.options import PATHS as PATHS
from .scene.options import SceneOptions as SceneOptions
from .scene.scene import Scene as Scene

__all__ = [
    "PATHS",
    "Batch",
    "BatchOptions",
    "BodyClip",
    "BodyOptions",
    "Scene",
    "SceneOptions",
    "TexturePool",
    "World",
    "WorldOptions",
    "curve",
    "make_batch",
    "make_bodies",
    "make_scene",
    "make_world",
    "similarity",
    "wander",
]
