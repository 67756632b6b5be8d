from .framepair import Frame as Frame
from .framepair import FramePair as FramePair
from .match import search as search
from .refine import PixelTemplates as PixelTemplates
from .refine import blocks as blocks
from .refine import lightness as lightness
from .templates import CENTRAL as CENTRAL
from .templates import GRID as GRID
from .templates import Templates as Templates
from .templates import align as align
from .templates import central_similarity as central_similarity
from .templates import identity as identity
from .templates import length as length
from .templates import plausible as plausible
from .templates import similarity as similarity

__all__ = [
    "CENTRAL",
    "GRID",
    "Frame",
    "FramePair",
    "PixelTemplates",
    "Templates",
    "align",
    "blocks",
    "central_similarity",
    "identity",
    "length",
    "lightness",
    "plausible",
    "search",
    "similarity",
]
