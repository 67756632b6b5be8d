"""Readers of data sets, one shape of sample for all: `read("davis", "/data/DAVIS")` yields `Sample`s."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
