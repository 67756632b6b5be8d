"""Initial depth of a solve: the interface of its sources, and maps kept on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from trackime.arrays import BoolArray, FloatArray
from trackime.errors import FormatError, InputError, ShapeError
from trackime.files import atomic, read_npz, reading


def is_known(depth: FloatArray) -> BoolArray:
    """bool [...]: which values are depths: finite, above 0; others say that the depth is unknown."""
    return np.asarray(np.isfinite(depth) & (np.asarray(depth) > 0))


class InitialDepth(Protocol):
    """Depth maps of a video's frames from one source.

    Attributes:
        disparity: the source gives disparity up to scale and shift; its maps are 1 / disparity as it comes. Otherwise
            depth, metric or up to a scale.
        metric: in metres.
    """

    disparity: bool
    metric: bool

    def depth(self, t: int) -> FloatArray:
        """float32 [h, w], z over the whole of frame t at any resolution; 0 where unknown."""
        ...


class DepthMaps:
    """Maps in a folder, one npz per frame: memory holds one, and an interrupted run reuses those it wrote.

    Args:
        folder: where they are; made when the first is written.
        frames: of the video.
        disparity, metric: see `InitialDepth`.
    """

    def __init__(self, folder: Path, frames: int, disparity: bool = False, metric: bool = False) -> None:
        self.folder, self.frames = folder, frames
        self.disparity, self.metric = disparity, metric

    def _path(self, t: int) -> Path:
        if not 0 <= t < self.frames:
            raise InputError(f"depth map: expected frame 0 .. {self.frames - 1}, got {t}")
        return self.folder / f"{t:05d}.npz"

    def __contains__(self, t: int) -> bool:
        return self._path(t).exists()

    def write(
        self, t: int, depth: FloatArray, measured: BoolArray | None = None, moving: BoolArray | None = None
    ) -> None:
        """Keep a map.

        Args:
            t: the frame.
            depth: [h, w]; 0, NaN, infinite: unknown.
            measured: bool [h, w]; None: all that is known.
            moving: bool [h, w], moving objects; None: not determined.

        Raises:
            ShapeError: not [h, w], all the same.
        """
        known = is_known(depth)
        seen = known if measured is None else known & measured
        if known.ndim != 2 or seen.shape != known.shape or (moving is not None and moving.shape != known.shape):
            raise ShapeError("depth map", "[h, w], and measured and moving the same", np.shape(depth))
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic(self._path(t)) as temporary, open(temporary, "wb") as file:
            values = np.where(known, depth, 0).astype(np.float32)
            arrays: dict[str, Any] = {"depth": values, "measured": np.packbits(seen, axis=1)}
            if moving is not None:
                arrays["moving"] = np.packbits(moving, axis=1)
            np.savez(file, **arrays)

    def frame(self, t: int) -> tuple[FloatArray, BoolArray, BoolArray | None]:
        """The map of frame t: depth float32 [h, w] (0: unknown), measured bool [h, w], and moving, or None.

        Raises:
            FormatError: it was never written, or is damaged.
        """
        path = self._path(t)
        with reading(path, "a depth map"):
            file = read_npz(path, ("depth", "measured"), ("moving",))
            depth, masks = file["depth"], [mask for name, mask in file.items() if name != "depth"]
            if depth.ndim != 2 or any(mask.shape != (len(depth), -(-depth.shape[1] // 8)) for mask in masks):
                raise FormatError(f"expected depth [h, w] and packed bits, got {list(depth.shape)}")
        unpacked = [np.unpackbits(m.astype(np.uint8), axis=1, count=depth.shape[1]).astype(bool) for m in masks]
        return depth, unpacked[0], unpacked[1] if "moving" in file else None

    def depth(self, t: int) -> FloatArray:
        """float32 [h, w]; 0 where unknown. FormatError as `frame`."""
        return self.frame(t)[0]


def resize_mask(mask: BoolArray, shape: tuple[int, ...]) -> BoolArray:
    """A mask [h, w] at the size of a shape [H, W, ...]."""
    return np.asarray(cv2.resize(mask.astype(np.uint8), shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0)
