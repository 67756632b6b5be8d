from ._splat import MODES as MODES
from ._splat import Kernel as Kernel
from ._splat import splat as splat
from ._splat import splat_sums as splat_sums
from .blend import Blend as Blend
from .config import DEFAULT_TRACKER as DEFAULT_TRACKER
from .config import InterpConfig as InterpConfig
from .flow_estimation import visibility as visibility
from .interpolator import FrameInterpolator as FrameInterpolator
from .interpolator import InterpInput as InterpInput
from .interpolator import Pixels as Pixels
from .methods import make_interpolator as make_interpolator
from .motion import FrameMotion as FrameMotion
from .motion import MotionSource as MotionSource
from .motion import PairMotion as PairMotion
from .output import Images as Images
from .output import Movie as Movie
from .output import Sink as Sink
from .output import is_movie as is_movie
from .output import to_depth as to_depth
from .run import Interpolation as Interpolation
from .run import find_marks as find_marks
from .run import interpolate as interpolate
from .synthesis import Synthesis as Synthesis
from .timeline import Marks as Marks
from .timeline import Timeline as Timeline
from .timeline import parse_rate as parse_rate

__all__ = [
    "DEFAULT_TRACKER",
    "MODES",
    "Blend",
    "FrameInterpolator",
    "FrameMotion",
    "Images",
    "InterpConfig",
    "InterpInput",
    "Interpolation",
    "Kernel",
    "Marks",
    "MotionSource",
    "Movie",
    "PairMotion",
    "Pixels",
    "Sink",
    "Synthesis",
    "Timeline",
    "find_marks",
    "interpolate",
    "is_movie",
    "make_interpolator",
    "parse_rate",
    "splat",
    "splat_sums",
    "to_depth",
    "visibility",
]
