"""Every option of consistent depth, except those of its solver (see `solver.config.SolverConfig`)."""

from __future__ import annotations

from dataclasses import dataclass

from trackime.config import check_choices, option
from trackime.errors import InputError


@dataclass(frozen=True)
class DepthConfig:
    """How depth is estimated and smoothed."""

    solve: bool = option(True, "solve for cameras and depth that agree with the points; off: keep those by parallax")
    zoom: bool = option(False, "estimate one focal length per frame; off: one for the video")
    moving: bool = option(True, "detect moving objects; off: everything counts as static")
    matches: int = option(1000, "most matches of a pair of frames in the solve")
    cuts: float = option(0.45, "difference of two frames, 0 .. 1, from which on a cut lies between them; 0: no cuts")
    filter: int = option(4, "frames to each side whose depth is averaged along a pixel's trajectory; 0: none")

    def __post_init__(self) -> None:
        for name, least in (("matches", 1), ("filter", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name}: expected {least} or more, got {getattr(self, name)}")
        if not 0 <= self.cuts < 1:
            raise InputError(f"cuts: expected 0 .. 1, got {self.cuts:g}")


@dataclass(frozen=True)
class Exports:
    """The files written beside the maps."""

    png: bool = option(True, "16-bit PNGs of depth, one scale for the video")
    exr: bool = option(False, "EXR files of depth (extra exr)")
    movie: bool = option(True, "depth.mp4: disparity in colours")
    cloud: int = option(500_000, "most points of cloud.ply; 0: none")
    mesh: bool = option(False, "mesh.ply of static surfaces (extra open3d)")
    transforms: bool = option(True, "transforms.json for Nerfstudio")
    colmap: str = option("binary", "the COLMAP model: binary, text, or none", ("binary", "text", "none"))

    def __post_init__(self) -> None:
        check_choices(self)
        if self.cloud < 0:
            raise InputError(f"cloud: expected 0 points or more, got {self.cloud}")
