from .options import check_names as check_names
from .options import compute_options as compute_options
from .options import compute_options_with as compute_options_with
from .options import debug_option as debug_option
from .options import device_option as device_option
from .options import is_cached as is_cached
from .options import offline_option as offline_option
from .options import output_options as output_options
from .options import quiet_option as quiet_option
from .options import tracks_option as tracks_option
from .overlay import TrackPainter as TrackPainter
from .pictures import write_pictures as write_pictures
from .progress import Progress as Progress
from .prompts import Prompt as Prompt
from .prompts import PromptType as PromptType
from .prompts import to_queries as to_queries
from .queries import load_tracks as load_tracks
from .queries import read_ids as read_ids
from .results import ResultFolder as ResultFolder
from .results import describe as describe
from .results import read_record as read_record
from .results import result_folder as result_folder
from .results import seal as seal
from .settings import Command as Command
from .settings import config_options as config_options
from .settings import every as every
from .settings import list_option as list_option
from .settings import read_config as read_config
from .sheet import TILE as TILE
from .sheet import Sheet as Sheet
from .sheet import arrange as arrange
from .sheet import make_tile as make_tile
from .skeleton import Flags as Flags
from .skeleton import count as count
from .skeleton import run_command as run_command
from .tables import console as console
from .tracking import TrackRequest as TrackRequest
from .tracking import track_into as track_into
from .tracking import track_once as track_once

__all__ = [
    "TILE",
    "Command",
    "Flags",
    "Progress",
    "Prompt",
    "PromptType",
    "ResultFolder",
    "Sheet",
    "TrackPainter",
    "TrackRequest",
    "arrange",
    "check_names",
    "compute_options",
    "compute_options_with",
    "config_options",
    "console",
    "count",
    "debug_option",
    "describe",
    "device_option",
    "every",
    "is_cached",
    "list_option",
    "load_tracks",
    "make_tile",
    "offline_option",
    "output_options",
    "quiet_option",
    "read_config",
    "read_ids",
    "read_record",
    "result_folder",
    "run_command",
    "seal",
    "to_queries",
    "track_into",
    "track_once",
    "tracks_option",
    "write_pictures",
]
