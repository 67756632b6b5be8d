"""A COLMAP model: cameras, images and points with the tracks that see them (https://colmap.github.io/format.html).

Binary by default: exact numbers, several times as fast, and the first choice of every reader of COLMAP models. Text is
for people; its positions in images have six digits.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from trackime.arrays import UInt8
from trackime.errors import InputError, ShapeError
from trackime.files import atomic
from trackime.geometry import Cameras

from ..sfm import WorldPoints
from ._cameras import quaternions

_PINHOLE = 1  # COLMAP's number of the model: fx, fy, cx, cy
_SIGHTING = np.dtype([("xy", "<f8", 2), ("point", "<i8")])
_MEMBER = np.dtype([("image", "<i4"), ("index", "<i4")])


def check_images(names: Sequence[str], text: bool) -> None:
    """Raises InputError for file names that a model, text or binary, cannot hold."""
    for name in names:
        if "\0" in name or (text and (len(name.split()) != 1 or not name.isprintable())):
            raise InputError(
                f"colmap: expected names of images without spaces (binary models may have them), got {name!r}"
            )


def write_colmap(
    folder: Path,
    cameras: Cameras,
    images: Sequence[str],
    world: WorldPoints,
    colours: UInt8 | None = None,
    text: bool = False,
) -> None:
    """Write cameras, images and points3D into a folder, which by custom is ``sparse/0``; atomic.

    Poses are world-to-camera, quaternions w first; one camera for all frames, or one per frame where focal lengths
    differ. COLMAP's pixels have the centre of the top-left one at (0.5, 0.5), as ours.

    Args:
        folder: where to.
        cameras: of F frames.
        images: F file names.
        world: the points and where they are seen.
        colours: uint8 [P, 3] of the points; None: grey.
        text: .txt rather than .bin.

    Raises:
        InputError: other numbers of images than cameras, names that a model cannot hold, points of another video.
        ShapeError: colours not [P, 3].
    """
    if len(images) != len(cameras) or world.tracks.frames != len(cameras):
        got = f"{len(images)} images and points of {world.tracks.frames} frames"
        raise InputError(f"colmap: expected as many images as cameras, {len(cameras)}, got {got}")
    check_images(images, text)
    shades = np.full((len(world), 3), 128, np.uint8) if colours is None else np.asarray(colours)
    if shades.shape != (len(world), 3):
        raise ShapeError("colours", f"[{len(world)}, 3]", shades.shape)
    model = _Model(cameras, images, world, shades)
    with atomic(folder) as temporary:
        temporary.mkdir()
        for name, part in (("cameras", model.cameras), ("images", model.images), ("points3D", model.points)):
            with open(temporary / f"{name}.{'txt' if text else 'bin'}", "wb") as file:
                part(file, text)


class _Model:
    """The writers of the three files, each a function of (file, text)."""

    def __init__(self, cameras: Cameras, images: Sequence[str], world: WorldPoints, colours: UInt8) -> None:
        self._cameras, self._names, self._world, self._colours = cameras, images, world, colours
        focal = cameras.focal
        self._one = bool(len(focal)) and bool((focal == focal[0]).all())
        trails = world.tracks
        self._order = np.argsort(trails.frame, kind="stable")  # sightings by frame
        self._bounds = np.searchsorted(trails.frame[self._order], np.arange(len(cameras) + 1))
        # The place of each sighting in its image's list.
        self._place = np.empty(len(trails.frame), np.int64)
        self._place[self._order] = np.arange(len(trails.frame)) - np.repeat(self._bounds[:-1], np.diff(self._bounds))

    def cameras(self, file: BinaryIO, text: bool) -> None:
        focal = self._cameras.focal[:1] if self._one else self._cameras.focal
        width, height = self._cameras.width, self._cameras.height
        if text:
            file.write(b"# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n")
        else:
            file.write(struct.pack("<Q", len(focal)))
        for k, f in enumerate(focal.tolist(), 1):
            params = (f, f, width / 2, height / 2)
            if text:
                file.write(f"{k} PINHOLE {width} {height} {' '.join(map(repr, params))}\n".encode())
            else:
                file.write(struct.pack("<iiQQ4d", k, _PINHOLE, width, height, *params))

    def images(self, file: BinaryIO, text: bool) -> None:
        poses, trails, point = self._cameras.poses, self._world.tracks, self._world.tracks.point
        turn = quaternions(poses[:, :3, :3].transpose(0, 2, 1))
        shift = -np.einsum("fji,fj->fi", poses[:, :3, :3], poses[:, :3, 3])
        if text:
            file.write(b"# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME\n# POINTS2D[] as X, Y, POINT3D_ID\n")
        else:
            file.write(struct.pack("<Q", len(poses)))
        for t, name in enumerate(self._names):
            rows = self._order[self._bounds[t] : self._bounds[t + 1]]
            camera = 1 if self._one else t + 1
            pose = (*turn[t].tolist(), *shift[t].tolist())
            if text:
                seen = zip(trails.xy[rows].tolist(), (point[rows] + 1).tolist(), strict=True)
                file.write(f"{t + 1} {' '.join(map(repr, pose))} {camera} {name}\n".encode())
                file.write((" ".join(f"{x:.6g} {y:.6g} {k}" for (x, y), k in seen) + "\n").encode())
            else:
                sightings = np.zeros(len(rows), _SIGHTING)
                sightings["xy"], sightings["point"] = trails.xy[rows], point[rows] + 1
                file.write(struct.pack("<i7di", t + 1, *pose, camera) + name.encode() + b"\0")
                file.write(struct.pack("<Q", len(rows)) + sightings.tobytes())

    def points(self, file: BinaryIO, text: bool) -> None:
        world, trails = self._world, self._world.tracks
        members = np.zeros(len(trails.frame), _MEMBER)
        members["image"], members["index"] = trails.frame + 1, self._place
        if text:
            file.write(b"# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as IMAGE_ID, POINT2D_IDX\n")
        else:
            file.write(struct.pack("<Q", len(world)))
        xyz, rgb, error = world.points.tolist(), self._colours.tolist(), world.error.tolist()
        first = trails.first.tolist()
        for k in range(len(world)):
            track = members[first[k] : first[k + 1]]
            if text:
                numbers = (*map(repr, xyz[k]), *map(str, rgb[k]), f"{error[k]:.6g}")
                pairs = " ".join(f"{image} {index}" for image, index in track.tolist())
                file.write(f"{k + 1} {' '.join(numbers)} {pairs}\n".encode())
            else:
                file.write(struct.pack("<Q3d3BdQ", k + 1, *xyz[k], *rgb[k], error[k], len(track)) + track.tobytes())
