"""RGB-D scans of static scenes: true tracks from depth and camera poses.

Layout: ``color/00000.jpg``, ``depth/00000.png`` (16-bit, millimetres, 0 none), ``poses_c2w.txt`` (4x4 camera-to-world
in metres, row by row, a line per frame), ``K.txt`` (3x3, its centre in pixels whose centres are integers).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from trackime.arrays import BoolArray, Float64, FloatArray, inside
from trackime.datasets.sample import Sample, existing_folder, folder_info, list_images, sequences
from trackime.datasets.scan import Scan, centred, check_poses, numbers, png_depth
from trackime.errors import FormatError, InputError
from trackime.types import Queries, Tracks

_TOLERANCE = 0.03
"""Relative difference below which a projected and a measured depth are the same surface."""

_EDGE = 0.05
"""Relative depth range in a query's 5x5 neighbourhood above which it lies on an edge and is not drawn."""


def read(
    path: str | os.PathLike[str],
    points: int = 64,
    query_frames: Sequence[int] | None = None,
    gap: int | None = 30,
    tolerance: float = _TOLERANCE,
    seed: int = 0,
) -> Iterator[Sample]:
    """Scans with true tracks of random pixels, lifted by their depth and projected into every other frame.

    A point is visible where the measured depth agrees with its own, hidden where every measurement around it is
    nearer or it left the frame. Where depth is missing, farther than the point (so something is wrong: pose, sensor,
    motion), or disagrees around it (an edge), the cell is not `known`. Pixels on depth edges are not queried.

    Args:
        path: a scan, or a folder of scans.
        points: queries per query frame.
        query_frames: frames to query in; None: every `gap` frames (frame 0 alone without a gap).
        gap: cells farther than this many frames from their query are not known, as poses drift; None: no limit.
        tolerance: relative difference at which depths agree.
        seed: of the draw.

    Returns:
        Samples whose `labels["scan"]` is the `Scan`.

    Raises:
        FormatError: no scans; files that do not agree when reached.
        InputError: fewer than one point, a gap below 1, a query frame outside a scan.
    """
    if points < 1 or (gap is not None and gap < 1) or not tolerance > 0:
        got = f"{points}, {gap}, {tolerance:g}"
        raise InputError(f"points, gap, tolerance: expected 1 or more, 1 or more, above 0, got {got}")
    folders = sequences(existing_folder(path), "poses_c2w.txt", "RGB-D")
    return (_sample(folder, points, query_frames, gap, tolerance, seed) for folder in folders)


def _sample(
    folder: Path, points: int, query_frames: Sequence[int] | None, gap: int | None, tolerance: float, seed: int
) -> Sample:
    info = folder_info(folder / "color")
    scan = open_scan(folder)
    frames = list(query_frames) if query_frames is not None else list(range(0, info.frames, gap or info.frames))
    for t in frames:
        if not 0 <= t < info.frames:
            raise InputError(f"query_frames: expected 0 .. {info.frames - 1} in {folder}, got {t}")
    rng = np.random.default_rng(seed)
    xyt, world = [np.zeros((0, 3))], [np.zeros((0, 3))]
    for t in frames:
        xy, z = _draw(scan.depth(t), points, rng)
        xyt.append(np.concatenate([xy, np.full((len(xy), 1), t)], 1))
        world.append(scan.lift(xy, z, t))
    tracks, known = _true_tracks(scan, np.concatenate(world), Queries(np.concatenate(xyt)), tolerance)
    if gap is not None:
        known &= np.abs(np.arange(info.frames) - tracks[2].t[:, None]) <= gap
    return Sample(scan.name, scan.video, Tracks(*tracks, info), known, labels={"scan": scan})


def scans(path: str | os.PathLike[str]) -> Iterator[Scan]:
    """A scan, or the scans of a folder. FormatError where there are none, or where files do not agree when reached."""
    return (open_scan(folder) for folder in sequences(existing_folder(path), "poses_c2w.txt", "RGB-D"))


def open_scan(folder: Path) -> Scan:
    """A scan's cameras and depth maps. Raises FormatError where files are missing or do not agree."""
    info = folder_info(folder / "color")
    poses = numbers(folder / "poses_c2w.txt", (info.frames, 16)).reshape(-1, 4, 4)
    check_poses(poses, folder / "poses_c2w.txt")
    intrinsics = numbers(folder / "K.txt", (3, 3))
    if intrinsics[0, 0] <= 0:
        raise FormatError(f"{folder}/K.txt: expected a positive focal length, got {intrinsics[0, 0]:g}")
    depths = list_images(folder / "depth")
    if tuple(p.stem for p in depths) != info.names:
        raise FormatError(f"{folder}/depth: expected {info.frames} maps named as the frames, got {len(depths)}")
    ours, size = centred(intrinsics, info.frames), (info.height, info.width)
    return Scan(folder.name, folder / "color", tuple(depths), png_depth(1000), poses, ours, size)


def _draw(depth: Float64, points: int, rng: np.random.Generator) -> tuple[Float64, Float64]:
    """Centres [M, 2] and depths [M] of up to `points` random pixels away from depth edges and the border."""
    kernel = np.ones((5, 5), np.uint8)
    # Outside the frame counts as unknown (0), which erosion spreads: the border is left out.
    low = cv2.erode(depth, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    high = cv2.dilate(depth, kernel)
    y, x = np.nonzero((low > 0) & (high < low * (1 + _EDGE)))
    chosen = np.sort(rng.choice(len(y), min(points, len(y)), replace=False))
    y, x = y[chosen], x[chosen]
    return np.stack([x, y], 1).astype(np.float64) + 0.5, depth[y, x]


def _true_tracks(
    scan: Scan, world: Float64, queries: Queries, tolerance: float
) -> tuple[tuple[FloatArray, FloatArray, Queries], BoolArray]:
    """(xy [N, T, 2], visibility [N, T], queries) and known [N, T] of world points [N, 3]."""
    n, frames = len(world), len(scan.depths)
    xy, visible = np.zeros((n, frames, 2)), np.zeros((n, frames), bool)
    known = np.zeros((n, frames), bool)
    for t in range(frames):
        at, z = scan.project(world, t)
        ahead = (z > 1e-6) & (np.abs(at) < 1e6).all(1)
        xy[ahead, t] = at[ahead]
        seen, sure = _compare(scan.depth(t), at, z, tolerance)
        visible[:, t], known[:, t] = seen & ahead, sure & ahead
    own = np.arange(n), queries.t
    xy[own], visible[own], known[own] = queries.xy, True, True
    return (xy.astype(np.float32), visible.astype(np.float32), queries), known


def _compare(depth: Float64, xy: Float64, z: Float64, tolerance: float) -> tuple[BoolArray, BoolArray]:
    """Visible points [N], and those whose visibility is known, from the four measurements around each."""
    h, w = depth.shape
    within = inside(xy, (h, w))
    corner = np.floor(np.where(within[:, None], xy, 0) - 0.5).astype(np.int64)
    x = np.clip(corner[:, :1] + (0, 1, 0, 1), 0, w - 1)
    y = np.clip(corner[:, 1:] + (0, 0, 1, 1), 0, h - 1)
    measured = depth[y, x]  # [N, 4]
    some = (measured > 0).all(1)
    agrees = (np.abs(measured - z[:, None]) <= tolerance * np.abs(z[:, None])).all(1)
    nearer = (measured < z[:, None] * (1 - tolerance)).all(1)
    return within & some & agrees, ~within | (some & (agrees | nearer))
