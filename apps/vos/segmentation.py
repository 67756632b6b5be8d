"""The result `Segmentation` and its files."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trackime.arrays import Float32, UInt8
from trackime.errors import FormatError
from trackime.files import atomic, reading
from trackime.types import Tracks, VideoInfo

from .masks import MaskFiles

_MASKS, _CONFIDENCE, _TRACKS, _PROMPTS = "masks", "confidence.csv", "tracks.npz", "prompts.json"


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Objects of a video in all of its frames.

    Attributes:
        objects: ids, ascending.
        ids: T masks uint8 [H, W], 0 background, else the object's id; each is unpacked, or read from its file, when it
            is indexed.
        confidence: float32 [T, objects]; 0 where an object is not found.
        tracks: tracks of points on and around the objects; instance is the object, 0 the background. Points added
            along the way are not among them.
        prompted: by object, the frames whose masks prompts decided.
    """

    objects: tuple[int, ...]
    ids: Sequence[UInt8]
    confidence: Float32
    tracks: Tracks
    prompted: dict[int, list[int]]

    @property
    def video(self) -> VideoInfo:
        """Size, times and names of the video's frames."""
        return self.tracks.video

    def __len__(self) -> int:
        """Number of frames T."""
        return self.video.frames

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write masks/NAME.png (palette PNGs of ids), confidence.csv, frames.csv, tracks.npz and prompts.json.

        A new folder appears whole. In a folder that is there already these are replaced one after the other,
        each whole, and other files stay.

        Raises:
            OutputError: a file cannot be written.
            FormatError: two frames of one name.
        """
        from trackime.video import write_frames, write_mask

        names, target = self.video.names, Path(folder)
        if len(set(names)) != len(names):
            raise FormatError(f"{self.video.source}: expected frames of different names, got two of one name")
        with nullcontext(target) if target.is_dir() else atomic(target) as place:
            place.mkdir(exist_ok=True)
            with atomic(place / _MASKS) as masks:
                masks.mkdir()
                for name, ids in zip(names, self.ids, strict=True):
                    write_mask(masks / f"{name}.png", ids)
            with atomic(place / _CONFIDENCE) as path, open(path, "w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file, lineterminator="\n")
                rows.writerow(["index", "name", *(f"object_{k}" for k in self.objects)])
                for t, (name, values) in enumerate(zip(names, self.confidence, strict=True)):
                    rows.writerow([t, name, *(f"{value:.4f}" for value in values)])
            with atomic(place / "frames.csv") as path:
                write_frames(path, self.video)
            self.tracks.save(place / _TRACKS)
            with atomic(place / _PROMPTS) as path:
                path.write_text(json.dumps({str(k): sorted(self.prompted[k]) for k in self.objects}) + "\n")


def load(folder: str | os.PathLike[str]) -> Segmentation:
    """The segmentation in a folder that `Segmentation.save`, or the `vos` command, wrote; masks are read when indexed.

    Raises:
        FormatError: a file is missing, or not what `save` writes.
    """
    place = Path(folder)
    tracks = Tracks.load(place / _TRACKS)
    with reading(place / _PROMPTS, "the frames of each object's prompts"):
        prompts = json.loads((place / _PROMPTS).read_text(encoding="utf-8"))
        prompted = {int(k): [int(t) for t in frames] for k, frames in sorted(prompts.items(), key=lambda p: int(p[0]))}
    names, objects = tracks.video.names, tuple(prompted)
    for name in names:
        if not (place / _MASKS / f"{name}.png").is_file():
            raise FormatError(f"{place / _MASKS}: expected {name}.png and a mask of every other frame, found none")
    confidence = _read_confidence(place / _CONFIDENCE, names, objects)
    return Segmentation(objects, MaskFiles(place / _MASKS, names), confidence, tracks, prompted)


def _read_confidence(path: Path, names: Sequence[str], objects: Sequence[int]) -> Float32:
    """float32 [T, objects] of a confidence.csv of these frames and objects."""
    with reading(path, f"a row for each of {len(names)} frames and a column for each of {len(objects)} objects"):
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        if rows[0][2:] != [f"object_{k}" for k in objects] or [row[1] for row in rows[1:]] != list(names):
            raise ValueError("other frames or objects")
        return np.array([row[2:] for row in rows[1:]], np.float32).reshape(len(names), len(objects))
