"""The result `DepthResult`: depth, cameras and masks of all frames, read from disk when indexed."""

from __future__ import annotations

import os
import shutil
import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from trackime.arrays import BoolArray, Float32, UInt8
from trackime.errors import InputError, OutputError
from trackime.files import atomic
from trackime.geometry import Cameras
from trackime.progress import Report, silent

from .config import Exports
from .files import DepthFolder, check, shot_folders
from .shot import DepthShot

_Value = TypeVar("_Value")


class _Frames(Sequence[_Value]):
    """One value per frame, read when indexed."""

    def __init__(self, result: DepthResult, read: Callable[[DepthFolder, int], _Value]) -> None:
        self._result, self._read = result, read

    def __len__(self) -> int:
        return len(self._result)

    def __getitem__(self, t: int) -> _Value:  # type: ignore[override]
        frames = len(self)
        if not -frames <= t < frames:
            raise IndexError(f"frame: expected 0 .. {frames - 1}, got {t}")
        shot = self._result.shot_of(t % frames)
        return self._read(shot.folder, t % frames - shot.start)

    def __iter__(self) -> Iterator[_Value]:
        return (self[t] for t in range(len(self)))


class DepthResult:
    """Depth and cameras of T frames. Arrays are read from disk when a frame is indexed, and not kept.

    Attributes:
        shots: in order; one, unless the video has cuts. Each has a world of its own.
        seconds: wall time of each stage; empty of a result that was loaded.
    """

    def __init__(self, shots: tuple[DepthShot, ...], seconds: dict[str, float] | None = None) -> None:
        if not shots:
            raise InputError("depth: expected one shot or more, got none")
        self.shots, self.seconds = shots, seconds or {}
        self._starts = [shot.start for shot in shots]

    def __len__(self) -> int:
        return self.shots[-1].stop

    @property
    def depth(self) -> Sequence[Float32]:
        """float32 [H, W] of every frame, z in units of the cameras, 0 where unknown."""
        return _Frames(self, DepthFolder.depth)

    @property
    def confidence(self) -> Sequence[Float32]:
        """float32 [H, W] of every frame, in 0 .. 1, 0 where depth is unknown."""
        return _Frames(self, lambda folder, t: folder.maps(t)[1])

    @property
    def measured(self) -> Sequence[BoolArray]:
        """bool [H, W] of every frame: depth seen rather than filled in."""
        return _Frames(self, lambda folder, t: folder.maps(t)[2])

    @property
    def dynamic(self) -> Sequence[BoolArray]:
        """bool [H, W] of every frame: moving objects."""
        return _Frames(self, DepthFolder.dynamic)

    @property
    def images(self) -> Sequence[UInt8]:
        """uint8 [H, W, 3] of every frame."""
        return _Frames(self, DepthFolder.image)

    def owning(self, folder: Path) -> DepthResult:
        """This result, which removes `folder` when it is no longer used, at the latest when the program ends."""
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return self

    def shot_of(self, t: int) -> DepthShot:
        """The shot of frame t."""
        return self.shots[bisect_right(self._starts, t) - 1]

    @property
    def cameras(self) -> Cameras:
        """Cameras of all frames. The world is the first camera of the frame's shot: two shots are unrelated."""
        parts = [shot.folder.cameras for shot in self.shots]
        poses, focal = (np.concatenate([getattr(part, name) for part in parts]) for name in ("poses", "focal"))
        return Cameras(poses, focal, parts[0].width, parts[0].height)

    @property
    def unit(self) -> str:
        """``metre`` or ``relative`` (up to one factor per shot)."""
        return self.shots[0].folder.unit

    def save(
        self, folder: str | os.PathLike[str], exports: Exports | None = None, progress: Report = silent
    ) -> DepthResult:
        """Write everything into a folder, which appears when it is complete: maps, cameras, masks and `exports`.

        Args:
            folder: new, or empty.
            exports: the files beside them; None: the defaults.
            progress: called with (stage, done, total).

        Returns:
            The result in that folder.

        Raises:
            OutputError: a folder that is not empty, or cannot be written.
            MissingExtraError: EXR or mesh without their extra.
            InputError: names of frames that a COLMAP model cannot hold.
        """
        target, wanted = Path(folder), exports or Exports()
        if target.exists() and not (target.is_dir() and not any(target.iterdir())):
            raise OutputError(f"{target} is not empty: expected a new folder")
        for shot in self.shots:
            check(wanted, shot.folder.info.names)
        names = shot_folders(self._starts)
        with atomic(target) as temporary:
            for shot, name in zip(self.shots, names, strict=True):
                replace(shot, folder=shot.folder.copied(temporary / name)).export(wanted, progress)
        shots = (replace(s, folder=s.folder.at(target / name)) for s, name in zip(self.shots, names, strict=True))
        return DepthResult(tuple(shots), self.seconds)


def load(folder: str | os.PathLike[str]) -> DepthResult:
    """The result in a folder, of `DepthResult.save` or of ``trackime-apps depth``.

    Raises:
        FormatError: a file that is missing or is not what it should be.
    """
    path = Path(folder)
    shots: list[DepthShot] = []
    for part in sorted(path.glob("shot_*")) or [path]:
        files = DepthFolder.load(part)
        start = shots[-1].stop if shots else 0
        shots.append(DepthShot(start, start + len(files), files))
    return DepthResult(tuple(shots))
