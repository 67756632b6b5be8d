from .data import WorldClips as WorldClips
from .validate import ValidationSet as ValidationSet

__all__ = ["ValidationSet", "WorldClips"]
