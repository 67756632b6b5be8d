from ._correct import correct as correct
from ._export import export as export
from ._sampling import BACKGROUND as BACKGROUND
from ._sampling import sample_mask as sample_mask
from .config import DEFAULT_TRACKER as DEFAULT_TRACKER
from .config import VosConfig as VosConfig
from .masks import EditedMasks as EditedMasks
from .masks import MaskFiles as MaskFiles
from .masks import Masks as Masks
from .prompts import LAST_ID as LAST_ID
from .prompts import Prompts as Prompts
from .run import segment as segment
from .segmentation import Segmentation as Segmentation
from .segmentation import load as load

__all__ = [
    "BACKGROUND",
    "DEFAULT_TRACKER",
    "LAST_ID",
    "EditedMasks",
    "MaskFiles",
    "Masks",
    "Prompts",
    "Segmentation",
    "VosConfig",
    "correct",
    "export",
    "load",
    "sample_mask",
    "segment",
]
