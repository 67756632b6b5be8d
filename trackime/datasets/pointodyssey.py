"""PointOdyssey (Zheng et al. 2023): synthetic videos, thousands of points tracked through occlusion.

Layout: ``SEQ/rgbs/*.jpg`` and ``SEQ/anno.npz`` with trajs_2d [T, N, 2] in pixels of frames that span [0, W] x [0, H],
visibs [T, N] and, in newer releases, valids [T, N].
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trackime.arrays import inside
from trackime.datasets.sample import Sample, existing_folder, folder_info, load_arrays, sequences
from trackime.errors import FormatError, InputError
from trackime.metrics import sample_queries_first
from trackime.types import Queries, Tracks


def read(path: str | os.PathLike[str], points: int | None = 256, seed: int = 0) -> Iterator[Sample]:
    """The sequences of PointOdyssey.

    Each track is queried at the first frame it is visible in. Samples are `known` where the position is valid, hidden
    frames included.

    Args:
        path: a folder of sequences, or one sequence.
        points: tracks per sequence, drawn at random from those ever visible; None: all of them.
        seed: of that choice.

    Raises:
        FormatError: no sequences; for arrays and frames that do not agree when reached.
        InputError: fewer than one point.
    """
    if points is not None and points < 1:
        raise InputError(f"points: expected 1 or more, or None for all, got {points}")
    return (_sample(folder, points, seed) for folder in sequences(existing_folder(path), "anno.npz", "PointOdyssey"))


def _sample(folder: Path, points: int | None, seed: int) -> Sample:
    info = folder_info(folder / "rgbs")
    arrays = load_arrays(folder / "anno.npz", ("trajs_2d", "visibs"), ("valids",))
    xy, visible = arrays["trajs_2d"], arrays["visibs"]
    if xy.ndim != 3 or xy.shape[2] != 2 or len(xy) != info.frames:
        raise FormatError(f"{folder}/anno.npz: trajs_2d: expected [{info.frames}, N, 2], got {list(xy.shape)}")
    valid = arrays.get("valids", np.ones(xy.shape[:2], bool))
    for name, array in (("visibs", visible), ("valids", valid)):
        if array.shape != xy.shape[:2]:
            raise FormatError(f"{folder}/anno.npz: {name}: expected {list(xy.shape[:2])}, got {list(array.shape)}")
    # Points behind the camera have no position: infinite, NaN or beyond anything float32 holds exactly.
    known = valid.astype(bool) & (np.abs(np.nan_to_num(xy, nan=np.inf)) < 1e6).all(-1)
    seen = visible.astype(bool) & known & inside(xy, (info.height, info.width))
    rows = np.flatnonzero(seen.any(0))
    if points is not None and len(rows) > points:
        rows = np.sort(np.random.default_rng(seed).choice(rows, points, replace=False))
    xy = np.where(known[:, rows, None], xy[:, rows], 0).transpose(1, 0, 2)
    seen, known = seen[:, rows].T, known[:, rows].T
    queries = Queries(sample_queries_first(xy, seen)[0])
    return Sample(folder.name, folder / "rgbs", Tracks(xy, seen, queries, info), known)
