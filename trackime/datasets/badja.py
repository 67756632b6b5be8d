"""BADJA (Biggs et al. 2018): animals with joints labelled in about every fifth frame.

Layout: ``SEQ/frames/00000.jpg``, ``SEQ/masks/00000.png``, ``SEQ/labels.npz`` with tracks_xy [K, N, 2] in pixels whose
centres are integers, visible [K, N], frame_index [K], joint_names [N].
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trackime.arrays import AnyArray
from trackime.datasets.sample import Sample, existing_folder, folder_info, load_arrays, mask_folder, sequences
from trackime.errors import FormatError
from trackime.types import Queries, Tracks, VideoInfo


def read(path: str | os.PathLike[str]) -> Iterator[Sample]:
    """The sequences of BADJA.

    Each joint is queried at its first labelled visible frame; joints never visible are left out. Samples are `known`
    in labelled frames; elsewhere the track is a straight line between labels, not visible. labels: "joint_names" (of
    the tracks), "frame_index" (the labelled frames). Score with `metrics.pck_t` and ``sample.masks.areas()``.

    Args:
        path: a folder of sequences, or one sequence.

    Raises:
        FormatError: no sequences; for arrays, frames and masks that do not agree when reached.
    """
    return (_sample(folder) for folder in sequences(existing_folder(path), "labels.npz", "BADJA"))


def _sample(folder: Path) -> Sample:
    info = folder_info(folder / "frames")
    arrays = load_arrays(folder / "labels.npz", ("tracks_xy", "visible", "frame_index", "joint_names"))
    _check(arrays, info, folder)
    at, visible = arrays["frame_index"].astype(np.int64), arrays["visible"].astype(bool)
    joints = np.flatnonzero(visible.any(0))
    xy = arrays["tracks_xy"].astype(np.float64) + 0.5  # labels put pixel centres at integers
    frames = np.arange(info.frames)
    tracks, seen = np.zeros((len(joints), info.frames, 2)), np.zeros((len(joints), info.frames))
    for row, joint in enumerate(joints):
        k = visible[:, joint]
        for axis in (0, 1):
            tracks[row, :, axis] = np.interp(frames, at[k], xy[k, joint, axis])
        seen[row, at[k]] = 1
    first = seen.argmax(1)
    queries = Queries(np.concatenate([tracks[np.arange(len(joints)), first], first[:, None]], 1))
    labels = {"joint_names": tuple(str(arrays["joint_names"][j]) for j in joints), "frame_index": at}
    known = np.broadcast_to(np.isin(frames, at), seen.shape).copy()
    masks = mask_folder(folder / "masks", info)
    return Sample(folder.name, folder / "frames", Tracks(tracks, seen, queries, info), known, masks, labels)


def _check(arrays: dict[str, AnyArray], info: VideoInfo, folder: Path) -> None:
    """Raise FormatError unless the label arrays agree with each other and the video."""
    xy, visible, at, names = (arrays[k] for k in ("tracks_xy", "visible", "frame_index", "joint_names"))
    k, n = len(np.atleast_1d(at)), len(np.atleast_1d(names))
    shapes = {"frame_index": (k,), "joint_names": (n,), "tracks_xy": (k, n, 2), "visible": (k, n)}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise FormatError(f"{folder}/labels.npz: {name}: expected {list(shape)}, got {list(arrays[name].shape)}")
    if at.dtype.kind not in "ui" or (np.diff(at.astype(np.int64)) <= 0).any():
        raise FormatError(f"{folder}/labels.npz: frame_index: expected increasing whole numbers")
    if k and not (0 <= at[0] and at[-1] < info.frames):
        allowed = f"0 .. {info.frames - 1}"
        raise FormatError(f"{folder}/labels.npz: expected labels of frames {allowed}, got {at[0]} .. {at[-1]}")
    if not np.isfinite(xy[visible.astype(bool)]).all():
        raise FormatError(f"{folder}/labels.npz: tracks_xy: expected finite positions where visible")
