"""Semi-dense tracking: ragged tracks that cover every part of every frame."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
