"""TrackIME around any tracker: `track` and `run`, and the steps they are made of."""

from trackime.ime.config import ImeConfig
from trackime.ime.masks import instance_masks
from trackime.ime.operations import Operations
from trackime.ime.pipeline import Result, run, track

__all__ = ["ImeConfig", "Operations", "Result", "instance_masks", "run", "track"]
