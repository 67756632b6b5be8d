"""Array types, one name for each element type, and reading arrays at points. Numpy only.

Points are (x, y) in pixels, the centre of the top-left pixel at (0.5, 0.5): pixel (column, row) covers
[column, column + 1) x [row, row + 1), and an array of h rows and w columns spans [0, w] x [0, h].
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from trackime.errors import ShapeError

FloatArray = npt.NDArray[np.floating[Any]]
"""Any precision."""
IntArray = npt.NDArray[np.integer[Any]]
"""Any size."""
BoolArray = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
UInt16 = npt.NDArray[np.uint16]
AnyArray = npt.NDArray[Any]
"""Any element type: what a file may hold."""
PixelArray = npt.NDArray[np.unsignedinteger[Any]]
"""uint8, or uint16 in its full scale."""

_Scalar = TypeVar("_Scalar", bound=np.generic)


def inside(xy: npt.ArrayLike, size: tuple[int, int]) -> BoolArray:
    """bool [...]: whether points [..., 2] lie in a frame of `size` (h, w), its edges included; NaN does not."""
    points, (h, w) = np.asarray(xy), size
    x, y = points[..., 0], points[..., 1]
    return np.asarray((x >= 0) & (x <= w) & (y >= 0) & (y <= h))


def pixels_at(xy: npt.ArrayLike, size: tuple[int, int]) -> Int64:
    """int64 [..., 2] (column, row) of the pixel that contains each point [..., 2]; outside, the nearest pixel.

    Points must be finite.
    """
    h, w = size
    return np.clip(np.floor(np.asarray(xy, np.float64)), 0, (w - 1, h - 1)).astype(np.int64)


def ids_at(mask: npt.NDArray[_Scalar], xy: npt.ArrayLike, outside: Any = 0) -> npt.NDArray[_Scalar]:
    """Values [...] of a mask [h, w] at points [..., 2], `outside` beyond its edges; points on the edges are inside."""
    if mask.ndim != 2:
        raise ShapeError("mask", "[h, w]", mask.shape)
    points, size = np.asarray(xy, np.float64), (mask.shape[0], mask.shape[1])
    within = inside(points, size)
    column, row = np.moveaxis(pixels_at(np.where(within[..., None], points, 0), size), -1, 0)
    values = np.full(within.shape, outside, mask.dtype) if not mask.size else mask[row, column]
    return np.where(within, values, np.asarray(outside, mask.dtype))


def bilinear(values: FloatArray, xy: npt.ArrayLike) -> Float64:
    """float64 [N] or [N, C] of a map [h, w] or [h, w, C] at points [N, 2], between pixel centres; edges repeated.

    Only pixels with a weight above 0 are read: NaN in a pixel of weight 0 does not spread.
    """
    h, w = values.shape[:2]
    at = np.clip(np.asarray(xy, np.float64) - 0.5, 0, (w - 1, h - 1))
    low = np.minimum(at.astype(np.int64), (max(w - 2, 0), max(h - 2, 0)))
    part = at - low
    total = np.zeros((len(at), *values.shape[2:]))
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        weight = np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1])
        weight = weight.reshape(-1, *[1] * (values.ndim - 2))
        read = values[np.minimum(low[:, 1] + dy, h - 1), np.minimum(low[:, 0] + dx, w - 1)].astype(np.float64)
        total += np.where(weight > 0, weight * read, 0)
    return total


def blocks(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows that cover `count` rows in order."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
