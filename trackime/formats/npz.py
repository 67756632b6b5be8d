"""npz: numpy arrays without pickle, everything kept. The toolkit's own format: see `Tracks.save`.

Arrays: `schema`, `xy` float32 [N, T, 2] and `queries` float32 [N, 3] (x, y, t) in source pixels (centre of the
top-left pixel at (0.5, 0.5)), `visibility` float32 [N, T], `instance` int32 [N], `size` (width, height), `pts`
float64 [T] seconds, `names` [T], `source`.
"""

from __future__ import annotations

import os

from trackime.types import Tracks


def save(tracks: Tracks, path: str | os.PathLike[str]) -> None:
    """Write tracks as an npz.

    Raises:
        OutputError: the file cannot be written.
    """
    tracks.save(path)


def load(path: str | os.PathLike[str]) -> Tracks:
    """Read an npz of tracks.

    Raises:
        FormatError: no such file, or not an npz of tracks.
    """
    return Tracks.load(path)
