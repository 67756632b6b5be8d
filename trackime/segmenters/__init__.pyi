from .base import PointSegmenter as PointSegmenter
from .predictor import SamPredictorSegmenter as SamPredictorSegmenter
from .prompted import PromptedSegmenter as PromptedSegmenter
from .registry import create as create
from .registry import names as names

__all__ = ["PointSegmenter", "PromptedSegmenter", "SamPredictorSegmenter", "create", "names"]
