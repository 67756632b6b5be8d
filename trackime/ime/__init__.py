"""TrackIME around any tracker: `track` and `run`, and the steps they are made of. Imported when first used."""

from typing import TYPE_CHECKING

from trackime.lazy import lazy_names

if TYPE_CHECKING:
    from trackime.ime.config import ImeConfig as ImeConfig
    from trackime.ime.masks import instance_masks as instance_masks
    from trackime.ime.operations import Operations as Operations
    from trackime.ime.pipeline import Result as Result
    from trackime.ime.pipeline import run as run
    from trackime.ime.pipeline import track as track

_HOMES = {
    "ImeConfig": "trackime.ime.config",
    "Operations": "trackime.ime.operations",
    "Result": "trackime.ime.pipeline",
    "instance_masks": "trackime.ime.masks",
    "run": "trackime.ime.pipeline",
    "track": "trackime.ime.pipeline",
}
__all__ = list(_HOMES)
__getattr__ = lazy_names(__name__, _HOMES)
