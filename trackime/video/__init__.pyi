from .cuts import find_cuts as find_cuts
from .decoded import PixelKind as PixelKind
from .encoding import MPEG4_TICK as MPEG4_TICK
from .encoding import TICK as TICK
from .encoding import Encoding as Encoding
from .encoding import find_encoder as find_encoder
from .frames_csv import read_frame_names as read_frame_names
from .frames_csv import write_frames as write_frames
from .images import read_image as read_image
from .images import write_image as write_image
from .masks import read_mask as read_mask
from .masks import write_mask as write_mask
from .motion_frames import MotionFrames as MotionFrames
from .reader import IMAGES as IMAGES
from .reader import Video as Video
from .reader import natural as natural
from .reader import open_video as open_video
from .writing import VideoWriter as VideoWriter
from .writing import exact_rate as exact_rate

__all__ = [
    "IMAGES",
    "MPEG4_TICK",
    "TICK",
    "Encoding",
    "MotionFrames",
    "PixelKind",
    "Video",
    "VideoWriter",
    "exact_rate",
    "find_cuts",
    "find_encoder",
    "natural",
    "open_video",
    "read_frame_names",
    "read_image",
    "read_mask",
    "write_frames",
    "write_image",
    "write_mask",
]
