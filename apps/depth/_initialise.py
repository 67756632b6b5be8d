"""Initial values of the solve: depth of every frame and, where there is parallax, cameras."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from trackime.arrays import BoolArray
from trackime.errors import SolveError
from trackime.files import atomic, read_npz, reading
from trackime.geometry import Cameras
from trackime.progress import Report
from trackime.types import RaggedTracks
from trackime.video import Video

from ._reconstruction import Reconstruction
from .initial_depth import DepthMaps
from .movers import Movers
from .request import DepthRequest
from .sfm import reconstruct

FOV = 60.0
"""Horizontal angle of view in degrees, assumed where it cannot be estimated: a phone's in landscape."""


@dataclass(frozen=True, eq=False)
class Initialisation:
    """Depth, and perhaps cameras, that a solve starts from.

    Attributes:
        maps: depth of every frame, perhaps at another resolution than the video's.
        focal: pixels, to start from.
        moving: moving points; according to the cameras where there are any.
        reconstruction: cameras and points by parallax; None where there is too little.
    """

    maps: DepthMaps
    focal: float
    moving: Movers
    reconstruction: Reconstruction | None = None


def initialise(
    video: Video, tracks: RaggedTracks, request: DepthRequest, folder: Path, moving: Movers, progress: Report
) -> Initialisation:
    """Depth of the request's source; cameras by parallax where there is any, whatever the source.

    Without a focal length, given or by parallax, that of a horizontal angle of view of `FOV` is used.

    Args:
        video: one shot.
        tracks: its points.
        request: source of depth, focal length, device; `DepthConfig.moving`: cameras detect moving points once more.
        folder: where maps and cameras are kept; those that exist are not computed again.
        moving: moving points, according to pairs of frames.
        progress: called with (stage, done, total).

    Raises:
        SolveError: depth is to come from parallax alone, and there is too little.
        and what the source raises.
    """
    focal, judge = request.focal, request.depth.moving
    found: Reconstruction | None = None
    judged = moving
    try:
        found = _reconstruction(folder / "cameras.npz", tracks, video, focal, moving.static, progress)
        judged = moving.with_cameras(found) if judge else moving
    except SolveError:
        if request.source.parallax:
            raise
    if request.source.parallax:
        from .stereo import MovingMasks, SparsePoints, densify

        assert found is not None
        maps = DepthMaps(folder / "maps", len(video))
        static = judged.static[found.point]
        points = SparsePoints(found.cameras, found.points[static], found.point[static], tracks)
        fast = moving.with_static(moving.static | judged.static)  # cameras also know false alarms better
        masks = MovingMasks(fast.mask, judged.mask if judge else None)
        densify(video, points, maps, masks=masks, usable=found.known, device=request.device, progress=progress)
    else:
        maps = request.source.maps(video, folder / "maps", request.device, progress)
    if focal is None:
        focal = (
            video.info.width / 2 / np.tan(np.radians(FOV) / 2)
            if found is None
            else float(np.median(found.cameras.focal))
        )
    return Initialisation(maps, focal, judged, found)


def _reconstruction(
    path: Path, tracks: RaggedTracks, video: Video, focal: float | None, static: BoolArray, progress: Report
) -> Reconstruction:
    """Cameras and points by parallax, from the file `path` where it exists, else computed and kept there."""
    if path.exists():
        return load_reconstruction(path)
    found = reconstruct(tracks, video.info.width, video.info.height, focal=focal, static=static, progress=progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_reconstruction(path, found)
    return found


_OWN = [item.name for item in fields(Reconstruction) if item.name != "cameras"]


def save_reconstruction(path: str | os.PathLike[str], found: Reconstruction) -> None:
    """Write an npz; atomic."""
    cameras = found.cameras
    arrays: dict[str, Any] = {name: np.asarray(getattr(found, name)) for name in _OWN}
    arrays |= {"poses": cameras.poses, "focal": cameras.focal, "size": np.array([cameras.width, cameras.height])}
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def load_reconstruction(path: str | os.PathLike[str]) -> Reconstruction:
    """Read what `save_reconstruction` wrote. FormatError where it is something else."""
    with reading(path, "an npz of cameras and points"):
        file = read_npz(path, ("poses", "focal", "size", *_OWN))
        width, height = file["size"].tolist()
        values: dict[str, Any] = {name: file[name] for name in _OWN} | {"error": float(file["error"])}
        return Reconstruction(Cameras(file["poses"], file["focal"], width, height), **values)
