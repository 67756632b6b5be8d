"""Articulated bodies: animals, people, hands and vehicles that walk, run, jump and turn, with exact tracks."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
