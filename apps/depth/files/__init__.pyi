from ._export import check as check
from ._export import export as export
from ._frames import openexr as openexr
from .colours import DepthColours as DepthColours
from .folder import DepthFolder as DepthFolder
from .folder import check_names as check_names
from .folder import shot_folders as shot_folders

__all__ = ["DepthColours", "DepthFolder", "check", "check_names", "export", "openexr", "shot_folders"]
