"""Files that hold one depth map each, in the formats of other programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trackime.arrays import BoolArray, Float32, FloatArray, IntArray
from trackime.errors import FormatError
from trackime.files import reading

from ..files import openexr

_Numbers = FloatArray | IntArray
_Read = tuple[_Numbers, BoolArray | None]
"""A map [h, w] as the file has it, and where it was measured, if the file has that."""

SINTEL_TAG = 202021.25
"""Tag at the beginning of a .dpt file (MPI-Sintel's depth SDK)."""

EXR_CHANNELS = ("Z", "DEPTH", "V", "Y", "R")
"""Names of the depth channel of an EXR with several, in order of preference; a layer may precede the name."""


def read_map(path: Path) -> tuple[Float32, BoolArray | None]:
    """The map of a file, by its suffix (`READERS`): float32 [h, w], and bool [h, w] or None.

    Values are the file's own: not scaled, and unknown ones may be 0, NaN or infinite.

    Raises:
        FormatError: not such a file, none of one map, or an image of 8 bits or of colours.
        MissingExtraError: an EXR, where OpenEXR is not installed.
    """
    with reading(path, f"a depth map ({path.suffix.lower()[1:]})"):
        values, measured = READERS[path.suffix.lower()](path)
        return _single_map(values), measured


def _single_map(values: _Numbers) -> Float32:
    """[h, w] of an array that may have an axis of one before or behind."""
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim != 2 or not values.size:
        raise FormatError(f"expected one map [h, w], got an array of shape {list(values.shape)}")
    if values.dtype.kind not in "fiu":
        raise FormatError(f"expected numbers, got {values.dtype}")
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and so unknown
        return np.asarray(values, np.float32)


def _npz(path: Path) -> _Read:
    with open(path, "rb") as file:
        loaded = np.load(file, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise FormatError("expected an npz, got a single array")
        with loaded:
            key = "depth" if "depth" in loaded else loaded.files[0] if len(loaded.files) == 1 else None
            if key is None:
                raise FormatError(f"expected an array called depth, or one array, got {', '.join(loaded.files)}")
            values = loaded[key]
            measured = loaded["measured"] if "measured" in loaded else None
    if measured is not None and (measured.dtype != bool or measured.shape != values.shape):
        measured = None  # of another program, with another meaning
    return values, measured


def _npy(path: Path) -> _Read:
    with open(path, "rb") as file:
        values = np.load(file, allow_pickle=False)
        if not isinstance(values, np.ndarray):
            raise FormatError("expected a single array, got an npz")
        return values, None


def _png(path: Path) -> _Read:
    import cv2

    data = np.fromfile(path, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if image is None:
        raise FormatError("expected a 16-bit grey png, got something that cannot be read")
    if image.ndim != 2 or image.dtype != np.uint16:
        channels = 1 if image.ndim == 2 else image.shape[2]
        raise FormatError(f"expected a 16-bit grey png, got {image.itemsize * 8} bits and {channels} channels")
    return np.asarray(image, np.uint16), None


def _exr(path: Path) -> _Read:
    with openexr().File(str(path), separate_channels=True) as file:
        channels: Mapping[str, Any] = file.channels()
        last = {name.rsplit(".", 1)[-1].upper(): name for name in sorted(channels, reverse=True)}
        found = [last[name] for name in EXR_CHANNELS if name in last]
        if len(channels) != 1 and not found:
            raise FormatError(f"expected a channel {', '.join(EXR_CHANNELS)}, got {', '.join(channels)}")
        return np.array(channels[found[0] if found else next(iter(channels))].pixels), None


def _pfm(path: Path) -> _Read:
    """Portable float map (Debevec): a header of three lines; rows from the bottom; scale below 0: little-endian."""
    with open(path, "rb") as file:
        magic, size, scale = (file.readline(64).strip() for _ in range(3))
        if magic != b"Pf":
            raise FormatError(f"expected a grey pfm (Pf), got {magic[:8]!r}")
        width, height = (int(number) for number in size.split())
        values = _floats(file.read(), height, width, "<f4" if float(scale) < 0 else ">f4")
    return values[::-1], None


def _dpt(path: Path) -> _Read:
    data = path.read_bytes()
    if len(data) < 12 or np.frombuffer(data, "<f4", 1)[0] != np.float32(SINTEL_TAG):
        raise FormatError(f"expected a Sintel dpt, which begins with {SINTEL_TAG}")
    width, height = (int(number) for number in np.frombuffer(data, "<i4", 2, 4))
    return _floats(data[12:], height, width, "<f4"), None


def _floats(data: bytes, height: int, width: int, dtype: str) -> _Numbers:
    if height < 1 or width < 1 or len(data) != 4 * height * width:
        raise FormatError(f"expected {width}x{height} numbers of 4 bytes, got {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(height, width)


READERS: dict[str, Callable[[Path], _Read]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".png": _png,
    ".exr": _exr,
    ".pfm": _pfm,
    ".dpt": _dpt,
}
"""By suffix. npz: an array called depth, or the only one; `measured` where it is there, as in our own results."""
