"""The focal length that a user gives: pixels, an angle, or a file of intrinsics.

The solver's cameras are pinholes with square pixels whose principal point is the centre of the frame. A file that
differs is refused where that matters, with a warning where it hardly does.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trackime.errors import FormatError, InputError
from trackime.files import reading
from trackime.types import VideoInfo

_SHIFT_WARNED, _SHIFT_REFUSED = 0.01, 0.1
"""Largest distance of the principal point from the centre, as a share of the longer side."""
_STRETCH_WARNED, _STRETCH_REFUSED = 0.01, 0.1
"""Largest deviation of pixels from squares: |fx / fy - 1|."""
_AGREE = 1e-3
"""Largest relative difference of the focal lengths of a video's frames that count as one."""

_MODELS = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
}
"""COLMAP's cameras that are pinholes but for their distortion: its parameters in order (camera_models.h)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Pinhole:
    """A camera as a file describes it. Pixels of its own frames, the centre of the top-left one at (0.5, 0.5)."""

    fx: float
    fy: float
    cx: float | None = None
    cy: float | None = None
    width: float | None = None
    height: float | None = None
    distorted: bool = False


def resolve_focal(focal: float | None, fov: float | None, intrinsics: Path | None, info: VideoInfo) -> float | None:
    """The focal length in pixels of the video; None where none is given.

    Args:
        focal: pixels.
        fov: horizontal angle in degrees; f = (W / 2) / tan(fov / 2).
        intrinsics: `intrinsics.json` as results have it (fx, fy or focal, cx, cy, width, height), a text file with a
            3x3 matrix K (centres of pixels at integers, as OpenCV has them), COLMAP's ``cameras.txt``, or Nerfstudio's
            ``transforms.json``. One of another size than the video's is scaled to it.
        info: of the video.

    Raises:
        InputError: more than one of them, or one out of range.
        FormatError: a file that is none of these, of another shape than the video, of several cameras, with a
            principal point far from the centre or pixels far from square.
    """
    options = {"--focal": focal, "--fov": fov, "--intrinsics": intrinsics}
    named = [name for name, value in options.items() if value is not None]
    if len(named) > 1:
        raise InputError(f"{' and '.join(named)}: expected one of them")
    if focal is not None:
        if not (math.isfinite(focal) and focal > 0):
            raise InputError(f"--focal: expected a number of pixels above 0, got {focal:g}")
        return float(focal)
    if fov is not None:
        if not 0 < fov < 180:
            raise InputError(f"--fov: expected degrees above 0 and below 180, got {fov:g}")
        return info.width / 2 / math.tan(math.radians(fov) / 2)
    if intrinsics is None:
        return None
    return _of_video(intrinsics, _read_intrinsics(intrinsics), info)


def _read_intrinsics(path: Path) -> _Pinhole:
    """The camera of a file. FormatError where it is none of the four kinds, or holds several that differ."""
    if not path.is_file():
        raise InputError(f"--intrinsics: expected a file, found {'a folder' if path.is_dir() else 'no'} {path}")
    with reading(path, "intrinsics.json, a 3x3 matrix, COLMAP's cameras.txt or Nerfstudio's transforms.json"):
        text = path.read_text(encoding="utf-8")
        if text.lstrip().startswith("{"):
            return _one(_of_json(json.loads(text)))
        lines = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if any(len(words) > 1 and words[1].isupper() for words in lines):
            return _one([_of_colmap(words) for words in lines])
        return _of_matrix(np.array([[float(n) for n in " ".join(words).replace(",", " ").split()] for words in lines]))


def _of_json(read: Mapping[str, Any]) -> list[_Pinhole]:
    if "focal" in read:
        focal = read["focal"] if isinstance(read["focal"], list) else [read["focal"]]
        cx, cy, width, height = _optional(read, "cx", "cy", "width", "height")
        return [_Pinhole(float(f), float(f), cx, cy, width, height) for f in focal]
    if "fx" in read:
        cx, cy, width, height = _optional(read, "cx", "cy", "width", "height")
        return [_Pinhole(float(read["fx"]), float(read.get("fy", read["fx"])), cx, cy, width, height)]
    cameras = [read] if "fl_x" in read or "camera_angle_x" in read else read.get("frames", [])
    return [_of_nerfstudio(camera) for camera in cameras]


def _of_nerfstudio(camera: Mapping[str, Any]) -> _Pinhole:
    """fl_x, fl_y, cx, cy, w, h in pixels with COLMAP's centres; or, as in NeRF's own files, camera_angle_x."""
    model = str(camera.get("camera_model", "OPENCV"))
    if model not in ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE"):
        raise FormatError(f"camera_model: expected OPENCV or PINHOLE, got {model}")
    cx, cy, width, height = _optional(camera, "cx", "cy", "w", "h")
    if "fl_x" in camera:
        fx = float(camera["fl_x"])
    elif width is not None and "camera_angle_x" in camera:
        fx = width / 2 / math.tan(float(camera["camera_angle_x"]) / 2)
    else:
        raise FormatError("expected fl_x, or camera_angle_x with w: --fov takes an angle")
    distorted = any(float(camera.get(key, 0)) for key in ("k1", "k2", "k3", "k4", "p1", "p2"))
    return _Pinhole(fx, float(camera.get("fl_y", fx)), cx, cy, width, height, distorted)


def _of_colmap(words: Sequence[str]) -> _Pinhole:
    """CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]"""
    if len(words) < 4 or words[1] not in _MODELS or len(words) != 4 + len(_MODELS[words[1]]):
        allowed = ", ".join(_MODELS)
        raise FormatError(f"expected ID MODEL WIDTH HEIGHT PARAMS of {allowed}, got {' '.join(words)[:60]!r}")
    values = dict(zip(_MODELS[words[1]], map(float, words[4:]), strict=True))
    fx, fy = values.get("fx", values.get("f", 0)), values.get("fy", values.get("f", 0))
    distorted = any(value for key, value in values.items() if key[0] in "kp")
    return _Pinhole(fx, fy, values["cx"], values["cy"], float(words[2]), float(words[3]), distorted)


def _of_matrix(k: np.ndarray) -> _Pinhole:
    if k.size == 9:
        k = k.reshape(3, 3)
    if (
        k.shape not in ((3, 3), (3, 4), (4, 4))
        or abs(k[2, 2] - 1) > 1e-9
        or np.abs(k[[1, 2, 2], [0, 0, 1]]).max() > 1e-9
    ):
        raise FormatError(f"expected a matrix fx 0 cx; 0 fy cy; 0 0 1, got numbers of shape {list(k.shape)}")
    return _Pinhole(float(k[0, 0]), float(k[1, 1]), float(k[0, 2]) + 0.5, float(k[1, 2]) + 0.5)


def _optional(read: Mapping[str, Any], *keys: str) -> list[float | None]:
    return [None if read.get(key) is None else float(read[key]) for key in keys]


def _one(cameras: Sequence[_Pinhole]) -> _Pinhole:
    if not cameras:
        raise FormatError("expected a camera, got none")
    spread = max(c.fx for c in cameras) / max(min(c.fx for c in cameras), 1e-9) - 1
    if spread > _AGREE or len({(c.width, c.height) for c in cameras}) > 1:
        raise FormatError(f"expected one camera for the whole video, got {len(cameras)} that differ")
    return cameras[0]


def _of_video(path: Path, camera: _Pinhole, info: VideoInfo) -> float:
    numbers = [n for n in (camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height) if n is not None]
    if not np.isfinite(numbers).all() or min(camera.fx, camera.fy) <= 0:
        raise FormatError(f"{path}: expected focal lengths above 0 and finite numbers, got {numbers}")
    scale = 1.0
    if camera.width is not None and camera.height is not None:
        scale = info.width / camera.width if camera.width > 0 else 0
        if not scale or abs(camera.height * scale - info.height) > 1.5 * max(1, scale):
            got = f"{camera.width:g}x{camera.height:g}"
            raise FormatError(f"{path}: expected a camera of {info.width}x{info.height} frames, got {got}")
    _check_centre(path, camera, scale, info)
    stretch = abs(camera.fx / camera.fy - 1)
    if stretch > _STRETCH_REFUSED:
        raise FormatError(f"{path}: expected square pixels, got fx {camera.fx:g} and fy {camera.fy:g}")
    if stretch > _STRETCH_WARNED:
        _log.warning("%s: fx %g and fy %g: their mean is used for both", path, camera.fx, camera.fy)
    if camera.distorted:
        _log.warning("%s: lens distortion is not modelled: an undistorted video serves better", path)
    return math.sqrt(camera.fx * camera.fy) * scale


def _check_centre(path: Path, camera: _Pinhole, scale: float, info: VideoInfo) -> None:
    if camera.cx is None or camera.cy is None:
        return
    x, y = camera.cx * scale - info.width / 2, camera.cy * scale - info.height / 2
    off = max(abs(x), abs(y)) / max(info.width, info.height)
    problem = f"the principal point is ({x:+.0f}, {y:+.0f}) px off the centre of {info.width}x{info.height} frames"
    if off > _SHIFT_REFUSED:
        raise FormatError(f"{path}: {problem}: expected it near the centre (of frames of another size? cropped ones?)")
    if off > _SHIFT_WARNED:
        _log.warning("%s: %s; the centre is used", path, problem)
