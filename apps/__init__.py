"""Applications of point tracks as functions: `segment`, `interpolate`, `depth`, each loaded when it is first used.

`depth` is a package that can be called: ``trackime_apps.depth(video, ...)``.
"""

import lazy_loader as _lazy

# Not from the stub: there `depth` is the function, here the package, which calls it.
__getattr__, __dir__, __all__ = _lazy.attach(__name__, ["depth"], {"interp": ["interpolate"], "vos": ["segment"]})
