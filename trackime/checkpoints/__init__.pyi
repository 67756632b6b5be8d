from .catalog import CHECKPOINTS as CHECKPOINTS
from .catalog import Checkpoint as Checkpoint
from .loading import fill as fill
from .loading import read_weights as read_weights
from .pretrained import check_folder as check_folder
from .pretrained import load_network as load_network
from .pretrained import network_class as network_class
from .pretrained import read_json as read_json
from .store import locate as locate

__all__ = [
    "CHECKPOINTS",
    "Checkpoint",
    "check_folder",
    "fill",
    "load_network",
    "locate",
    "network_class",
    "read_json",
    "read_weights",
]
