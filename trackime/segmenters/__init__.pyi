from .base import PointSegmenter as PointSegmenter
from .graphcut import guided_filter as guided_filter
from .graphcut import signed_distance as signed_distance
from .predictor import SamPredictorSegmenter as SamPredictorSegmenter
from .prompted import PromptedSegmenter as PromptedSegmenter
from .registry import create as create
from .registry import names as names

__all__ = [
    "PointSegmenter",
    "PromptedSegmenter",
    "SamPredictorSegmenter",
    "create",
    "guided_filter",
    "names",
    "signed_distance",
]
