"""A folder of consistent depth, written frame by frame and read back: `_load`.

from trackime_apps.depth.files.results import load

result = load("OUT")
depth, confidence, measured = result.maps(0)  # [H, W] each
points = result.cameras.lift(xy, z, 0)  # world points of pixels
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import cv2
import numpy as np

from trackime.arrays import BoolArray, FloatArray, UInt8
from trackime.errors import FormatError, InputError, ShapeError
from trackime.files import read_npz, reading
from trackime.geometry import Cameras
from trackime.progress import Report
from trackime.types import VideoInfo

from ...run import write_frames
from ._cameras import read_cameras, write_intrinsics, write_tum
from ._frames import read_image, write_image, write_npz
from ._survey import Survey

_DEPTH, IMAGES, _DYNAMIC = "depth", "images", "dynamic"
_CAMERAS, _INTRINSICS, _FRAMES = "cameras.tum", "intrinsics.json", "frames.csv"


def check_names(info: VideoInfo) -> None:
    """Raises InputError for two frames of one name: their files would be one."""
    if len(set(info.names)) != len(info.names):
        twice = next(name for k, name in enumerate(info.names) if name in info.names[:k])
        raise InputError(f"{info.source or 'video'}: expected frames of different names, got two called {twice!r}")


class DepthResult:
    """Depth maps, cameras and frames of a result; maps and pictures are read when asked for.

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
        self._last: tuple[int, tuple[FloatArray, FloatArray, BoolArray]] | None = None
        self._survey: Survey | None = None

    def __len__(self) -> int:
        return len(self.cameras)

    @property
    def unit(self) -> str:
        """``metre`` or ``relative``."""
        return "metre" if self.metric else "relative"

    @classmethod
    def begin(cls, folder: Path, cameras: Cameras, info: VideoInfo, metric: bool) -> DepthResult:
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
            dynamic: bool [H, W], what moves by itself; None: nothing.

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
        self._last = self._survey = None
        write_npz(self.folder / _DEPTH / f"{name}.npz", depth, confidence, measured)
        write_image(self.folder / IMAGES / f"{name}.png", frame)
        mask = np.zeros(size, bool) if dynamic is None else dynamic
        write_image(self.folder / _DYNAMIC / f"{name}.png", np.where(mask, np.uint8(255), np.uint8(0)))

    def maps(self, t: int) -> tuple[FloatArray, FloatArray, BoolArray]:
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

    def depth(self, t: int) -> FloatArray:
        """float32 [H, W] of frame t, 0 where unknown; errors as `maps`."""
        return self.maps(t)[0]

    def survey(self, report: Report | None = None) -> Survey:
        """The range of the depths of all frames, whose maps are read for it once; errors as `maps`.

        Args:
            report: called with ("survey", done, total) while they are read.
        """
        if self._survey is None:
            survey = Survey()
            for t in range(len(self)):
                survey.add(self.depth(t))
                if report is not None:
                    report("survey", t + 1, len(self))
            self._survey = survey
        return self._survey

    def image(self, t: int) -> UInt8:
        """uint8 [H, W, 3] of frame t. FormatError where its file is missing or no image."""
        return read_image(self.folder / IMAGES / f"{self._name(t)}.png")

    def dynamic(self, t: int) -> BoolArray:
        """bool [H, W], what was found to move by itself in frame t. FormatError where its file is missing."""
        path = self.folder / _DYNAMIC / f"{self._name(t)}.png"
        with reading(path, "a mask"):
            mask = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
            if mask is None or mask.shape != (self.info.height, self.info.width):
                raise FormatError("not a mask of the video's size")
            return np.asarray(mask > 0)

    def _name(self, t: int) -> str:
        if not 0 <= t < len(self):
            raise InputError(f"frame: expected 0 .. {len(self) - 1}, got {t}")
        return self.info.names[t]


def _load(folder: str | os.PathLike[str]) -> DepthResult:
    """The result of `trackime-apps depth` in a folder.

    Raises:
        FormatError: a file that is missing or is not what it should be.
    """
    path = Path(folder)
    cameras, pts, metric = read_cameras(path / _CAMERAS, path / _INTRINSICS)
    with reading(path / _FRAMES, "names of frames"):
        rows = list(csv.reader((path / _FRAMES).read_text(encoding="utf-8").splitlines()))
        names = tuple(row[1] for row in rows[1:])
        if rows[0] != ["index", "name", "pts"] or len(names) != len(cameras):
            raise FormatError(f"expected the names of {len(cameras)} frames, got {len(names)}")
        info = VideoInfo(cameras.width, cameras.height, pts, names, str(path))
    return DepthResult(path, cameras, info, metric)
