from .kinds import SCANS as SCANS
from .kinds import names as names
from .kinds import read as read
from .kinds import scans as scans
from .sample import MaskFolder as MaskFolder
from .sample import Sample as Sample
from .sample import list_images as list_images
from .scan import Scan as Scan
from .snufilm import MODES as MODES

__all__ = ["MODES", "SCANS", "MaskFolder", "Sample", "Scan", "list_images", "names", "read", "scans"]
