"""TUM RGB-D: hand-held Kinect videos with depth and motion-captured poses (Sturm et al., IROS 2012).

Layout: ``rgb/TIME.png``, ``depth/TIME.png`` (16-bit, 5000 per metre, 0 none), ``groundtruth.txt`` (lines ``time tx ty
tz qx qy qz qw`` of the colour camera in the world, metres; # begins a comment). Times are seconds. Colour and depth are
recorded at different times: a frame gets the nearest depth and pose within 0.02 s, or none. Lens distortion
(freiburg1, freiburg2) is not removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trackime.arrays import Float64, Int64
from trackime.datasets.sample import Sample, existing_folder, list_images, sequences
from trackime.datasets.scan import Scan, centred, check_poses, numbers, png_depth
from trackime.errors import FormatError
from trackime.video import open_video

_NEAR = 0.02
"""Largest difference in seconds of times that match."""

UNIT = 5000.0
"""A metre in the depth files."""

CALIBRATIONS = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
}
"""fx, fy, cx, cy of the three colour cameras as published, of pixels whose centres are integers."""


def read(path: str | os.PathLike[str]) -> Iterator[Sample]:
    """Videos whose `labels["scan"]` is the `Scan`; see `scans`."""
    return (Sample(scan.name, scan.video, labels={"scan": scan}) for scan in scans(path))


def scans(path: str | os.PathLike[str]) -> Iterator[Scan]:
    """A sequence, or the sequences of a folder.

    The camera is that of the folder's name (freiburg1 .. freiburg3), or of a ``K.txt`` (3x3, pixel centres at integers)
    beside ``rgb``.

    Raises:
        FormatError: no sequences; files that do not agree when reached.
    """
    folders = sequences(existing_folder(path), "groundtruth.txt", "TUM RGB-D")
    return (open_scan(folder, CALIBRATIONS) for folder in folders)


def open_scan(folder: Path, calibrations: dict[str, tuple[float, float, float, float]]) -> Scan:
    """One sequence, its camera by the folder's name. Raises FormatError where files are missing or do not agree."""
    if not (folder / "rgb").is_dir():
        raise FormatError(f"{folder / 'rgb'}: no such folder of frames")
    info = open_video(folder / "rgb").info
    times = _times([folder / "rgb" / name for name in info.names])
    if (np.diff(times) <= 0).any():
        raise FormatError(f"{folder}/rgb: expected names in the order of their times")
    maps = list_images(folder / "depth")
    matched = _associate(times, _times(maps))
    depths = tuple(None if k < 0 else maps[k] for k in matched)
    lines = numbers(folder / "groundtruth.txt", (None, 8))
    nearest = _associate(times, lines[:, 0], alone=False)
    poses = np.where((nearest >= 0)[:, None, None], _pose_matrices(lines[nearest, 1:], folder), np.nan)
    intrinsics = centred(_intrinsics(folder, calibrations), info.frames)
    return Scan(folder.name, folder / "rgb", depths, png_depth(UNIT), poses, intrinsics, (info.height, info.width))


def _associate(times: Float64, others: Float64, alone: bool = True) -> Int64:
    """int64 [T], the nearest of `others` within `_NEAR` of each of `times`; -1: none.

    Args:
        times: [T] seconds.
        others: [M] seconds, in any order.
        alone: match each of `others` with the nearest of its `times` only.
    """
    if not len(others):
        return np.full(len(times), -1)
    order = np.argsort(others, kind="stable")
    place = np.searchsorted(others[order], times)
    before, after = order[np.maximum(place - 1, 0)], order[np.minimum(place, len(others) - 1)]
    off = np.abs(others[[before, after]] - times)
    nearest, gap = np.where(off[0] <= off[1], before, after), off.min(0)
    good = gap <= _NEAR
    if alone:
        by_gap = np.argsort(gap, kind="stable")
        first = by_gap[np.unique(nearest[by_gap], return_index=True)[1]]
        good &= np.isin(np.arange(len(times)), first)
    return np.where(good, nearest, -1)


def _pose_matrices(lines: Float64, folder: Path) -> Float64:
    """Camera-to-world [T, 4, 4] of lines [T, 7] tx ty tz qx qy qz qw."""
    from scipy.spatial.transform import Rotation

    size = np.linalg.norm(lines[:, 3:], axis=1)
    if (np.abs(size - 1) > 1e-2).any():
        raise FormatError(f"{folder}/groundtruth.txt: expected unit quaternions, got one of length {size.min():.3g}")
    out = np.tile(np.eye(4), (len(lines), 1, 1))
    out[:, :3, :3] = Rotation.from_quat(lines[:, 3:]).as_matrix()
    out[:, :3, 3] = lines[:, :3]
    check_poses(out, folder / "groundtruth.txt")
    return out


def _times(paths: list[Path]) -> Float64:
    out = []
    for path in paths:
        name = path.stem if path.suffix.lower() in (".png", ".jpg", ".jpeg") else path.name
        try:
            out.append(float(name))
        except ValueError:
            raise FormatError(f"{path}: expected a name that is a time in seconds") from None
    return np.array(out, np.float64)


def _intrinsics(folder: Path, calibrations: dict[str, tuple[float, float, float, float]]) -> Float64:
    if (folder / "K.txt").exists():
        return numbers(folder / "K.txt", (3, 3))
    for name, (fx, fy, cx, cy) in calibrations.items():
        if name in folder.resolve().name.lower():
            return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    raise FormatError(f"{folder}: expected a name with {', '.join(calibrations)}, or a K.txt, to know the camera")
