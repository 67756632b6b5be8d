"""The sample that every reader yields, and what readers share: frame folders and lazy masks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np

from trackime.arrays import AnyArray, BoolArray, Float64, UInt8
from trackime.errors import FormatError, InputError, ShapeError
from trackime.files import read_npz, reading
from trackime.types import Tracks, VideoInfo
from trackime.video import IMAGES, read_mask


class MaskFolder(Sequence[UInt8]):
    """The masks of a video, read on demand: uint8 [H, W] of ids, 0 background, 255 void.

    Args:
        paths: one per frame; None where the frame is not annotated.
        size: (h, w) every mask must have.
    """

    def __init__(self, paths: Sequence[Path | None], size: tuple[int, int]) -> None:
        self.paths, self.size = tuple(paths), size

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def annotated(self) -> tuple[int, ...]:
        """The frames that have a mask."""
        return tuple(t for t, path in enumerate(self.paths) if path is not None)

    @overload
    def __getitem__(self, t: int) -> UInt8: ...
    @overload
    def __getitem__(self, t: slice) -> MaskFolder: ...
    def __getitem__(self, t: int | slice) -> UInt8 | MaskFolder:
        """The mask of frame t, or the masks of some frames.

        Raises:
            InputError: a frame without a mask.
            FormatError: a file that is no mask, or of another size than the frames.
        """
        if isinstance(t, slice):
            return MaskFolder(self.paths[t], self.size)
        path = self.paths[t]
        if path is None:
            raise InputError(f"frame {t} has no mask: annotated are {', '.join(map(str, self.annotated[:8]))} ...")
        mask = read_mask(path)
        if mask.shape != self.size:
            (h, w), (frame_h, frame_w) = mask.shape, self.size
            raise FormatError(f"{path}: expected a mask of the frame's size {frame_w}x{frame_h}, got {w}x{h}")
        return mask

    def areas(self) -> Float64:
        """float64 [T], pixels of any object in each frame; NaN where a frame has no mask."""
        out = np.full(len(self), np.nan)
        for t in self.annotated:
            mask = self[t]
            out[t] = ((mask > 0) & (mask != 255)).sum()
        return out


@dataclass(frozen=True, eq=False)
class Sample:
    """One video of a data set with its ground truth.

    Attributes:
        name: unique in its data set.
        video: input of `open_video`: a frame folder or file, or uint8 [T, H, W, 3].
        tracks: true tracks in source pixels; None: the data set has none.
        known: bool [N, T], cells of `tracks` with ground truth; the others must not be scored. None: all.
        masks: T masks of object ids, read lazily; None: the data set has none.
        labels: other annotations, by name.

    Raises:
        ShapeError: `known` without tracks, or of another shape than theirs.
    """

    name: str
    video: str | Path | UInt8
    tracks: Tracks | None = None
    known: BoolArray | None = None
    masks: MaskFolder | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.known is not None:
            expected = None if self.tracks is None else self.tracks.visibility.shape
            if self.known.shape != expected:
                raise ShapeError("known", f"{expected} as the tracks", self.known.shape)


def list_images(folder: Path) -> list[Path]:
    """The frames of a folder, sorted by name.

    Raises:
        FormatError: no such folder, or no images in it.
    """
    if not folder.is_dir():
        raise FormatError(f"{folder}: no such folder of frames")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGES and not p.name.startswith("."))
    if not paths:
        raise FormatError(f"{folder}: expected frames ({', '.join(IMAGES)}), found none")
    return paths


def folder_info(folder: Path, fps: float = 25.0) -> VideoInfo:
    """Size (from the first frame's header), names and regular times of a frame folder. Raises FormatError."""
    from PIL import Image

    paths = list_images(folder)
    try:
        with Image.open(paths[0], formats=("JPEG", "PNG")) as image:
            width, height = image.size
    except (OSError, SyntaxError, ValueError) as error:
        raise FormatError(f"{paths[0]}: expected an image, got: {error}") from None
    return VideoInfo(width, height, np.arange(len(paths)) / fps, tuple(p.stem for p in paths), str(folder))


def mask_folder(folder: Path, info: VideoInfo, complete: bool = True) -> MaskFolder:
    """The masks of a folder, matched with frames by name.

    Args:
        complete: every frame must have one.

    Raises:
        FormatError: no such folder, no mask at all, a mask without a frame, a frame without a mask if `complete`.
    """
    found = {p.stem: p for p in list_images(folder)}
    extra = sorted(found.keys() - set(info.names))
    if extra:
        raise FormatError(f"{folder}: expected masks named as the {info.frames} frames, got {extra[0]!r}, too")
    paths = [found.get(name) for name in info.names]
    if complete and None in paths:
        missing = info.names[paths.index(None)]
        raise FormatError(f"{folder}: expected {info.frames} masks, got {len(found)}; frame {missing!r} has none")
    return MaskFolder(paths, (info.height, info.width))


def existing_folder(path: str | os.PathLike[str]) -> Path:
    """`path` as a folder that is there. Raises FormatError."""
    folder = Path(path)
    if not folder.is_dir():
        raise FormatError(f"{folder}: expected a data set's folder, found {'a file' if folder.exists() else 'nothing'}")
    return folder


def sequences(root: Path, marker: str, kind: str) -> list[Path]:
    """The sequences below a folder: itself if it holds `marker`, else its children that do. Raises FormatError."""
    if (root / marker).exists():
        return [root]
    found = sorted(child for child in root.iterdir() if (child / marker).exists())
    if not found:
        raise FormatError(f"{root}: expected {kind} sequences (folders with {marker!r}), found none")
    return found


def load_arrays(path: Path, names: Sequence[str], optional: Sequence[str] = ()) -> dict[str, AnyArray]:
    """Arrays of an npz by name, without pickles. Raises FormatError: no such file, no npz, an array missing."""
    with reading(path, "an npz of arrays"):
        return read_npz(path, names, optional)
