"""The folder of one shot's depth, written frame by frame and read back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from trackime.arrays import BoolArray, Float32, FloatArray, UInt8
from trackime.errors import FormatError, InputError, ShapeError
from trackime.files import read_npz, reading
from trackime.geometry import Cameras
from trackime.progress import Report, silent
from trackime.types import VideoInfo
from trackime.video import read_frame_names, read_image, write_frames

from ._cameras import read_cameras, write_intrinsics, write_tum
from ._depth_range import DepthRange
from ._frames import write_npz, write_png

_DEPTH, IMAGES, _DYNAMIC = "depth", "images", "dynamic"
_CAMERAS, _INTRINSICS, _FRAMES = "cameras.tum", "intrinsics.json", "frames.csv"


def check_names(info: VideoInfo) -> None:
    """Raises InputError for two frames of one name: their files would be one."""
    if len(set(info.names)) != len(info.names):
        twice = next(name for k, name in enumerate(info.names) if name in info.names[:k])
        raise InputError(f"{info.source or 'video'}: expected frames of different names, got two called {twice!r}")


def shot_folders(starts: Sequence[int]) -> list[str]:
    """The folder of each shot in that of the result: itself for one shot, else one by the shot's first frame."""
    return ["."] if len(starts) == 1 else [f"shot_{start:05d}" for start in starts]


def _link(source: str, target: str) -> None:
    """A hard link, for no file of a result is changed in place; a copy where the file system has none."""
    with suppress(OSError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)


class DepthFolder:
    """Depth maps, cameras and frames of a shot; maps and images are read on demand.

    Attributes:
        folder: where it is.
        cameras: of all frames; the world is the first camera.
        info: size, times and names of the frames.
        metric: depth and cameras are in metres; otherwise up to one factor.
    """

    def __init__(self, folder: Path, cameras: Cameras, info: VideoInfo, metric: bool) -> None:
        if (info.frames, info.width, info.height) != (len(cameras), cameras.width, cameras.height):
            size = f"{len(cameras)} cameras of {cameras.width}x{cameras.height}"
            raise InputError(f"depth: expected {size}, got {info.frames} frames of {info.width}x{info.height}")
        check_names(info)
        self.folder, self.cameras, self.info, self.metric = folder, cameras, info, metric
        self._last: tuple[int, tuple[Float32, Float32, BoolArray]] | None = None
        self._range: DepthRange | None = None

    def __len__(self) -> int:
        return len(self.cameras)

    @property
    def unit(self) -> str:
        """``metre`` or ``relative``."""
        return "metre" if self.metric else "relative"

    @classmethod
    def begin(cls, folder: Path, cameras: Cameras, info: VideoInfo, metric: bool) -> DepthFolder:
        """Write what is known of all frames (frames.csv, cameras.tum, intrinsics.json); `write` adds the frames.

        Raises:
            InputError: cameras of another number or size of frames, two frames of one name.
            OutputError: a file that cannot be written.
        """
        result = cls(folder, cameras, info, metric)
        folder.mkdir(parents=True, exist_ok=True)
        write_frames(folder / _FRAMES, info)
        write_tum(folder / _CAMERAS, cameras, info.pts)
        write_intrinsics(folder / _INTRINSICS, cameras, metric)
        return result

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> DepthFolder:
        """A folder that was written before.

        Raises:
            FormatError: a file that is missing or is not what it should be.
        """
        path = Path(folder)
        cameras, pts, metric = read_cameras(path / _CAMERAS, path / _INTRINSICS)
        names = read_frame_names(path / _FRAMES)
        if len(names) != len(cameras):
            raise FormatError(f"{path / _FRAMES}: expected the names of {len(cameras)} frames, got {len(names)}")
        return cls(path, cameras, VideoInfo(cameras.width, cameras.height, pts, names, str(path)), metric)

    def at(self, folder: Path) -> DepthFolder:
        """The same in another folder, which holds the same files."""
        return DepthFolder(folder, self.cameras, self.info, self.metric)

    def copied(self, folder: Path) -> DepthFolder:
        """A copy in another folder, of what is known of all frames and of their maps; exports stay behind."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in (_CAMERAS, _INTRINSICS, _FRAMES):
            _link(str(self.folder / name), str(folder / name))
        for name in (_DEPTH, IMAGES, _DYNAMIC):
            shutil.copytree(self.folder / name, folder / name, copy_function=_link)
        return self.at(folder)

    def write(
        self,
        t: int,
        frame: UInt8,
        depth: FloatArray,
        confidence: FloatArray,
        measured: BoolArray,
        dynamic: BoolArray | None = None,
    ) -> None:
        """Write the files of frame t: depth/NAME.npz, images/NAME.png, dynamic/NAME.png.

        Args:
            t: its index.
            frame: uint8 [H, W, 3].
            depth: [H, W]; 0, NaN and infinity are unknown.
            confidence: [H, W] in 0 .. 1.
            measured: bool [H, W], seen rather than filled in.
            dynamic: bool [H, W], moving objects; None: nothing.

        Raises:
            ShapeError: not of the video's size.
        """
        size, name = (self.info.height, self.info.width), self._name(t)
        if frame.shape != (*size, 3):
            raise ShapeError("frame", str([*size, 3]), frame.shape)
        if np.shape(depth) != size:
            raise ShapeError("depth", str(list(size)), np.shape(depth))
        if dynamic is not None and dynamic.shape != size:
            raise ShapeError("dynamic", str(list(size)), dynamic.shape)
        self._last = self._range = None
        write_npz(self.folder / _DEPTH / f"{name}.npz", depth, confidence, measured)
        write_png(self.folder / IMAGES / f"{name}.png", frame)
        mask = np.zeros(size, bool) if dynamic is None else dynamic
        write_png(self.folder / _DYNAMIC / f"{name}.png", np.where(mask, np.uint8(255), np.uint8(0)))

    def maps(self, t: int) -> tuple[Float32, Float32, BoolArray]:
        """Depth and confidence float32 [H, W], 0 where unknown, and measured bool [H, W], of frame t.

        Raises:
            FormatError: a file that is missing or is not what it should be.
        """
        if self._last is None or self._last[0] != t:
            path = self.folder / _DEPTH / f"{self._name(t)}.npz"
            with reading(path, "depth, confidence and measured"):
                file = read_npz(path, ("depth", "confidence", "measured"))
                for key, values in file.items():
                    if values.shape != (self.info.height, self.info.width):
                        raise ShapeError(key, f"[{self.info.height}, {self.info.width}]", values.shape)
            maps = file["depth"].astype(np.float32), file["confidence"].astype(np.float32)
            self._last = (t, (*maps, file["measured"].astype(bool)))
        return self._last[1]

    def depth(self, t: int) -> Float32:
        """float32 [H, W] of frame t, 0 where unknown; errors as `maps`."""
        return self.maps(t)[0]

    def depth_range(self, report: Report = silent) -> DepthRange:
        """The range of the depths of all frames, whose maps are read for it once; errors as `maps`.

        Args:
            report: called with ("survey", done, total) while they are read.
        """
        if self._range is None:
            found = DepthRange()
            for t in range(len(self)):
                found.add(self.depth(t))
                report("survey", t + 1, len(self))
            self._range = found
        return self._range

    def image(self, t: int) -> UInt8:
        """uint8 [H, W, 3] of frame t. FormatError where its file is missing or no image."""
        path = self.folder / IMAGES / f"{self._name(t)}.png"
        with reading(path, "an image"):
            return read_image(path)

    def dynamic(self, t: int) -> BoolArray:
        """bool [H, W], moving objects in frame t. FormatError where its file is missing or of another size."""
        path = self.folder / _DYNAMIC / f"{self._name(t)}.png"
        with reading(path, "a mask"):
            mask = read_image(path)[..., 0]
            if mask.shape != (self.info.height, self.info.width):
                raise FormatError("not a mask of the video's size")
            return np.asarray(mask > 0)

    def _name(self, t: int) -> str:
        if not 0 <= t < len(self):
            raise InputError(f"frame: expected 0 .. {len(self) - 1}, got {t}")
        return self.info.names[t]
