"""Export of masks to the formats of other tools, frame by frame; each file or folder is whole when it appears.

``coco``
    coco.json: COCO's layout with TAO's extension to videos: ``videos``, ``images`` (one per frame, ``video_id`` and
    ``frame_index`` from 0), ``annotations`` (one per frame and object in it; ``track_id`` is the object's id),
    ``tracks``, ``categories`` (one: nothing is known of classes). ``segmentation`` is COCO's compressed RLE, ``bbox``
    [x, y, width, height] in pixels from the frame's top left corner, ``score`` the confidence. pycocotools loads it.
    (https://cocodataset.org/#format-data, https://github.com/TAO-Dataset/tao)
``mots``
    mots.txt: a line ``frame id class height width rle`` per frame and object, as in MOTS and KITTI MOTS
    (Voigtlaender et al. 2019, https://www.vision.rwth-aachen.de/page/mots): frames count from 0, id is 1000 class +
    object, the class is always 1, rle is COCO's.
``yolo``
    yolo/labels/NAME.txt: a line ``class x1 y1 x2 y2 ...`` per object in the frame, x divided by the width and y by the
    height, as Ultralytics reads them (https://docs.ultralytics.com/datasets/segment/); the class is the object's id,
    yolo/classes.txt names classes from 0, which is the background and stays unused. The polygon runs along the edges of
    pixels and covers them exactly. An object of several parts, or with holes, is still one line: parts and holes are
    connected by bridges of no width, as the format has one closed polygon per object. A frame without objects is empty.
``rgba``, ``rgba-objects``
    rgba/NAME.png, all objects cut out, or rgba-objects/ID/NAME.png, each alone: 8 bits, straight alpha, as PNG
    demands; alpha is soft in a narrow band about the border and colours there exclude the background's (`_matte`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools.mask import encode

from trackime.arrays import BoolArray, UInt8
from trackime.errors import InputError, OutputError, UnknownNameError
from trackime.files import atomic
from trackime.progress import Report, silent
from trackime.types import VideoInfo
from trackime.video import IMAGES, Video

from ._matte import colours, soften
from ._polygons import joined, outlines
from .segmentation import Segmentation

_CLASS = 1
"""The class of every object in formats that have classes."""


@dataclass(frozen=True)
class _MaskedFrame:
    """One frame and its masks.

    Attributes:
        t: its index.
        name: its name.
        ids: uint8 [H, W], 0 background.
        scores: confidence of each object by id.
        frame: uint8 [H, W, 3]; None where no writer needs it.
    """

    t: int
    name: str
    ids: UInt8
    scores: dict[int, float]
    frame: UInt8 | None = None

    def masks(self) -> Iterator[tuple[int, BoolArray]]:
        """(id, mask bool [H, W]) of the objects that are in the frame, by id."""
        present = np.bincount(self.ids.ravel(), minlength=256) > 0
        return ((k, self.ids == k) for k in self.scores if present[k])


_Add = Callable[[_MaskedFrame], None]
_Writer = Callable[[Path, VideoInfo, Sequence[int]], AbstractContextManager[_Add]]


def export(
    folder: Path,
    formats: Sequence[str],
    video: Video,
    found: Segmentation,
    chunk: int = 16,
    progress: Report = silent,
) -> None:
    """Write masks in other formats, in one pass and in memory that does not grow with the video's length.

    Args:
        folder: where to; files and folders are named after the formats.
        formats: some of `FORMATS`.
        video: the frames.
        found: its masks are read once, in order.
        chunk: frames held at once, where a format needs frames.
        progress: called with (stage, done, total).

    Raises:
        UnknownNameError: a format that does not exist.
        InputError: masks or confidences of another number of frames or objects, or of another size.
        OutputError: a file that cannot be written.
    """
    wanted = list(dict.fromkeys(formats))
    for name in wanted:
        if name not in FORMATS:
            raise UnknownNameError("format", name, FORMATS)
    info, objects, frames = video.info, found.objects, len(video)
    if len(found.ids) != frames or found.confidence.shape != (frames, len(objects)):
        shapes = f"{len(found.ids)} masks and confidences {list(found.confidence.shape)}"
        raise InputError(f"export: expected masks of {frames} frames, {len(objects)} objects, got {shapes}")
    with ExitStack() as stack:
        writers = [stack.enter_context(FORMATS[name](folder, info, objects)) for name in wanted]
        for t, frame in _each_frame(video, chunk, any(name in _WITH_FRAMES for name in wanted)):
            mask = found.ids[t]
            if mask.shape != (info.height, info.width):
                raise InputError(f"masks[{t}]: expected {info.width}x{info.height}, got {mask.shape[::-1]}")
            scores = dict(zip(objects, found.confidence[t].tolist(), strict=True))
            masked = _MaskedFrame(t, info.names[t], mask, scores, frame)
            for add in writers:
                add(masked)
            progress("export", t + 1, frames)


def _each_frame(video: Video, chunk: int, read: bool) -> Iterator[tuple[int, Any]]:
    if not read:
        yield from ((t, None) for t in range(len(video)))
        return
    for t0, frames in video.chunks(chunk):
        yield from enumerate(frames, t0)


def _rle(mask: BoolArray) -> dict[str, Any]:
    """A mask bool [H, W] as COCO's compressed RLE, ready for json: ``{"size": [H, W], "counts": text}``."""
    height, width = mask.shape
    return {"size": [height, width], "counts": encode(np.asfortranarray(mask, np.uint8))["counts"].decode("ascii")}


@contextmanager
def _coco(folder: Path, info: VideoInfo, objects: Sequence[int]) -> Iterator[_Add]:
    count = 0
    with atomic(folder / "coco.json") as path, open(path, "w", encoding="utf-8") as file:

        def add(masked: _MaskedFrame) -> None:
            nonlocal count
            for k, mask in masked.masks():
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                x, y = int(columns[0]), int(rows[0])
                annotation = {
                    "id": count + 1, "image_id": masked.t + 1, "video_id": 1, "track_id": k, "category_id": _CLASS,
                    "segmentation": _rle(mask), "area": int(mask.sum()), "iscrowd": 0,
                    "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
                    "score": round(masked.scores[k], 4),
                }  # fmt: skip
                file.write((",\n" if count else "\n") + json.dumps(annotation))
                count += 1

        size = {"width": info.width, "height": info.height}
        name = Path(info.source).stem or "video"
        head = {
            "info": {"description": f"objects of {name}", "version": "1.0"},
            "licenses": [],
            "videos": [{"id": 1, "name": name, **size, "length": info.frames}],
            "tracks": [{"id": k, "video_id": 1, "category_id": _CLASS} for k in objects],
            "categories": [{"id": _CLASS, "name": "object", "supercategory": ""}],
        }
        file.write(json.dumps(head)[:-1] + ', "images": [')
        for t, file_name in enumerate(_file_names(info)):
            image = {"id": t + 1, "video_id": 1, "frame_index": t, "file_name": file_name, **size}
            file.write((",\n" if t else "\n") + json.dumps(image))
        file.write('\n], "annotations": [')
        yield add
        file.write("\n]}\n")


def _file_names(info: VideoInfo) -> Iterator[str]:
    """Names of the frames' files: those of a folder of frames as they are, else NAME.png."""
    source = Path(info.source)
    files = source.iterdir() if info.source and source.is_dir() else ()
    known = {f.stem: f.name for f in files if f.suffix.lower() in IMAGES}
    return (known.get(name, f"{name}.png") for name in info.names)


@contextmanager
def _mots(folder: Path, info: VideoInfo, objects: Sequence[int]) -> Iterator[_Add]:
    with atomic(folder / "mots.txt") as path, open(path, "w", encoding="ascii", newline="\n") as file:

        def add(masked: _MaskedFrame) -> None:
            for k, mask in masked.masks():
                rle = _rle(mask)
                file.write(f"{masked.t} {1000 * _CLASS + k} {_CLASS} {info.height} {info.width} {rle['counts']}\n")

        yield add


@contextmanager
def _yolo(folder: Path, info: VideoInfo, objects: Sequence[int]) -> Iterator[_Add]:
    with atomic(folder / "yolo") as path:
        (path / "labels").mkdir(parents=True)
        named = [f"object_{k}" if k in objects else "unused" for k in range(1, max(objects, default=0) + 1)]
        (path / "classes.txt").write_text("\n".join(["background", *named]) + "\n", encoding="utf-8")

        def add(masked: _MaskedFrame) -> None:
            lines = []
            for k, mask in masked.masks():
                polygon = joined(outlines(mask)) / [info.width, info.height]
                lines.append(" ".join([str(k), *(f"{value:.6f}" for value in polygon.ravel().tolist())]) + "\n")
            (path / "labels" / f"{masked.name}.txt").write_text("".join(lines), encoding="ascii")

        yield add


@contextmanager
def _rgba(folder: Path, info: VideoInfo, objects: Sequence[int]) -> Iterator[_Add]:
    with atomic(folder / "rgba") as path:
        path.mkdir()
        yield lambda masked: _cut_out(path / f"{masked.name}.png", masked, np.isin(masked.ids, objects))


@contextmanager
def _rgba_objects(folder: Path, info: VideoInfo, objects: Sequence[int]) -> Iterator[_Add]:
    with atomic(folder / "rgba-objects") as path:
        for k in objects:
            (path / str(k)).mkdir(parents=True)

        def add(masked: _MaskedFrame) -> None:
            for k in objects:  # frames without the object, too: compositing needs them all
                _cut_out(path / str(k) / f"{masked.name}.png", masked, masked.ids == k)

        yield add


def _cut_out(path: Path, masked: _MaskedFrame, mask: BoolArray) -> None:
    """Write the part of a frame below a mask as a PNG with straight alpha."""
    assert masked.frame is not None
    alpha = soften(mask, masked.frame)
    picture = np.dstack([colours(masked.frame, alpha)[..., ::-1], np.round(255 * alpha).astype(np.uint8)])
    done, data = cv2.imencode(".png", picture)
    if not done:
        raise OutputError(f"cannot write {path}: PNG encoding failed")
    path.write_bytes(data.tobytes())


FORMATS: dict[str, _Writer] = {
    "coco": _coco, "mots": _mots, "yolo": _yolo, "rgba": _rgba, "rgba-objects": _rgba_objects,
}  # fmt: skip
"""Format name to its writer: a context manager (folder, info, objects) that gives a function to add frames with."""

_WITH_FRAMES = ("rgba", "rgba-objects")
"""The formats that need the frames themselves."""
