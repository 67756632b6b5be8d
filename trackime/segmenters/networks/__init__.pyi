from .sam import Sam as Sam
from .sam_vit import SamVit as SamVit
from .sam_vit import VitSize as VitSize
from .tinyvit import TinyViT as TinyViT

__all__ = ["Sam", "SamVit", "TinyViT", "VitSize"]
