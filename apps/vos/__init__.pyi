from ._correct import Edited as Edited
from ._correct import Finished as Finished
from ._correct import correct as correct
from .config import DEFAULT_TRACKER as DEFAULT_TRACKER
from .config import VosConfig as VosConfig
from .files import MaskFiles as MaskFiles
from .files import confidence_rows as confidence_rows
from .files import finish as finish
from .files import read_confidence as read_confidence
from .files import write_masks as write_masks
from .queries import BACKGROUND as BACKGROUND
from .queries import sample_mask as sample_mask
from .run import Segmentation as Segmentation
from .run import segment as segment

__all__ = [
    "BACKGROUND",
    "DEFAULT_TRACKER",
    "Edited",
    "Finished",
    "MaskFiles",
    "Segmentation",
    "VosConfig",
    "confidence_rows",
    "correct",
    "finish",
    "read_confidence",
    "sample_mask",
    "segment",
    "write_masks",
]
