"""Point clouds as PLY files, binary little endian (Turk, The PLY Polygon File Format, 1994)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from trackime.errors import InputError, ShapeError
from trackime.files import atomic

_VERTEX = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])


def write_ply(path: Path, points: npt.ArrayLike, colours: npt.ArrayLike, comment: str = "") -> None:
    """Write points [N, 3] with colours uint8 [N, 3]; atomic. `comment` is one line of ASCII.

    Raises:
        ShapeError: arrays of other shapes.
        InputError: points that are not finite.
    """
    xyz, rgb = np.asarray(points), np.asarray(colours)
    if xyz.ndim != 2 or xyz.shape[1] != 3:
        raise ShapeError("points", "[N, 3]", xyz.shape)
    if rgb.shape != xyz.shape or rgb.dtype != np.uint8:
        raise ShapeError("colours", f"uint8 [{len(xyz)}, 3]", rgb.shape)
    if not np.isfinite(xyz).all():
        raise InputError("points: expected finite numbers, got NaN or infinity")
    vertices = np.zeros(len(xyz), _VERTEX)
    vertices["xyz"], vertices["rgb"] = xyz, rgb
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        *([f"comment {' '.join(comment.split())}"] if comment else []),
        f"element vertex {len(xyz)}",
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {channel}" for channel in ("red", "green", "blue")),
        "end_header",
    ]
    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.write(("\n".join(lines) + "\n").encode("ascii", "replace"))
        file.write(vertices.tobytes())
