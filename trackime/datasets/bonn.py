"""Bonn RGB-D Dynamic: TUM's layout, people and objects that move (Palazzolo et al., ReFusion, IROS 2019).

``groundtruth.txt`` has the pose of markers on the camera. The authors publish the camera's pose relative to the
markers, with a scale: the factor from the camera's depth to the motion capture's metres. Poses here are the camera's;
depth is scaled to the same metres.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from trackime.arrays import Float64
from trackime.datasets import tum
from trackime.datasets.sample import Sample, existing_folder, sequences
from trackime.datasets.scan import Scan, png_depth

_CALIBRATIONS = {"bonn": (542.822841, 542.576870, 315.593520, 237.756098)}
"""fx, fy, cx, cy of the colour camera as published, of pixels whose centres are integers."""

_AXES = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
"""The motion capture's axes as the published evaluation turns them: pose = _AXES line _AXES _CAMERA."""

_CAMERA = np.array(
    [[1.0157, 0.1828, -0.2389, 0.0113], [0.0009, -0.8431, -0.6413, -0.0098], [-0.3009, 0.6147, -0.8085, 0.0111]]
)
"""From the camera to the markers: scale times rotation, and position, as published."""


def _mounting() -> tuple[Float64, float]:
    """Camera to markers [4, 4] without its scale, and the scale."""
    u, size, vt = np.linalg.svd(_CAMERA[:, :3])
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = u @ vt, _CAMERA[:, 3]
    return out, float(size.mean())


def read(path: str | os.PathLike[str]) -> Iterator[Sample]:
    """Videos whose `labels["scan"]` is the `Scan`; see `scans`."""
    return (Sample(scan.name, scan.video, labels={"scan": scan}) for scan in scans(path))


def scans(path: str | os.PathLike[str]) -> Iterator[Scan]:
    """A sequence, or the sequences of a folder. FormatError: none; files that do not agree when reached."""
    return (_open(folder) for folder in sequences(existing_folder(path), "groundtruth.txt", "Bonn RGB-D"))


def _open(folder: Path) -> Scan:
    scan = tum.open_scan(folder, _CALIBRATIONS)
    mounted, size = _mounting()
    return replace(scan, poses=_AXES @ scan.poses @ _AXES @ mounted, read=png_depth(tum.UNIT / size))
