"""Readers of depth results' files in a few lines each, written from the formats' own documents and nothing of ours."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np


def rotation(w: float, x: float, y: float, z: float) -> np.ndarray:
    """The rotation matrix of a unit quaternion."""
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def tum(path: Path) -> list[tuple[float, np.ndarray]]:
    """(time, camera-to-world) a line."""
    found = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            time, tx, ty, tz, qx, qy, qz, qw = map(float, line.split(" "))
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = rotation(qw, qx, qy, qz), (tx, ty, tz)
            found.append((time, pose))
    return found


def ply(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Points, colours and comments, a vertex at a time."""
    sizes = {"float": ("<f", 4), "uchar": ("<B", 1)}
    with open(path, "rb") as file:
        header = []
        while (line := file.readline().decode().rstrip("\n")) != "end_header":
            header.append(line)
        assert header[:2] == ["ply", "format binary_little_endian 1.0"]
        count = next(int(line.split()[2]) for line in header if line.startswith("element vertex"))
        properties = [line.split()[1:] for line in header if line.startswith("property")]
        rows = []
        for _ in range(count):
            row = {}
            for kind, name in properties:
                form, size = sizes[kind]
                row[name] = struct.unpack(form, file.read(size))[0]
            rows.append(row)
        assert file.read() == b""
    xyz = np.array([[row[k] for k in "xyz"] for row in rows]).reshape(-1, 3)
    rgb = np.array([[row[k] for k in ("red", "green", "blue")] for row in rows]).reshape(-1, 3)
    return xyz, rgb, [line for line in header if line.startswith("comment")]


class Bytes:
    def __init__(self, path: Path) -> None:
        self.data, self.at = path.read_bytes(), 0

    def take(self, form: str) -> Any:
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values if len(values) > 1 else values[0]

    def name(self) -> str:
        end = self.data.index(b"\0", self.at)
        text, self.at = self.data[self.at : end].decode(), end + 1
        return text


def colmap(folder: Path) -> tuple[dict[int, Any], dict[int, Any], dict[int, Any]]:
    """cameras {id: (model, width, height, params)}, images {id: (quaternion, translation, camera, name, points2D)},
    points {id: (xyz, rgb, error, track)}; of a model in binary, or in text."""
    return _colmap_binary(folder) if (folder / "cameras.bin").exists() else _colmap_text(folder)


def _colmap_binary(folder: Path) -> tuple[dict[int, Any], dict[int, Any], dict[int, Any]]:
    cameras, images, points = {}, {}, {}
    file = Bytes(folder / "cameras.bin")
    for _ in range(file.take("Q")):
        key, model, width, height = file.take("iiQQ")
        assert model == 1
        cameras[key] = ("PINHOLE", width, height, file.take("4d"))
    assert file.at == len(file.data)
    file = Bytes(folder / "images.bin")
    for _ in range(file.take("Q")):
        key, *pose = file.take("i7d")
        camera, name = file.take("i"), file.name()
        seen = [file.take("ddq") for _ in range(file.take("Q"))]
        images[key] = (pose[:4], pose[4:], camera, name, seen)
    assert file.at == len(file.data)
    file = Bytes(folder / "points3D.bin")
    for _ in range(file.take("Q")):
        key, x, y, z, r, g, b, error, length = file.take("Q3d3BdQ")
        points[key] = ((x, y, z), (r, g, b), error, [file.take("ii") for _ in range(length)])
    assert file.at == len(file.data)
    return cameras, images, points


def _colmap_text(folder: Path) -> tuple[dict[int, Any], dict[int, Any], dict[int, Any]]:
    def lines(name: str) -> list[list[str]]:
        return [row.split() for row in (folder / name).read_text().split("\n")[:-1] if not row.startswith("#")]

    cameras, images, points = {}, {}, {}
    for row in lines("cameras.txt"):
        cameras[int(row[0])] = (row[1], int(row[2]), int(row[3]), tuple(map(float, row[4:])))
    rows = lines("images.txt")
    for head, sightings in zip(rows[::2], rows[1::2], strict=True):
        pose = list(map(float, head[1:8]))
        triples = zip(sightings[::3], sightings[1::3], sightings[2::3], strict=True)
        seen = [(float(x), float(y), int(k)) for x, y, k in triples]
        images[int(head[0])] = (pose[:4], pose[4:], int(head[8]), head[9], seen)
    for row in lines("points3D.txt"):
        track = list(zip(map(int, row[8::2]), map(int, row[9::2]), strict=True))
        points[int(row[0])] = (tuple(map(float, row[1:4])), tuple(map(int, row[4:7])), float(row[7]), track)
    return cameras, images, points
