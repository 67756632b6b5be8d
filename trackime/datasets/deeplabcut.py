"""DeepLabCut projects: animals whose joints a person labelled in some frames of a video (Mathis et al. 2018).

Layout: ``labeled-data/VIDEO/imgNNN.png`` and ``labeled-data/VIDEO/CollectedData_SCORER.csv``: three rows of headers
(scorer, body part, x or y), then one row per labelled frame; a joint that is not visible has no numbers. Frames between
labelled ones are not in a project, so that a sample is a video with gaps of known length.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trackime.arrays import Float64, UInt8
from trackime.datasets.sample import Sample, existing_folder
from trackime.errors import FormatError, VideoError
from trackime.types import Queries, Tracks, VideoInfo
from trackime.video import read_image

_HEADERS = 3


@dataclass(frozen=True, eq=False)
class _Labelled:
    """A labelled frame: its number in the video, the file, and its joints float64 [N, 2] pixels, NaN where hidden."""

    number: int
    file: Path
    xy: Float64


def read(path: str | os.PathLike[str], longest: int = 12, gap: int = 12) -> Iterator[Sample]:
    """Runs of labelled frames of one size, each a sample whose video is uint8 [T, H, W, 3].

    Each joint is queried at the first frame of the run that it is labelled in; joints never labelled in a run are left
    out. A joint that is not labelled in a frame is not visible and not `known` there. labels: "joint_names" (of the
    tracks), "frame_index" (numbers of the frames in the video).

    Args:
        path: a project, or one folder of labelled frames.
        longest: frames in a run, 2 or more.
        gap: frames of the video between two labelled frames of a run, at most.

    Raises:
        FormatError: no labels; for tables and frames that do not agree when reached.
    """
    root = existing_folder(path)
    tables = sorted([*root.glob("CollectedData_*.csv"), *root.glob("labeled-data/*/CollectedData_*.csv")])
    if not tables:
        raise FormatError(f"{root}: expected labeled-data/*/CollectedData_*.csv of a DeepLabCut project, found none")
    return (sample for table in tables for sample in _samples(table, longest, gap))


def _samples(table: Path, longest: int, gap: int) -> Iterator[Sample]:
    joints, labelled = _read_table(table)
    run: list[_Labelled] = []
    images: list[UInt8] = []
    for frame in labelled:
        image = _read_image(frame.file)
        ends = run and (len(run) == longest or frame.number - run[-1].number > gap or image.shape != images[-1].shape)
        if ends:
            yield from _sample(table, joints, run, images)
            run, images = [], []
        run.append(frame)
        images.append(image)
    yield from _sample(table, joints, run, images)


def _sample(table: Path, joints: list[str], run: list[_Labelled], images: list[UInt8]) -> Iterator[Sample]:
    """The run as a sample; none where no joint is labelled twice in it."""
    xy = np.stack([frame.xy for frame in run], 1)  # [N, T, 2]
    seen = np.asarray(np.isfinite(xy).all(-1))
    chosen = np.flatnonzero(seen.sum(1) > 1)
    if not len(chosen):
        return
    xy, seen = xy[chosen], seen[chosen]
    first = seen.argmax(1)
    queries = Queries(np.concatenate([xy[np.arange(len(chosen)), first], first[:, None]], 1))
    video = np.stack(images)
    info = VideoInfo.regular(video.shape[2], video.shape[1], len(video))
    tracks = Tracks(np.where(seen[..., None], xy, 0), seen.astype(np.float32), queries, info)
    numbers = np.array([frame.number for frame in run])
    labels = {"joint_names": tuple(joints[n] for n in chosen), "frame_index": numbers}
    yield Sample(f"{table.parent.name}:{numbers[0]}", video, tracks, seen, labels=labels)


def _read_table(table: Path) -> tuple[list[str], list[_Labelled]]:
    """Names of the joints, and the labelled frames in the video's order."""
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if len(rows) <= _HEADERS or [row[0] for row in rows[:_HEADERS]] != ["scorer", "bodyparts", "coords"]:
        raise FormatError(f"{table}: expected rows scorer, bodyparts, coords and labels below them")
    joints = rows[1][1::2]
    labelled = []
    for number, row in enumerate(rows[_HEADERS:], _HEADERS + 1):
        name = row[0].replace("\\", "/").rpartition("/")[2]
        digits = re.findall(r"\d+", name)
        try:
            xy = np.array([float(cell) if cell else np.nan for cell in row[1:]]).reshape(len(joints), 2)
        except ValueError:
            raise FormatError(f"{table}: row {number}: expected {2 * len(joints)} numbers or empty cells") from None
        if not digits:
            raise FormatError(f"{table}: row {number}: expected an image named by its frame number, got {name!r}")
        labelled.append(_Labelled(int(digits[-1]), table.parent / name, xy + 0.5))  # centres are integers there
    return joints, sorted(labelled, key=lambda frame: frame.number)


def _read_image(path: Path) -> UInt8:
    try:
        return read_image(path)
    except VideoError:
        raise FormatError(f"{path}: no such image, or it cannot be read") from None
