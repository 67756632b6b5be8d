"""Consistent depth and cameras of a video from long-term tracks.

The package is callable, so that ``from trackime_apps import depth`` gives the application itself::

    result = depth("clip.mp4")
    result.depth[0]  # float32 [H, W]
    result.save("out")
"""

import sys as _sys
from types import ModuleType as _ModuleType
from typing import Any as _Any

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)


class _Application(_ModuleType):
    def __call__(self, *args: _Any, **kwargs: _Any) -> _Any:
        """Consistent depth and cameras of a video: see `run.depth`, whose arguments these are."""
        from .run import depth

        return depth(*args, **kwargs)


_sys.modules[__name__].__class__ = _Application
