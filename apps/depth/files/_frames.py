"""The files of a frame's depth: npz, 16-bit PNG, EXR; and PNGs of its image and mask.

npz: ``depth`` and ``confidence`` float32 [H, W], 0 where unknown; ``measured`` bool [H, W], seen rather than filled.
PNG: depth = value * scale, 0 unknown, 65535 that far or further; the scale and its unit are in a sidecar.
EXR: one float32 channel Z, as renderers write it; 0 unknown.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trackime.arrays import BoolArray, FloatArray, UInt8, UInt16
from trackime.errors import InputError, MissingExtraError, OutputError, ShapeError
from trackime.files import atomic

from ..initial_depth import is_known

RELATIVE, METRE = "relative", "metre"
MILLIMETRE = 0.001
SIDECAR = "scale.json"
LARGEST = 65535


@dataclass(frozen=True)
class PngScale:
    """The encoding of depth in the 16-bit PNGs of a video; the same in all, so that they can be compared.

    Attributes:
        unit: ``relative`` (up to one unknown factor) or ``metre``.
        scale: depth of the value 1, in that unit.

    Raises:
        InputError: another unit, or a scale not above 0.
    """

    unit: str
    scale: float

    def __post_init__(self) -> None:
        if self.unit not in (RELATIVE, METRE):
            raise InputError(f"unit: expected {RELATIVE} or {METRE}, got {self.unit!r}")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise InputError(f"scale: expected a number above 0, got {self.scale}")

    @classmethod
    def reaching(cls, far: float, metric: bool) -> PngScale:
        """Millimetres where depth is metric and `far` below 65.5 m; else such that `far` is the largest value."""
        if metric and far <= LARGEST * MILLIMETRE:
            return cls(METRE, MILLIMETRE)
        return cls(METRE if metric else RELATIVE, far / LARGEST)

    def values(self, depth: FloatArray) -> UInt16:
        """uint16 [H, W] of depth; what is nearer than half a step becomes 1, as 0 is unknown."""
        known = is_known(depth)
        steps = np.round(np.where(known, depth, 0).astype(np.float64) / self.scale)
        return np.where(known, np.clip(steps, 1, LARGEST), 0).astype(np.uint16)

    def save(self, folder: Path) -> None:
        """Write the sidecar into the folder of the PNGs."""
        record = {
            "unit": self.unit,
            "scale": self.scale,
            "depth": "value * scale",
            "unknown": 0,
            "that far or further": LARGEST,
        }
        if self.unit == RELATIVE:
            record["note"] = "depth up to one factor for the whole video, in units of cameras.tum; not millimetres"
        with atomic(folder / SIDECAR) as path:
            path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def write_npz(path: Path, depth: FloatArray, confidence: FloatArray, measured: BoolArray) -> None:
    """Write one frame's maps [H, W]; atomic. Where depth is not a number above 0 all three are unknown.

    Raises:
        ShapeError: maps of different sizes.
        OutputError: the file cannot be written.
    """
    known = is_known(depth)
    if known.ndim != 2 or np.shape(confidence) != known.shape or np.shape(measured) != known.shape:
        raise ShapeError("depth", "[H, W], confidence and measured the same", np.shape(depth))
    sure = np.where(known & np.isfinite(confidence), confidence, 0)
    maps = {
        "depth": np.where(known, depth, 0).astype(np.float32),
        # Rounded to 1/256 the file takes a fifth of the space.
        "confidence": np.where(known, np.clip(np.ceil(sure * 256), 0, 256) / 256, 0).astype(np.float32),
        "measured": known & np.asarray(measured, bool),
    }
    # np.savez_compressed knows only zlib's level 6: three times as slow, a twentieth smaller.
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, values in maps.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.ascontiguousarray(values), allow_pickle=False)


def openexr() -> Any:
    """The module OpenEXR. MissingExtraError where it is not installed, or older than the interface used here."""
    try:
        import OpenEXR
    except ImportError:
        raise MissingExtraError("EXR depth", "exr") from None
    if not hasattr(OpenEXR, "File"):  # 3.2 and before
        raise MissingExtraError("EXR depth", "exr")
    return OpenEXR


def write_exr(path: Path, depth: FloatArray, unit: str) -> None:
    """Write depth [H, W] as channel Z of an EXR; atomic. MissingExtraError as `openexr` says."""
    OpenEXR = openexr()
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, "comments": f"unit: {unit}"}
    values = np.ascontiguousarray(np.where(is_known(depth), depth, 0), np.float32)
    with atomic(path) as temporary:
        OpenEXR.File(header, {"Z": values}).write(str(temporary))


def write_png(path: Path, image: UInt8 | UInt16) -> None:
    """Write uint8 [H, W, 3] RGB, or uint8 or uint16 [H, W], as a PNG; atomic.

    Raises:
        OutputError: the file cannot be written.
    """
    picture = image[..., ::-1] if image.ndim == 3 else image
    # Level 1: a third of the time of the default, a tenth larger.
    done, data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise OutputError(f"cannot write {path}: the PNG cannot be encoded")
    with atomic(path) as temporary:
        temporary.write_bytes(data.tobytes())
