"""What readers of interpolation data sets share: lists of files; kept frames and targets between them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trackime.arrays import UInt8
from trackime.datasets.sample import Sample
from trackime.errors import FormatError, VideoError
from trackime.video import open_video


def entries(path: Path, kind: str) -> list[list[str]]:
    """The words of each non-empty line of a list. Raises FormatError: no such file, an empty one, no text."""
    if not path.is_file():
        raise FormatError(f"{path.parent}: expected {kind} with its list {path.name}, found none")
    try:
        rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: expected a text of file names, got: {error}") from None
    rows = [row for row in rows if row]
    if not rows:
        raise FormatError(f"{path}: expected a text of file names, found none")
    return rows


def below(root: Path, name: str, where: str) -> Path:
    """A file of a list below the data set's folder; leading folders of its author's machine are dropped.

    Raises:
        FormatError: no such file, or a name that leads out of the folder.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise FormatError(f"{where}: expected names of files below {root}, got {name!r}")
    for first in range(len(parts)):
        path = root.joinpath(*parts[first:])
        if path.is_file():
            return path
    raise FormatError(f"{where}: expected {root / '/'.join(parts)}, found nothing there")


def frames(paths: Sequence[Path]) -> UInt8:
    """uint8 [T, H, W, 3] of T pictures of one size. Raises FormatError."""
    pictures = []
    for path in paths:
        try:
            pictures.append(open_video(path)[0])
        except VideoError as error:
            raise FormatError(str(error)) from None
        if pictures[-1].shape != pictures[0].shape:
            (h, w), (h0, w0) = pictures[-1].shape[:2], pictures[0].shape[:2]
            raise FormatError(f"{path}: expected {w0}x{h0} as {paths[0].name}, got {w}x{h}")
    return np.stack(pictures)


def between(name: str, video: Path | UInt8, last: int, step: int = 1) -> Sample:
    """Frames 0 and `last` are inputs, every `step`-th one between them is a target."""
    return Sample(name, video, labels={"kept": (0, last), "targets": tuple(range(step, last, step))})
