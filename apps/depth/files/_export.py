"""Files for other tools, made from a depth folder frame by frame, in memory that does not grow with the video.

depth_png/NAME.png  16 bits, one scale for the video in depth_png/scale.json
depth_exr/NAME.exr  float32 channel Z (extra ``exr``)
depth.mp4           disparity in colours, one range for the video
cloud.ply           static points that were measured
mesh.ply            a mesh of the same (extra ``open3d``)
colmap/sparse/0     cameras, images and tracked points
transforms.json     cameras for Nerfstudio
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from trackime.arrays import BoolArray, FloatArray, UInt8
from trackime.progress import Report, silent
from trackime.video import VideoWriter

from ..config import Exports
from ..sfm import POINTS as MODEL_POINTS
from ..sfm import PointColours, WorldPoints
from ._cameras import write_transforms
from ._cloud import CloudFusion, surface
from ._colmap import check_images, write_colmap
from ._depth_range import DepthRange
from ._frames import METRE, MILLIMETRE, PngScale, openexr, write_exr, write_png
from ._mesh import MeshFusion, open3d
from ._ply import write_ply
from .colours import DepthColours
from .folder import IMAGES, DepthFolder

DEPTH_PNG, DEPTH_EXR = "depth_png", "depth_exr"
VIDEO, CLOUD, MESH, COLMAP, TRANSFORMS = "depth.mp4", "cloud.ply", "mesh.ply", "colmap", "transforms.json"

FUSED_FRAMES = 150
"""Most frames, evenly spread, that a cloud or mesh is fused from: more take time and add few points."""

_FUSED_PIXELS = 80_000
_MESH_DETAIL = 100  # voxels to the median depth


@dataclass(frozen=True)
class _ExportFrame:
    """A frame as exports get it; `use` bool [H, W]: measured and not moving."""

    t: int
    name: str
    image: UInt8
    depth: FloatArray
    use: BoolArray


_Add = Callable[[_ExportFrame], None]


def check(wanted: Exports, names: Sequence[str]) -> None:
    """Check that `wanted` can be written for frames of these names, before minutes of work.

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
    result: DepthFolder, wanted: Exports, world: WorldPoints | None = None, report: Report = silent
) -> dict[str, float]:
    """Write `wanted` into a depth folder.

    Args:
        result: whose frames are all written.
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
    depths = result.depth_range(report)
    figures = {"nearest": depths.nearest, "median": depths.percentile(50), "farthest": depths.farthest}
    with ExitStack() as stack:
        writers = [stack.enter_context(each) for each in _writers(result, wanted, world, depths, figures)]
        for t, name in enumerate(result.info.names):
            depth, _, measured = result.maps(t)
            frame = _ExportFrame(t, name, result.image(t), depth, measured & ~result.dynamic(t))
            for add in writers:
                add(frame)
            report("export", t + 1, len(result))
    if wanted.transforms:
        _transforms(result, wanted, depths, bool(figures.get("cloud")))
    return figures


def _writers(
    result: DepthFolder, wanted: Exports, world: WorldPoints | None, depths: DepthRange, figures: dict[str, float]
) -> Iterator[AbstractContextManager[_Add]]:
    if wanted.exr:
        yield _exr(result)
    if wanted.mesh:
        yield _mesh(result, depths, figures)
    if wanted.png:
        yield _png(result, depths)
    if wanted.movie:
        yield _video(result, depths)
    if wanted.cloud:
        yield _cloud(result, depths, wanted.cloud, figures)
    if world is not None and wanted.colmap != "none":
        yield _colmap(result, world, wanted.colmap == "text", figures)


def _scale(result: DepthFolder, depths: DepthRange) -> PngScale:
    return PngScale.reaching(depths.reach or 1.0, result.metric)


@contextmanager
def _png(result: DepthFolder, depths: DepthRange) -> Iterator[_Add]:
    folder, scale = result.folder / DEPTH_PNG, _scale(result, depths)
    scale.save(folder)
    yield lambda frame: write_png(folder / f"{frame.name}.png", scale.values(frame.depth))


@contextmanager
def _exr(result: DepthFolder) -> Iterator[_Add]:
    folder = result.folder / DEPTH_EXR
    openexr()  # not at the first frame only
    yield lambda frame: write_exr(folder / f"{frame.name}.exr", frame.depth, result.unit)


@contextmanager
def _video(result: DepthFolder, depths: DepthRange) -> Iterator[_Add]:
    info, colours = result.info, DepthColours.of(depths)
    with VideoWriter(result.folder / VIDEO, info.width, info.height, pts=info.pts) as writer:
        yield lambda frame: writer.write(colours(frame.depth))


def _fused(frames: int) -> frozenset[int]:
    """The frames to fuse."""
    return frozenset(np.unique(np.linspace(0, frames - 1, min(frames, FUSED_FRAMES)).round()).astype(int).tolist())


@contextmanager
def _cloud(result: DepthFolder, depths: DepthRange, points: int, figures: dict[str, float]) -> Iterator[_Add]:
    cameras, chosen = result.cameras, _fused(len(result))
    stride = max(1, round((cameras.width * cameras.height / _FUSED_PIXELS) ** 0.5))
    pixel = (depths.percentile(50) or 1.0) / float(np.median(cameras.focal))
    cloud = CloudFusion(max(stride, 2) * pixel, points)  # finer than pixels, noise would only pile up

    def add(frame: _ExportFrame) -> None:
        if frame.t in chosen:
            near = frame.use & (frame.depth <= depths.reach)
            cloud.add(*surface(cameras, frame.t, frame.depth, near, frame.image, stride))

    yield add
    xyz, rgb = cloud.finish()
    unit = "metres" if result.metric else "relative units, those of cameras.tum"
    write_ply(result.folder / CLOUD, xyz, rgb, f"{unit}; x right, y down, z forward of the first camera")
    figures["cloud"] = len(xyz)


@contextmanager
def _mesh(result: DepthFolder, depths: DepthRange, figures: dict[str, float]) -> Iterator[_Add]:
    chosen, median = _fused(len(result)), depths.percentile(50) or 1.0
    # No finer than the pixels that the surface is seen through.
    voxel = max(median / _MESH_DETAIL, 2 * median / float(np.median(result.cameras.focal)))
    mesh = MeshFusion(result.cameras, voxel, depths.reach or 1.0)

    def add(frame: _ExportFrame) -> None:
        if frame.t in chosen:
            mesh.add(frame.t, frame.depth, frame.use, frame.image)

    yield add
    figures["triangles"] = mesh.save(result.folder / MESH)


@contextmanager
def _colmap(result: DepthFolder, world: WorldPoints, text: bool, figures: dict[str, float]) -> Iterator[_Add]:
    world = world.most_seen(MODEL_POINTS)
    colours = PointColours(world.tracks)
    yield lambda frame: colours.add(frame.t, frame.image)
    names = [f"{name}.png" for name in result.info.names]
    write_colmap(result.folder / COLMAP / "sparse" / "0", result.cameras, names, world, colours.finish(), text)
    figures["points"] = len(world)


def _transforms(result: DepthFolder, wanted: Exports, depths: DepthRange, cloud: bool) -> None:
    names = result.info.names
    # Nerfstudio takes depth PNGs for millimetres: depth in other units would silently be wrong there.
    fit = wanted.png and _scale(result, depths) == PngScale(METRE, MILLIMETRE)
    pngs = [f"{DEPTH_PNG}/{name}.png" for name in names] if fit else None
    images = [f"{IMAGES}/{name}.png" for name in names]
    write_transforms(result.folder / TRANSFORMS, result.cameras, images, pngs, CLOUD if cloud else None)
