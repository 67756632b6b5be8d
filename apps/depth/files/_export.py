"""What other tools read, made from a depth result frame by frame, in memory that does not grow with their number.

depth_png/NAME.png  16 bits, one scale for the video in depth_png/scale.json
depth_exr/NAME.exr  float32 channel Z (extra ``exr``)
depth.mp4           disparity in colours, one range for the video
cloud.ply           points of what stands still and was measured
mesh.ply            a mesh of the same (extra ``open3d``)
colmap/sparse/0     cameras, images and tracked points, for whatever reads COLMAP models
transforms.json     cameras for Nerfstudio
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from trackime.arrays import BoolArray, FloatArray, UInt8
from trackime.progress import Report
from trackime.video import VideoWriter

from ..config import Exports
from ..sfm import POINTS as MODEL_POINTS
from ..sfm import PointColours, WorldPoints
from ._cameras import write_transforms
from ._cloud import CloudFusion, surface
from ._colmap import check_images, write_colmap
from ._frames import METRE, MILLIMETRE, PngScale, openexr, write_exr, write_png
from ._mesh import MeshFusion, open3d
from ._ply import write_ply
from ._survey import Survey
from .colours import Colouring
from .results import IMAGES, DepthResult

DEPTH_PNG, DEPTH_EXR = "depth_png", "depth_exr"
VIDEO, CLOUD, MESH, COLMAP, TRANSFORMS = "depth.mp4", "cloud.ply", "mesh.ply", "colmap", "transforms.json"

FUSED_FRAMES = 150
"""Frames, evenly spread, that a cloud or mesh is fused from at most: more bring time and hardly a new point."""

_FUSED_PIXELS = 80_000
_MESH_DETAIL = 100  # voxels to the median depth


@dataclass(frozen=True)
class _Shot:
    """A frame as writers get it; `use`: measured and not moving."""

    t: int
    name: str
    image: UInt8
    depth: FloatArray
    use: BoolArray


_Add = Callable[[_Shot], None]


def check(wanted: Exports, names: Sequence[str]) -> None:
    """Whether `wanted` can be written for frames of these names: before minutes of work for it.

    Raises:
        MissingExtraError: EXR or mesh without their extra.
        InputError: names that a COLMAP model cannot hold.
    """
    if wanted.exr:
        openexr()
    if wanted.mesh:
        open3d()
    if wanted.colmap != "none":
        check_images([f"{name}.png" for name in names], wanted.colmap == "text")


def export(
    result: DepthResult, wanted: Exports, world: WorldPoints | None = None, report: Report | None = None
) -> dict[str, float]:
    """Write `wanted` into the folder of a result whose frames are all there.

    Args:
        result: see `DepthResult.begin` and `load`.
        wanted: what to write.
        world: points with their tracks, for the COLMAP model; None: no model.
        report: called with (stage, done, total).

    Returns:
        figures for a record: nearest, median and farthest depth, the points of the cloud and of the model, triangles.

    Raises:
        MissingExtraError: EXR or mesh without their extra; before anything is written.
        FormatError: a frame's files are missing.
        OutputError: a file that cannot be written.
    """
    survey = result.survey(report)
    figures = {"nearest": survey.nearest, "median": survey.percentile(50), "farthest": survey.farthest}
    with ExitStack() as stack:
        writers = [stack.enter_context(each) for each in _writers(result, wanted, world, survey, figures)]
        for t, name in enumerate(result.info.names):
            depth, _, measured = result.maps(t)
            shot = _Shot(t, name, result.image(t), depth, measured & ~result.dynamic(t))
            for add in writers:
                add(shot)
            if report is not None:
                report("export", t + 1, len(result))
    if wanted.transforms:
        _transforms(result, wanted, survey, bool(figures.get("cloud")))
    return figures


def _writers(
    result: DepthResult, wanted: Exports, world: WorldPoints | None, survey: Survey, figures: dict[str, float]
) -> Iterator[AbstractContextManager[_Add]]:
    if wanted.exr:
        yield _exr(result)
    if wanted.mesh:
        yield _mesh(result, survey, figures)
    if wanted.png:
        yield _png(result, survey)
    if wanted.movie:
        yield _video(result, survey)
    if wanted.cloud:
        yield _cloud(result, survey, wanted.cloud, figures)
    if world is not None and wanted.colmap != "none":
        yield _colmap(result, world, wanted.colmap == "text", figures)


def _scale(result: DepthResult, survey: Survey) -> PngScale:
    return PngScale.reaching(survey.reach or 1.0, result.metric)


@contextmanager
def _png(result: DepthResult, survey: Survey) -> Iterator[_Add]:
    folder, scale = result.folder / DEPTH_PNG, _scale(result, survey)
    scale.save(folder)
    yield lambda shot: write_png(folder / f"{shot.name}.png", shot.depth, scale)


@contextmanager
def _exr(result: DepthResult) -> Iterator[_Add]:
    folder = result.folder / DEPTH_EXR
    openexr()  # not at the first frame only
    yield lambda shot: write_exr(folder / f"{shot.name}.exr", shot.depth, result.unit)


@contextmanager
def _video(result: DepthResult, survey: Survey) -> Iterator[_Add]:
    info, colours = result.info, Colouring.of(survey)
    with VideoWriter(result.folder / VIDEO, info.width, info.height, pts=info.pts) as writer:
        yield lambda shot: writer.write(colours(shot.depth))


def _fused(frames: int) -> frozenset[int]:
    """The frames to fuse."""
    return frozenset(np.unique(np.linspace(0, frames - 1, min(frames, FUSED_FRAMES)).round()).astype(int).tolist())


@contextmanager
def _cloud(result: DepthResult, survey: Survey, points: int, figures: dict[str, float]) -> Iterator[_Add]:
    cameras, chosen = result.cameras, _fused(len(result))
    stride = max(1, round((cameras.width * cameras.height / _FUSED_PIXELS) ** 0.5))
    pixel = (survey.percentile(50) or 1.0) / float(np.median(cameras.focal))
    cloud = CloudFusion(max(stride, 2) * pixel, points)  # finer than pixels, noise would only pile up

    def add(shot: _Shot) -> None:
        if shot.t in chosen:
            near = shot.use & (shot.depth <= survey.reach)
            cloud.add(*surface(cameras, shot.t, shot.depth, near, shot.image, stride))

    yield add
    xyz, rgb = cloud.finish()
    unit = "metres" if result.metric else "relative units, those of cameras.tum"
    write_ply(result.folder / CLOUD, xyz, rgb, f"{unit}; x right, y down, z forward of the first camera")
    figures["cloud"] = len(xyz)


@contextmanager
def _mesh(result: DepthResult, survey: Survey, figures: dict[str, float]) -> Iterator[_Add]:
    chosen, median = _fused(len(result)), survey.percentile(50) or 1.0
    # No finer than the pixels that the surface is seen through.
    voxel = max(median / _MESH_DETAIL, 2 * median / float(np.median(result.cameras.focal)))
    mesh = MeshFusion(result.cameras, voxel, survey.reach or 1.0)

    def add(shot: _Shot) -> None:
        if shot.t in chosen:
            mesh.add(shot.t, shot.depth, shot.use, shot.image)

    yield add
    figures["triangles"] = mesh.save(result.folder / MESH)


@contextmanager
def _colmap(result: DepthResult, world: WorldPoints, text: bool, figures: dict[str, float]) -> Iterator[_Add]:
    world = world.most_seen(MODEL_POINTS)
    colours = PointColours(world.tracks)
    yield lambda shot: colours.add(shot.t, shot.image)
    names = [f"{name}.png" for name in result.info.names]
    write_colmap(result.folder / COLMAP / "sparse" / "0", result.cameras, names, world, colours.finish(), text)
    figures["points"] = len(world)


def _transforms(result: DepthResult, wanted: Exports, survey: Survey, cloud: bool) -> None:
    names = result.info.names
    # Nerfstudio takes depth PNGs for millimetres: depth in other units would silently be wrong there.
    fit = wanted.png and _scale(result, survey) == PngScale(METRE, MILLIMETRE)
    depths = [f"{DEPTH_PNG}/{name}.png" for name in names] if fit else None
    images = [f"{IMAGES}/{name}.png" for name in names]
    write_transforms(result.folder / TRANSFORMS, result.cameras, images, depths, CLOUD if cloud else None)
