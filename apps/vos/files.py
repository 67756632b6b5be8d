"""The files of a `vos` result: masks, confidences, and what is made of them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from trackime.arrays import FloatArray
from trackime.errors import FormatError
from trackime.ime import ImeConfig

from ..run import Progress, ResultFolder, count, describe

if TYPE_CHECKING:
    from trackime.video import Video

    from ._correct import Finished
    from .run import Segmentation


def finish(
    result: ResultFolder,
    video: Video,
    ids: MaskFiles,
    found: Segmentation | Finished,
    format: Sequence[str],
    ime: ImeConfig,
    progress: Progress,
    device: str,
) -> None:
    """Write what is made of masks and tracks: other formats, the overlay, what result.json says."""
    from ..run import TrackPainter, write_pictures

    if format:
        from ._export import export

        with progress.stage("export"):
            export(result.folder, format, video, ids, found.objects, found.confidence, ime.chunk, progress)
    with progress.stage("overlay"):
        on_objects = found.tracks[found.tracks.instance > 0]
        # Small, seen points alone: what matters here is the mask below them.
        paint = TrackPainter(on_objects, by_instance=True, trail=0, scale=0.6, hidden=False)
        write_pictures(result.folder, video, paint, ids, ime.chunk, progress)
    describe(result, video, device, progress)
    result.record["objects"] = list(found.objects)
    result.record["prompts"] = {str(k): sorted(frames) for k, frames in found.stated.items()}


class MaskFiles(Sequence[Any]):
    """The masks of a folder as a sequence of uint8 [H, W], each read when it is asked for."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._paths = [folder / f"{name}.png" for name in names]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: Any) -> Any:
        from trackime.video import read_mask

        return read_mask(self._paths[index])

    def __call__(self, t: int) -> Any:
        return self[t]


def write_masks(folder: Path, video: Video, found: Segmentation) -> None:
    """masks/NAME.png of every frame as it is made, and confidence.csv: a row a frame, a column an object."""
    from trackime.video import write_mask

    names = video.info.names
    if len(set(names)) != len(names):
        raise FormatError(f"{video.info.source}: expected frames of different names, got two of one name")
    (folder / "masks").mkdir()
    with open(folder / "confidence.csv", "w", newline="", encoding="utf-8") as file:
        add = confidence_rows(file, found.objects)
        for frame in found:
            write_mask(folder / "masks" / f"{names[frame.t]}.png", frame.ids)
            add(frame.t, names[frame.t], frame.confidence)


def confidence_rows(file: TextIO, objects: Sequence[int]) -> Callable[[int, str, FloatArray], None]:
    """Begin a confidence.csv; what writes one row of it."""
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["index", "name", *(f"object_{k}" for k in objects)])
    return lambda t, name, values: rows.writerow([t, name, *(f"{value:.4f}" for value in values)])


def read_confidence(path: Path, names: Sequence[str], objects: Sequence[int]) -> FloatArray:
    """float32 [T, objects] of a confidence.csv.

    Raises:
        FormatError: no such file, or one of other frames or objects.
    """
    import numpy as np

    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        if rows[0][2:] != [f"object_{k}" for k in objects] or [row[1] for row in rows[1:]] != list(names):
            raise ValueError("other frames or objects")
        return np.array([row[2:] for row in rows[1:]], np.float32)
    except (OSError, UnicodeDecodeError, ValueError, IndexError) as error:
        expected = f"a row for each of {count(len(names), 'frame')} and {count(len(objects), 'object')}"
        raise FormatError(f"{path}: expected {expected}: {getattr(error, 'strerror', None) or error}") from None
