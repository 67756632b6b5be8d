from .options import Command as Command
from .options import build_config as build_config
from .options import compute_options as compute_options
from .options import compute_options_with as compute_options_with
from .options import config_options as config_options
from .options import debug_option as debug_option
from .options import in_order as in_order
from .options import offline_option as offline_option
from .options import output_options as output_options
from .options import read_config as read_config
from .options import tracks_option as tracks_option
from .overlay import TrackPainter as TrackPainter
from .pictures import write_pictures as write_pictures
from .progress import Progress as Progress
from .prompts import LAST_ID as LAST_ID
from .prompts import Prompt as Prompt
from .prompts import PromptType as PromptType
from .prompts import to_queries as to_queries
from .queries import gather_queries as gather_queries
from .queries import load_tracks as load_tracks
from .queries import read_ids as read_ids
from .results import Result as Result
from .results import read_record as read_record
from .results import result_folder as result_folder
from .results import seal as seal
from .results import write_frames as write_frames
from .sheet import GAP as GAP
from .sheet import PAPER as PAPER
from .sheet import TILE as TILE
from .sheet import Sheet as Sheet
from .sheet import caption as caption
from .skeleton import Flags as Flags
from .skeleton import run_command as run_command

__all__ = [
    "GAP",
    "LAST_ID",
    "PAPER",
    "TILE",
    "Command",
    "Flags",
    "Progress",
    "Prompt",
    "PromptType",
    "Result",
    "Sheet",
    "TrackPainter",
    "build_config",
    "caption",
    "compute_options",
    "compute_options_with",
    "config_options",
    "debug_option",
    "gather_queries",
    "in_order",
    "load_tracks",
    "offline_option",
    "output_options",
    "read_config",
    "read_ids",
    "read_record",
    "result_folder",
    "run_command",
    "seal",
    "to_queries",
    "tracks_option",
    "write_frames",
    "write_pictures",
]
