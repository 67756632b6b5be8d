"""Videos as numbered frames with exact times: files, folders of frames, arrays.

Reading is lazy and windowed: memory is proportional to the window read, not to the length of the video.
"""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakSet

import numpy as np

from trackime.arrays import Float64, PixelArray, UInt8
from trackime.errors import InputError, ShapeError, VideoError
from trackime.types import VideoInfo
from trackime.video._containers import FileFrames
from trackime.video.decoded import PixelKind
from trackime.video.images import image_header, read_image, read_pixels
from trackime.video.writing import exact_rate

IMAGES = (".jpg", ".jpeg", ".png")
"""Suffixes of the files that make a folder of frames; others in it are ignored, hidden ones too."""

_FOLDER_FPS = 25
"""Frames a second of folders and arrays, which carry no times, where none is given."""


class Source(Protocol):
    """Source of the frames of a `Video`."""

    info: VideoInfo
    kind: PixelKind
    warnings: list[str]

    def read(self, t0: int, t1: int) -> UInt8:
        """Frames t0 .. t1 - 1 as a new array uint8 [t1 - t0, H, W, 3]."""

    def pixels(self, t0: int, t1: int) -> PixelArray:
        """The same frames with the source's depth and alpha: `kind.dtype` [t1 - t0, H, W, `kind.channels`]."""

    def again(self) -> Source:
        """The same frames with a decoder of its own, where there is one."""

    def close(self) -> None:
        """Close files."""


class Video:
    """Frames of a video by index, read on demand; made by `open_video`.

    Frames are uint8 RGB [H, W, 3], upright (rotation metadata applied); `pixels` keeps the source's depth and alpha.
    Negative indices are refused: `v[-1]` would hide an off-by-one of a time-reversed pass.

    Attributes:
        info: size, exact presentation times, frame names. For a clip, of the clip.
    """

    def __init__(self, source: Source, t0: int = 0, t1: int | None = None, owner: bool = True) -> None:
        self._source, self._t0, self._owner, self._closed = source, t0, owner, False
        self._t1 = source.info.frames if t1 is None else t1
        self._parent: Video | None = None
        self._children: WeakSet[Video] = WeakSet()
        whole = (self._t0, self._t1) == (0, source.info.frames)
        self.info = source.info if whole else source.info.window(self._t0, self._t1)

    def __len__(self) -> int:
        return self._t1 - self._t0

    def __repr__(self) -> str:
        size = f"{self.info.width}x{self.info.height}"
        return f"Video({self.info.source or 'array'!r}, {len(self)} frames, {size}, {self.info.fps:.6g} fps)"

    @property
    def depth(self) -> int:
        """Bits a channel that the source has, 8 .. 16."""
        return self._source.kind.depth

    @property
    def alpha(self) -> bool:
        """Whether the source has an alpha channel."""
        return self._source.kind.alpha

    @property
    def warnings(self) -> tuple[str, ...]:
        """Faults of the video that were worked around so far: truncation, damage, assumed frame times.

        Damage inside a file shows only when the frames are read. A frame that does not decode is replaced by the one
        before it, so that the length holds.
        """
        return tuple(self._source.warnings)

    def __getitem__(self, t: int) -> UInt8:
        """Frame t, uint8 [H, W, 3].

        Raises:
            InputError: not a whole number, or not in 0 .. T - 1.
        """
        index = _whole(t)
        if not 0 <= index < len(self):
            raise InputError(f"frame: expected 0 .. {len(self) - 1}, got {index}")
        return self.read(index, index + 1)[0]

    def __iter__(self) -> Iterator[UInt8]:
        for t in range(len(self)):
            yield self[t]

    def read(self, t0: int, t1: int) -> UInt8:
        """Frames t0 .. t1 - 1, uint8 [t1 - t0, H, W, 3], a new array.

        Raises:
            InputError: not 0 <= t0 <= t1 <= T.
            VideoError: the video was closed, or the frames can no longer be read.
        """
        return self._source.read(*self._window(t0, t1))

    def pixels(self, t0: int, t1: int) -> PixelArray:
        """Frames t0 .. t1 - 1 with the depth and alpha of the source, a new array.

        Returns:
            [t1 - t0, H, W, C]: uint8, or uint16 in its full scale 0 .. 65535 where `depth` is above 8; C = 3 (RGB), or
            4 where `alpha` (RGB not premultiplied). Colours of a file are converted exactly, those of `read` fast: a
            level of 255 apart.

        Raises:
            InputError, VideoError: as `read`.
        """
        return self._source.pixels(*self._window(t0, t1))

    def _window(self, t0: int, t1: int) -> tuple[int, int]:
        t0, t1 = _whole(t0), _whole(t1)
        if not 0 <= t0 <= t1 <= len(self):
            raise InputError(f"frames: expected 0 <= t0 <= t1 <= {len(self)}, got [{t0}, {t1})")
        self._check_open()
        return self._t0 + t0, self._t0 + t1

    def _check_open(self) -> None:
        if self._closed:
            raise VideoError(f"{self.info.source or 'video'}: closed already")

    def clip(self, t0: int, t1: int) -> Video:
        """Frames t0 .. t1 - 1 as a video of their own; nothing is read yet.

        It shares this video's file: closing the clip leaves this video open, closing this video closes the clip.

        Raises:
            InputError: not 0 <= t0 < t1 <= T.
            VideoError: the video was closed.
        """
        self._check_open()
        t0, t1 = _whole(t0), _whole(t1)
        if not 0 <= t0 < t1 <= len(self):
            raise InputError(f"clip: expected 0 <= t0 < t1 <= {len(self)}, got [{t0}, {t1})")
        return self._adopt(Video(self._source, self._t0 + t0, self._t0 + t1, owner=False))

    def chunks(
        self, size: int, start: int = 0, stop: int | None = None, reverse: bool = False
    ) -> Iterator[tuple[int, UInt8]]:
        """Frames start .. stop - 1 in chunks of `size` (the last one may be shorter).

        Args:
            size: frames a chunk.
            start: first frame.
            stop: one past the last frame; None: the end.
            reverse: the last chunk comes first; inside a chunk frames keep the order of the video. A group of
                pictures is decoded again for every 64 MB (at most 64) of its frames, so that memory stays bounded.

        Returns:
            Pairs of the chunk's first frame index and its frames uint8 [n, H, W, 3].

        Raises:
            InputError: size below 1, not 0 <= start <= stop <= T.
        """
        size, start, stop = _whole(size), _whole(start), len(self) if stop is None else _whole(stop)
        if size < 1:
            raise InputError(f"chunk size: expected at least 1 frame, got {size}")
        if not 0 <= start <= stop <= len(self):
            raise InputError(f"frames: expected 0 <= start <= stop <= {len(self)}, got [{start}, {stop})")
        begins = range(start, stop, size)
        order = reversed(begins) if reverse else begins
        return ((t0, self.read(t0, min(t0 + size, stop))) for t0 in order)

    def again(self) -> Video:
        """The same frames with a decoder of its own, for reading at two places of the video alternately.

        A file is decoded sequentially: two places read in turn by one decoder would seek for every frame. Closing this
        video closes the new one, too.

        Raises:
            VideoError: the video was closed, or its file can no longer be read.
        """
        self._check_open()
        return self._adopt(Video(self._source.again(), self._t0, self._t1))

    def _adopt(self, child: Video) -> Video:
        # A child holds its parent, so that what is in use can be reached from the video it was made from.
        child._parent = self
        self._children.add(child)
        return child

    def close(self) -> None:
        """Close the file, and all clips and readers made from this video. A clip leaves the file open."""
        self._closed = True
        for child in list(self._children):
            child.close()
        if self._owner:
            self._source.close()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_video(source: str | os.PathLike[str] | PixelArray | Video, fps: float | Fraction | None = None) -> Video:
    """A video from a file, a folder, an array or a Video.

    Args:
        source: a video file (mp4, mkv, webm, avi, ...); a folder of jpg or png frames of one size, in natural order
            (frame2 before frame10); one jpg or png file (a video of one frame); an array uint8 [T, H, W, 3] RGB
            (not copied); a Video, returned as it is.
        fps: frames a second of a folder, image or array; None: 25. A file has times of its own.

    Raises:
        VideoError: missing, empty, not a video, no frame that decodes; frames of different size.
        InputError: an array that is not uint8 or has no frames, fps where the source has its own times.
        ShapeError: an array not [T, H, W, 3].
    """
    if isinstance(source, Video):
        return _with_own_times(source, fps)
    if isinstance(source, np.ndarray):
        return Video(_ArrayFrames(source, _rate(fps)))
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"video: expected a path, a uint8 array [T, H, W, 3] or a Video, got {type(source).__name__}")
    if not os.fspath(source):
        raise VideoError("video: expected a path, got an empty name")  # Path would make it the current folder
    path = Path(source)
    try:
        if path.is_dir():
            return Video(_ImageFrames(path, _list_images(path), _rate(fps)))
        if not path.exists():
            raise VideoError(f"{path}: no such file or folder")
        if path.stat().st_size == 0 and path.is_file():
            raise VideoError(f"{path}: the file is empty")
    except (OSError, ValueError) as error:
        raise VideoError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if path.suffix.lower() in IMAGES:
        return Video(_ImageFrames(path, [path], _rate(fps)))
    return _with_own_times(Video(FileFrames(path)), fps)


def _whole(value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise InputError(f"frame: expected a whole number (read(t0, t1) takes ranges), got {value!r}") from None


def _with_own_times(video: Video, fps: float | Fraction | None) -> Video:
    if fps is not None:
        raise InputError(f"fps: {video.info.source or 'this video'} has frame times of its own, got fps={fps}")
    return video


def _rate(fps: float | Fraction | None) -> Fraction:
    return exact_rate(_FOLDER_FPS if fps is None else fps)


def _times(count: int, rate: Fraction) -> Float64:
    return np.arange(count, dtype=np.int64) * rate.denominator / rate.numerator


class _ArrayFrames:
    kind = PixelKind()

    def __init__(self, array: PixelArray, rate: Fraction) -> None:
        if array.ndim != 4 or array.shape[-1] != 3:
            raise ShapeError("video", "[T, H, W, 3]", array.shape)
        if array.dtype != np.uint8:
            raise InputError(f"video: expected uint8 values 0 .. 255, got {array.dtype}")
        if not array.size:
            raise InputError(f"video: expected at least one frame of one pixel, got shape {list(array.shape)}")
        self._array = array
        self.info = VideoInfo(array.shape[2], array.shape[1], _times(len(array), rate))
        self.warnings: list[str] = []

    def read(self, t0: int, t1: int) -> UInt8:
        return np.array(self._array[t0:t1], order="C")

    def pixels(self, t0: int, t1: int) -> UInt8:
        return self.read(t0, t1)

    def again(self) -> _ArrayFrames:
        return self

    def close(self) -> None:
        """Nothing to close."""


class _ImageFrames:
    def __init__(self, source: Path, files: list[Path], rate: Fraction) -> None:
        self._files = files
        self._height, self._width = read_image(files[0]).shape[:2]
        depth, alpha = 8, False
        for file in files:
            # Checked now, not after an hour of a long folder. EXIF may rotate an image: sides in either order.
            header = image_header(file)
            if header is None:
                continue
            if sorted(header.size) != sorted((self._width, self._height)):
                raise _other_size(file, (self._width, self._height), header.size)
            depth, alpha = max(depth, header.kind.depth), alpha or header.kind.alpha
        self.kind = PixelKind(depth, alpha)
        names = tuple(file.stem for file in files)
        self.info = VideoInfo(self._width, self._height, _times(len(files), rate), names, str(source))
        self.warnings: list[str] = []

    def read(self, t0: int, t1: int) -> UInt8:
        return self._read(t0, t1, PixelKind(), read_image)

    def pixels(self, t0: int, t1: int) -> PixelArray:
        return self._read(t0, t1, self.kind, lambda file: read_pixels(file, self.kind))

    def _read(self, t0: int, t1: int, kind: PixelKind, load: Callable[[Path], PixelArray]) -> PixelArray:
        out = np.empty((t1 - t0, self._height, self._width, kind.channels), kind.dtype)
        for row, file in enumerate(self._files[t0:t1]):
            image = load(file)
            if image.shape != out.shape[1:]:
                raise _other_size(file, (self._width, self._height), (image.shape[1], image.shape[0]))
            out[row] = image
        return out

    def again(self) -> _ImageFrames:
        return self

    def close(self) -> None:
        """No file is held open."""


def _other_size(file: Path, expected: tuple[int, int], got: tuple[int, int]) -> VideoError:
    return VideoError(f"{file}: expected {expected[0]}x{expected[1]} as in the first frame, got {got[0]}x{got[1]}")


def _list_images(folder: Path) -> list[Path]:
    files = [f for f in folder.iterdir() if f.suffix.lower() in IMAGES and not f.name.startswith(".") and f.is_file()]
    if not files:
        raise VideoError(f"{folder}: expected a folder with {', '.join(IMAGES)} frames, found none")
    files.sort(key=lambda f: natural(f.name))
    stems = [f.stem for f in files]
    if len(set(stems)) != len(stems):
        twice = next(s for s in stems if stems.count(s) > 1)
        raise VideoError(f"{folder}: two files for frame {twice!r}: results are named after frames")
    return files


def natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key in which numbers count as numbers; the name itself settles 01 against 1."""
    parts = [p for p in re.split(r"([0-9]+)", name.lower()) if p]
    return [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p) for p in parts], name
