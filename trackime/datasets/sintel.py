"""MPI Sintel with depth and cameras: a rendered film (Butler et al., ECCV 2012; depth and cameras of 2015).

Layout: ``training/final/SEQ/frame_0001.png`` (or ``clean``), ``training/depth/SEQ/frame_0001.dpt``,
``training/camdata_left/SEQ/frame_0001.cam``. Numbers are little-endian; both kinds of file begin with the float32
202021.25. A .dpt continues with width and height (int32) and z as float32, row by row; a .cam with intrinsics 3x3
and world-to-camera 3x4 as float64, row by row. Pixel centres are integers there. The sky has depth, too: cap it when
scoring.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trackime.arrays import Float64
from trackime.datasets.sample import Sample, existing_folder, folder_info
from trackime.datasets.scan import Scan, check_poses
from trackime.errors import FormatError, UnknownNameError

_TAG = 202021.25
_RENDERS = ("final", "clean")


def read(path: str | os.PathLike[str], render: str = "final") -> Iterator[Sample]:
    """Videos whose `labels["scan"]` is the `Scan`; see `scans`."""
    return (Sample(scan.name, scan.video, labels={"scan": scan}) for scan in scans(path, render))


def scans(path: str | os.PathLike[str], render: str = "final") -> Iterator[Scan]:
    """The sequences of the data set's folder, or of its ``training`` folder.

    Args:
        path: see there.
        render: "final" (blur, fog) or "clean".

    Raises:
        UnknownNameError: another render.
        FormatError: no sequences; files that do not agree when reached.
    """
    if render not in _RENDERS:
        raise UnknownNameError("render", render, _RENDERS)
    root = existing_folder(path)
    root = root / "training" if (root / "training").is_dir() else root
    frames = root / render
    folders = sorted(f for f in frames.iterdir() if f.is_dir()) if frames.is_dir() else []
    if not folders:
        raise FormatError(f"{root}: expected Sintel sequences (folders in {render!r}), found none")
    return (_open(root, folder) for folder in folders)


def _open(root: Path, frames: Path) -> Scan:
    info = folder_info(frames)
    depths, poses, intrinsics = [], np.tile(np.eye(4), (info.frames, 1, 1)), np.zeros((info.frames, 3, 3))
    for t, name in enumerate(info.names):
        depth = root / "depth" / frames.name / f"{name}.dpt"
        if not depth.is_file():
            raise FormatError(f"{depth}: no such file: expected depth for every frame")
        depths.append(depth)
        intrinsics[t], outside = _read_camera(root / "camdata_left" / frames.name / f"{name}.cam")
        poses[t, :3, :3] = outside[:, :3].T
        poses[t, :3, 3] = -outside[:, :3].T @ outside[:, 3]
    check_poses(poses, root / "camdata_left" / frames.name)
    intrinsics[:, :2, 2] += 0.5
    return Scan(frames.name, frames, tuple(depths), _read_depth, poses, intrinsics, (info.height, info.width))


def _read_depth(path: Path) -> Float64:
    """Depth float64 [H, W] of a .dpt file. Raises FormatError."""
    data = _content(path)
    width, height = np.frombuffer(data, "<i4", 2).tolist() if len(data) >= 8 else (0, 0)
    if width < 1 or height < 1 or len(data) != 8 + 4 * width * height:
        raise FormatError(f"{path}: expected {width}x{height} depths, got {len(data)} bytes")
    return np.frombuffer(data, "<f4", offset=8).reshape(height, width).astype(np.float64)


def _read_camera(path: Path) -> tuple[Float64, Float64]:
    """Intrinsics [3, 3], pixel centres at integers, and world-to-camera [3, 4] of a .cam file. Raises FormatError."""
    data = _content(path)
    if len(data) != 21 * 8:
        raise FormatError(f"{path}: expected 3x3 and 3x4 numbers, got {len(data)} bytes")
    values = np.frombuffer(data, "<f8")
    if not np.isfinite(values).all() or values[0] <= 0:
        raise FormatError(f"{path}: expected finite numbers and a positive focal length, got {values[0]:g}")
    return values[:9].reshape(3, 3).copy(), values[9:].reshape(3, 4).copy()


def _content(path: Path) -> bytes:
    """The bytes after the tag."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(data) < 4 or np.frombuffer(data, "<f4", 1)[0] != _TAG:
        raise FormatError(f"{path}: expected a Sintel file beginning with {_TAG}")
    return data[4:]
