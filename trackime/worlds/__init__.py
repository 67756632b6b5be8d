"""Procedural videos with exact ground truth: layers (`make_world`, `make_batch`) and ray-cast scenes (`make_scene`)."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
