from .cameras import NEAR as NEAR
from .cameras import Cameras as Cameras
from .epipolar import sampson_distance as sampson_distance
from .pixels import cut_windows as cut_windows
from .pixels import resize_frames as resize_frames
from .pixels import sample as sample
from .pixels import scale_points as scale_points
from .pixels import to_torch as to_torch
from .pixels import window_offsets as window_offsets

__all__ = [
    "NEAR",
    "Cameras",
    "cut_windows",
    "resize_frames",
    "sample",
    "sampson_distance",
    "scale_points",
    "to_torch",
    "window_offsets",
]
