"""TrackIME around any tracker: `track`, `run`, and the switches of the method; a file a step."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
