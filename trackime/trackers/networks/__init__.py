"""Networks of published point trackers, written here; parameters bear the names of the official checkpoints."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
