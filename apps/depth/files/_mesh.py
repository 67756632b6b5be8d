"""A triangle mesh of what is static, by truncated signed distances (Curless and Levoy, SIGGRAPH 1996) in Open3D."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trackime.arrays import BoolArray, FloatArray, UInt8
from trackime.errors import InputError, MissingExtraError, OutputError
from trackime.files import atomic
from trackime.geometry import Cameras

from ._cloud import flying

_BAND = 6  # voxels to each side of a surface; larger differences between frames make holes
_SMALLEST = 50  # triangles; pieces smaller than that are noise


def open3d() -> Any:
    """The module Open3D. MissingExtraError where it is not installed, or a system library that it needs is not."""
    try:
        import open3d as module
    except (ImportError, OSError) as error:
        lacking = "" if isinstance(error, ModuleNotFoundError) else f" ({error})"
        raise MissingExtraError(f"a mesh{lacking}", "open3d") from None
    return module


class MeshFusion:
    """Depth maps fused into a mesh; memory grows with the surface, not with the number of frames.

    Args:
        cameras: of all frames.
        voxel: edge in units of the cameras.
        reach: depths beyond it are left out.

    Raises:
        MissingExtraError: Open3D is not installed, or a system library that it needs is not.
        InputError: voxel or reach not above 0.
    """

    def __init__(self, cameras: Cameras, voxel: float, reach: float) -> None:
        if not (voxel > 0 and reach > 0):
            raise InputError(f"mesh: expected a voxel and a reach above 0, got {voxel:g} and {reach:g}")
        module = open3d()
        self._cameras, self._reach, self._open3d, self._frames = cameras, reach, module, 0
        core = module.core
        # Open3D's older ScalableTSDFVolume finds no surface at all as of 0.20.
        self._volume: Any = module.t.geometry.VoxelBlockGrid(
            attr_names=("tsdf", "weight", "color"),
            attr_dtypes=(core.float32, core.float32, core.float32),
            attr_channels=((1), (1), (3)),
            voxel_size=voxel,
            block_resolution=16,
            block_count=1000,  # it grows
            device=core.Device("CPU:0"),
        )

    def add(self, t: int, depth: FloatArray, use: BoolArray, image: UInt8) -> None:
        """Integrate the pixels [H, W] of frame t that may be used; image uint8 [H, W, 3]."""
        open3d, cameras = self._open3d, self._cameras
        kept = np.where(use & ~flying(depth) & (depth <= self._reach), depth, 0).astype(np.float32)
        if not kept.any():
            return
        image_of, tensor = open3d.t.geometry.Image, open3d.core.Tensor
        z, colours = image_of(kept), image_of(np.ascontiguousarray(image, np.float32))
        # Open3D has the centre of the top-left pixel at (0, 0).
        intrinsics = tensor(cameras.intrinsics(t) - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
        pose = tensor(np.linalg.inv(cameras.poses[t]))
        reach = (1.0, 2 * self._reach, float(_BAND))  # scale and limit of depth, half the band in voxels
        blocks = self._volume.compute_unique_block_coordinates(z, intrinsics, pose, *reach)
        self._volume.integrate(blocks, z, colours, intrinsics, intrinsics, pose, *reach)
        self._frames += 1

    def save(self, path: Path) -> int:
        """Write the mesh as PLY; atomic. The number of its triangles.

        Raises:
            OutputError: the file cannot be written.
        """
        mesh = self._mesh()
        if len(mesh.triangles):
            piece, sizes, _ = mesh.cluster_connected_triangles()
            mesh.remove_triangles_by_mask(np.asarray(sizes)[np.asarray(piece)] < _SMALLEST)
            mesh.remove_unreferenced_vertices()
        count = len(mesh.triangles)
        with atomic(path) as temporary:
            # Open3D writes no file of an empty mesh, and prints a message instead of raising.
            if not count:
                temporary.write_bytes(_EMPTY)
            elif not self._open3d.io.write_triangle_mesh(str(temporary), mesh):
                raise OutputError(f"cannot write {path}")
        return count

    def _mesh(self) -> Any:
        """The surface that frames enough agree on, as Open3D's legacy mesh, which knows its pieces."""
        if not self._frames:
            return self._open3d.geometry.TriangleMesh()
        mesh = self._volume.extract_triangle_mesh(weight_threshold=float(min(3, (self._frames + 3) // 4)))
        legacy, colours = mesh.to_legacy(), mesh.vertex.colors.numpy() / 255
        legacy.vertex_colors = self._open3d.utility.Vector3dVector(np.clip(colours, 0, 1).astype(np.float64))
        return legacy


_EMPTY = (
    b"ply\nformat binary_little_endian 1.0\nelement vertex 0\nproperty float x\nproperty float y\nproperty float z\n"
    b"element face 0\nproperty list uchar int vertex_indices\nend_header\n"
)
