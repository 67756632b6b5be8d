import trackime_apps.depth.run as _depth

from .interp import interpolate as interpolate
from .vos import segment as segment

depth = _depth.depth

__all__ = ["depth", "interpolate", "segment"]
