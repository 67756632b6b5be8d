from .registry import Format as Format
from .registry import formats as formats
from .registry import load as load
from .registry import save as save

__all__ = ["Format", "formats", "load", "save"]
