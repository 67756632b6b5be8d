from ._splat import MODES as MODES
from ._splat import Kernel as Kernel
from ._splat import splat as splat
from ._splat import splat_sums as splat_sums
from .blend import Mean as Mean
from .config import InterpConfig as InterpConfig
from .dense_motion import visibility as visibility
from .interpolator import Between as Between
from .methods import DEFAULT_TRACKER as DEFAULT_TRACKER
from .methods import make_between as make_between
from .motion import Motion as Motion
from .motion import MotionSource as MotionSource
from .motion import Side as Side
from .output import SUFFIXES as SUFFIXES
from .output import Images as Images
from .output import Movie as Movie
from .output import Sink as Sink
from .output import write_segments as write_segments
from .run import Interpolation as Interpolation
from .run import Marks as Marks
from .run import find_marks as find_marks
from .run import interpolate as interpolate
from .run import make_timeline as make_timeline
from .sheet import PairSheet as PairSheet
from .synthesis import Synthesis as Synthesis
from .timeline import parse_rate as parse_rate

__all__ = [
    "DEFAULT_TRACKER",
    "MODES",
    "SUFFIXES",
    "Between",
    "Images",
    "InterpConfig",
    "Interpolation",
    "Kernel",
    "Marks",
    "Mean",
    "Motion",
    "MotionSource",
    "Movie",
    "PairSheet",
    "Side",
    "Sink",
    "Synthesis",
    "find_marks",
    "interpolate",
    "make_between",
    "make_timeline",
    "parse_rate",
    "splat",
    "splat_sums",
    "visibility",
    "write_segments",
]
