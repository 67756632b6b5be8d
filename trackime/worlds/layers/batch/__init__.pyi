from ._develop import develop as develop
from .options import BatchOptions as BatchOptions
from .pool import TexturePool as TexturePool
from .pool import default_pool as default_pool

__all__ = ["BatchOptions", "TexturePool", "default_pool", "develop"]
