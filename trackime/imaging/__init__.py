"""Operations on images that segmenters and applications share: colour mixtures, minimum cuts, optical flow."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
