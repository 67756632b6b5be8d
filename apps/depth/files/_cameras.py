"""Cameras as files: TUM trajectory, intrinsics, Nerfstudio's transforms.json; and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trackime.arrays import Float64
from trackime.errors import FormatError, InputError
from trackime.files import atomic, reading
from trackime.geometry import Cameras


def quaternions(rotations: npt.ArrayLike) -> Float64:
    """Unit quaternions float64 [F, 4], (w, x, y, z) with w >= 0, of rotations [F, 3, 3]."""
    from scipy.spatial.transform import Rotation

    matrices = np.asarray(rotations, np.float64)
    if not len(matrices):
        return np.zeros((0, 4))
    xyzw = Rotation.from_matrix(matrices).as_quat()
    wxyz = np.roll(xyzw, 1, axis=1)
    return np.asarray(np.where(wxyz[:, :1] < 0, -wxyz, wxyz))


def write_tum(path: Path, cameras: Cameras, pts: npt.ArrayLike) -> None:
    """Write one line ``pts tx ty tz qx qy qz qw`` per frame, camera-to-world; atomic. Numbers are exact.

    (https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats)

    Raises:
        InputError: times of another number of frames.
    """
    times = np.asarray(pts, np.float64)
    if times.shape != (len(cameras),):
        raise InputError(f"pts: expected {len(cameras)} times, one per frame, got {list(times.shape)}")
    turn = np.roll(quaternions(cameras.poses[:, :3, :3]), -1, axis=1)
    rows = np.concatenate((times[:, None], cameras.poses[:, :3, 3], turn), 1)
    text = "".join(" ".join(map(repr, row)) + "\n" for row in rows.tolist())
    with atomic(path) as temporary:
        temporary.write_text("# pts tx ty tz qx qy qz qw\n" + text, encoding="ascii")


def read_tum(path: Path) -> tuple[Float64, Float64]:
    """Times float64 [F] and poses float64 [F, 4, 4], camera-to-world, of a TUM trajectory.

    Raises:
        FormatError: no such file, or lines that are not eight numbers.
    """
    from scipy.spatial.transform import Rotation

    with reading(path, "a TUM trajectory"):
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
        rows = [line for line in lines if line and not line[0].startswith("#")]
        for k, row in enumerate(rows):
            if len(row) != 8:
                raise FormatError(f"expected 8 numbers, got {len(row)} in line {k + 1}")
        values = np.array(rows, np.float64).reshape(-1, 8)
        if not np.isfinite(values).all():
            raise FormatError("expected finite numbers, got NaN or infinity")
        poses = np.tile(np.eye(4), (len(values), 1, 1))
        if len(values):
            poses[:, :3, :3] = Rotation.from_quat(values[:, 4:]).as_matrix()
        poses[:, :3, 3] = values[:, 1:4]
        return values[:, 0], poses


def write_intrinsics(path: Path, cameras: Cameras, metric: bool) -> None:
    """Write intrinsics.json: one focal length, or one per frame where they differ; atomic."""
    shared = _shared(cameras)
    record: dict[str, Any] = {"model": "PINHOLE", "width": cameras.width, "height": cameras.height}
    if shared is not None:
        wide = 2 * np.degrees(np.arctan(cameras.width / 2 / shared))
        record |= {"fx": shared, "fy": shared, "fov": float(wide)}
    else:
        record["focal"] = cameras.focal.tolist()
    record |= {
        "cx": cameras.width / 2,
        "cy": cameras.height / 2,
        "pixels": "the centre of the top-left one is at (0.5, 0.5)",
        "axes": "x right, y down, z forward; camera-to-world in cameras.tum",
        "unit": "metre" if metric else "relative",
        "frames": len(cameras),
    }
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def read_cameras(trajectory: Path, intrinsics: Path) -> tuple[Cameras, Float64, bool]:
    """Cameras of cameras.tum and intrinsics.json, their times float64 [F], and whether they are metric.

    Raises:
        FormatError: a file that is missing, damaged, or of another number of frames.
    """
    pts, poses = read_tum(trajectory)
    with reading(intrinsics, "intrinsics of a depth result"):
        record = json.loads(intrinsics.read_text(encoding="utf-8"))
        focal = np.asarray(record["focal"] if "focal" in record else [record["fx"]] * len(poses), np.float64)
        if focal.shape != (len(poses),):
            raise FormatError(f"expected the focal lengths of {len(poses)} frames, got {list(focal.shape)}")
        cameras = Cameras(poses, focal, int(record["width"]), int(record["height"]))
        return cameras, pts, record["unit"] == "metre"


def write_transforms(
    path: Path,
    cameras: Cameras,
    images: Sequence[str],
    depths: Sequence[str] | None = None,
    cloud: str | None = None,
) -> None:
    """Write Nerfstudio's transforms.json: camera-to-world, OpenGL axes (y and z columns negated); atomic.

    (https://docs.nerf.studio/quickstart/data_conventions.html)

    Args:
        path: where to.
        cameras: of the frames.
        images: the frames' files, relative to the file's folder.
        depths: their 16-bit PNGs, which Nerfstudio takes for millimetres: give none in other units.
        cloud: the point cloud's file.

    Raises:
        InputError: files of another number than cameras.
    """
    if len(images) != len(cameras) or (depths is not None and len(depths) != len(cameras)):
        raise InputError(f"transforms: expected the files of {len(cameras)} frames, got {len(images)}")
    shared = _shared(cameras)
    record: dict[str, Any] = {"camera_model": "OPENCV"}
    if shared is not None:
        record |= {"fl_x": shared, "fl_y": shared}
    record |= {"cx": cameras.width / 2, "cy": cameras.height / 2, "w": cameras.width, "h": cameras.height}
    record |= dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0)
    if cloud is not None:
        record["ply_file_path"] = cloud
    frames = []
    for t, image in enumerate(images):
        frame: dict[str, Any] = {"file_path": image}
        if depths is not None:
            frame["depth_file_path"] = depths[t]
        if shared is None:
            frame |= {"fl_x": float(cameras.focal[t]), "fl_y": float(cameras.focal[t])}
        frame["transform_matrix"] = (cameras.poses[t] * (1, -1, -1, 1)).tolist()
        frames.append(frame)
    with atomic(path) as temporary:
        temporary.write_text(json.dumps({**record, "frames": frames}, indent=1) + "\n", encoding="utf-8")


def _shared(cameras: Cameras) -> float | None:
    """The focal length of all frames; None where they differ."""
    focal = cameras.focal
    return float(focal[0]) if len(focal) and (focal == focal[0]).all() else None
