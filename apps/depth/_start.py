"""What a solve begins with: depth of every frame and, where parallax tells them, cameras."""

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
from .maps import DepthMaps
from .movers import Movers
from .sfm import reconstruct
from .source import Source

FOV = 60.0
"""Horizontal angle of view in degrees that a video is taken to have where nothing tells: a phone's, held across."""


@dataclass(frozen=True, eq=False)
class Start:
    """Depth, and perhaps cameras.

    Attributes:
        maps: depth of every frame, perhaps at another resolution than the video's.
        focal: pixels, to start from.
        moving: what moves by itself; told by the cameras where there are any.
        reconstruction: cameras and points of parallax; None where it told nothing.
    """

    maps: DepthMaps
    focal: float
    moving: Movers
    reconstruction: Reconstruction | None = None


def begin(
    video: Video,
    trails: RaggedTracks,
    source: Source,
    folder: Path,
    *,
    focal: float | None,
    moving: Movers,
    judge: bool,
    device: str,
    report: Report,
) -> Start:
    """Depth from the source; of a network's or a folder's, cameras by parallax as far as there is any.

    Args:
        video: one shot.
        trails: its points.
        source: of depth.
        folder: where maps and cameras are kept; what is there already is not made again.
        focal: pixels; None: found by parallax, else that of a horizontal angle of view of `FOV`.
        moving: what moves, as far as pairs of frames tell.
        judge: have cameras of parallax tell it once more; else it stays as it is.
        device: where to compute.
        report: progress.

    Raises:
        SolveError: parallax alone is asked for and does not tell.
        and what the source raises.
    """
    width, height = video.info.width, video.info.height
    found: Reconstruction | None = None
    surely = moving
    try:
        found = kept_reconstruction(folder / "cameras.npz", trails, width, height, focal, moving.static, report)
        surely = moving.with_cameras(found) if judge else moving
    except SolveError:
        if source.parallax:
            raise
    if source.parallax:
        from .stereo import densify

        assert found is not None
        maps = DepthMaps(folder / "maps", len(video))
        still = surely.static[found.point]
        fast = moving.with_static(moving.static | surely.static)  # the cameras know better of false alarms, too
        densify(
            video, found.cameras, found.points[still], found.point[still], trails, maps, dynamic=fast.mask,
            slow=surely.mask if judge else None, usable=found.known, device=device, progress=report,
        )  # fmt: skip
    else:
        maps = source.maps(video, folder / "maps", device, report)
    if focal is None:
        focal = width / 2 / np.tan(np.radians(FOV) / 2) if found is None else float(np.median(found.cameras.focal))
    return Start(maps, focal, surely, found)


def kept_reconstruction(
    path: Path, trails: RaggedTracks, width: int, height: int, focal: float | None, static: BoolArray, report: Report
) -> Reconstruction:
    """Cameras and points of parallax, from a file where it is there, else made and kept in it."""
    if path.exists():
        return load_reconstruction(path)
    found = reconstruct(trails, width, height, focal=focal, static=static, progress=report)
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
