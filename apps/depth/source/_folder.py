"""Initial depth from a folder with one map per frame."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trackime.arrays import BoolArray, FloatArray
from trackime.errors import FormatError, InputError
from trackime.files import reading
from trackime.progress import Report, silent
from trackime.types import VideoInfo
from trackime.video import natural

from ..initial_depth import DepthMaps, is_known
from ._readers import READERS, read_map

KINDS = ("depth", "disparity", "metric")
"""Values of the maps: depth up to one scale for all; disparity up to one scale and shift; metres."""

_log = logging.getLogger(__name__)


def take(
    folder: Path,
    info: VideoInfo,
    maps: Path,
    *,
    kind: str | None = None,
    scale: float | None = None,
    files: Sequence[Path] = (),
    progress: Report = silent,
) -> DepthMaps:
    """The maps of a folder for the frames of a video, kept in another; those already there are not read again.

    A file belongs to the frame of its name (without suffix); where not all frames have one, and there are as many
    files as frames, they correspond in natural order.

    Args:
        folder: npz, npy, 16-bit png, exr, pfm or dpt files; others are ignored, a sidecar apart (see `scale`). They
            may have another resolution than the video; 0, negative, NaN and infinite values are unknown.
        info: of the video.
        maps: where `DepthMaps` are kept.
        kind: one of `KINDS`; None: metric where the sidecar's unit is metre, else depth.
        scale: what a value is multiplied by; None: that of a json in the folder, or beside it with its name (`scale`;
            `unit`: relative or metre), else 1; png of metric depth need one.
        files: one per frame; none: found by their names, see above.
        progress: called with the stage "depth".

    Raises:
        InputError: no such folder, no maps in it, an option out of range, frames without a map.
        FormatError: a file that is no map, has another shape than the frame, or no positive number in it.
        MissingExtraError: see `read_map`.
    """
    chosen = choose(folder, info, kind, scale, files)
    made = DepthMaps(maps, info.frames, chosen.kind == "disparity", chosen.kind == "metric")
    holes = 0
    for t, file in enumerate(chosen.files):
        if t not in made:
            values, measured = read_map(file)
            check_shape(file, values, info)
            holes += bool(np.isnan(values).any())
            _keep(made, t, file, values * np.float32(chosen.scale), measured)
        progress("depth", t + 1, len(chosen.files))
    if holes:
        _log.warning("%s: %d of %d maps hold NaN: taken as unknown", folder, holes, len(chosen.files))
    return made


@dataclass(frozen=True)
class _Selection:
    """The selection from a folder: one file per frame, the kind of their values (`KINDS`), their factor."""

    files: Sequence[Path]
    kind: str
    scale: float


def choose(
    folder: Path, info: VideoInfo, kind: str | None = None, scale: float | None = None, files: Sequence[Path] = ()
) -> _Selection:
    """The selection that `take` will read; arguments and errors as there, except those of the files' contents."""
    if kind is not None and kind not in KINDS:
        raise InputError(f"--depth-kind: expected {', '.join(KINDS)}, got {kind!r}")
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise InputError(f"--depth-scale: expected a number above 0, got {scale:g}")
    files = files or match(folder, info)
    sidecar = _sidecar(folder)
    kind = kind or ("metric" if sidecar.get("unit") == "metre" else "depth")
    if kind == "metric" and sidecar.get("unit") == "relative":
        raise InputError(f"--depth-kind metric: {sidecar['file']} says that its maps are relative: expected depth")
    scale = sidecar.get("scale") if scale is None else scale
    if scale is None and kind == "metric" and files[0].suffix.lower() == ".png":
        raise InputError(
            f"{folder}: expected how many metres a step of its pngs is (0.001 for millimetres): --depth-scale, or a"
            " json beside them with scale and unit"
        )
    return _Selection(files, kind, 1.0 if scale is None else scale)


def match(folder: Path, info: VideoInfo) -> list[Path]:
    """The file of every frame. InputError where there is none for some."""
    if not folder.is_dir():
        raise InputError(f"--depth-folder: expected a folder of depth maps, found {_found(folder)}")
    found = [f for f in folder.iterdir() if f.suffix.lower() in READERS and not f.name.startswith(".") and f.is_file()]
    found.sort(key=lambda file: natural(file.name))
    if not found:
        raise InputError(f"{folder}: expected depth maps ({', '.join(s[1:] for s in READERS)}), found none")
    by_stem = {file.stem: file for file in found}
    if len(by_stem) < len(found):
        twice = next(a for a in found if by_stem[a.stem] is not a)
        raise InputError(f"{folder}: expected one map per frame, got {twice.name} and {by_stem[twice.stem].name}")
    missing = [name for name in info.names if name not in by_stem]
    if not missing:
        return [by_stem[name] for name in info.names]
    if len(found) == info.frames:
        return found
    if len(missing) < info.frames:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"{folder}: expected a map of every frame, none for {missing[0]!r}{more}")
    raise InputError(
        f"{folder}: expected maps named after the {info.frames} frames ({info.names[0]!r}, ...) or as many of them,"
        f" got {len(found)} ({found[0].name!r}, ...)"
    )


def check_shape(file: Path, values: FloatArray, info: VideoInfo) -> None:
    """FormatError where a map has not the frame's shape, to a pixel of rounding in either side."""
    height, width = values.shape
    off = abs(height * info.width - width * info.height)  # in pixels: / width of one, / height of the other
    if off > 1.5 * max(info.width, info.height):
        size = f"{info.width}x{info.height}"
        raise FormatError(f"{file}: expected a map of the shape of the frames ({size}), got {width}x{height}")


def _keep(maps: DepthMaps, t: int, file: Path, values: FloatArray, measured: BoolArray | None) -> None:
    good = is_known(values)
    if not good.any():
        held = "NaN" if np.isnan(values).all() else "zeros" if not values.any() else "none above 0"
        raise FormatError(f"{file}: expected positive numbers, got {held} only")
    if maps.disparity:
        values = np.where(good, 1 / np.where(good, values, 1), 0)
    maps.write(t, np.where(good, values, 0), measured)


def _sidecar(folder: Path) -> dict[str, Any]:
    """`scale`, `unit` and the `file` they are from; empty where there is none."""
    beside = folder.absolute().with_name(folder.absolute().name + ".json")
    for file in [*sorted(folder.glob("*.json")), *([beside] if beside.is_file() else [])]:
        with reading(file, "a json with scale and unit"):
            read = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(read, dict) or not {"scale", "unit"} <= set(read):
                continue  # of something else
            scale, unit = read["scale"], read["unit"]
            number = isinstance(scale, int | float) and not isinstance(scale, bool)
            if not (number and math.isfinite(scale) and scale > 0):
                raise FormatError(f"scale: expected a number above 0, got {scale!r}")
            if unit not in ("relative", "metre"):
                raise FormatError(f"unit: expected relative or metre, got {unit!r}")
            return {"scale": scale, "unit": unit, "file": file}
    return {}


def _found(path: Path) -> str:
    return f"the file {path}" if path.exists() else f"no {path}"
