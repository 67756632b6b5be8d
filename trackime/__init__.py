"""Long-term point tracks at a video's own resolution.

The names below are imported when first used; importing the package loads no torch.
"""

import lazy_loader as _lazy

__version__ = "0.1.0"

__getattr__, _, _names = _lazy.attach_stub(__name__, __file__)
__all__ = ["__version__", *_names]


def __dir__() -> list[str]:
    return list(__all__)
