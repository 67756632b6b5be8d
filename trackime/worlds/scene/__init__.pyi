from .build import make_scene as make_scene
from .options import PATHS as PATHS
from .options import SceneOptions as SceneOptions
from .scene import Scene as Scene

__all__ = ["PATHS", "Scene", "SceneOptions", "make_scene"]
