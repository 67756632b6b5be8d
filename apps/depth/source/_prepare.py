"""Frames as input of a network of monocular depth, and its maps resampled over the whole frame.

Does what transformers' image processors do, from the same ``preprocessor_config.json``, without torchvision. Maps are
resampled by the inverse of the frames' resampling, so that a network's pixel stays over what it saw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trackime.arrays import FloatArray, UInt8
from trackime.errors import FormatError

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
FILTERS = {2: Image.Resampling.BILINEAR, 3: Image.Resampling.BICUBIC}
"""Filters by the number a configuration gives."""


@dataclass(frozen=True)
class Recipe:
    """The recipe for a network's input from a frame.

    Attributes:
        size: (height, width) to resize to.
        keep_aspect: resize by one factor, that of the side that changes least, so that one side is as in `size`.
        multiple: both sides are rounded to multiples of it.
        resample: a key of `FILTERS`.
        mean, std: of values in 0 .. 1, a channel.
        corners: ZoeDepth's way: first pixels to 0 .. 1, then resized corner to corner, without antialiasing; else
            Pillow's resize of the bytes.
        pad: ZoeDepth's way: mirrored margins of 3 sqrt(side / 2) pixels, taken off its maps (Bhat et al. 2023).
    """

    size: tuple[int, int]
    keep_aspect: bool = False
    multiple: int = 1
    resample: int = 3
    mean: tuple[float, ...] = HALF[0]
    std: tuple[float, ...] = HALF[1]
    corners: bool = False
    pad: bool = False

    def overlaid(self, config: Mapping[str, Any], where: str) -> Recipe:
        """This recipe with the values of a preprocessor_config.json; FormatError, with `where`, on unsupported ones."""
        for key in ("do_resize", "do_rescale", "do_normalize"):
            if config.get(key) is False:
                raise FormatError(f"{where}: expected {key} to be true, got false")
        if config.get("size_divisor") and config.get("do_pad"):
            raise FormatError(f"{where}: expected no padding to multiples (size_divisor), got {config['size_divisor']}")
        factor = config.get("rescale_factor", 1 / 255)
        if not isinstance(factor, float) or abs(factor * 255 - 1) > 1e-6:
            raise FormatError(f"{where}: expected a rescale_factor of 1/255, got {factor!r}")
        return replace(
            self,
            size=_size(config.get("size", self.size), where),
            keep_aspect=bool(config.get("keep_aspect_ratio", self.keep_aspect)),
            multiple=_whole(config.get("ensure_multiple_of", self.multiple), f"{where}: ensure_multiple_of"),
            resample=_filter(config.get("resample", self.resample), where),
            mean=_three(config.get("image_mean", self.mean), f"{where}: image_mean"),
            std=_three(config.get("image_std", self.std), f"{where}: image_std", positive=True),
            pad=bool(config.get("do_pad", self.pad)) and self.corners,
        )

    def margins(self, height: int, width: int) -> tuple[int, int]:
        """Rows above and below, columns left and right, that are added to a frame."""
        return (int(math.sqrt(height / 2) * 3), int(math.sqrt(width / 2) * 3)) if self.pad else (0, 0)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the network's input for an image of that size, margins included."""
        tall, wide = self.size[0] / height, self.size[1] / width
        if self.keep_aspect:
            tall = wide = wide if abs(1 - wide) < abs(1 - tall) else tall
        m = self.multiple
        return max(m, round(tall * height / m) * m), max(m, round(wide * width / m) * m)

    def images(self, frames: UInt8) -> Tensor:
        """float32 [B, 3, h, w] of frames uint8 [B, H, W, 3]."""
        ready = [self._stretched(frame) if self.corners else self._resized(frame) for frame in frames]
        mean, std = (np.array(values, np.float32) for values in (self.mean, self.std))
        return torch.from_numpy(np.stack([((x - mean) / std).transpose(2, 0, 1) for x in ready]))

    def _resized(self, frame: UInt8) -> FloatArray:
        height, width = self.resized(*frame.shape[:2])
        image = Image.fromarray(frame).resize((width, height), FILTERS[self.resample])
        return np.asarray(np.asarray(image) * (1 / 255), np.float32)

    def _stretched(self, frame: UInt8) -> FloatArray:
        rows, columns = self.margins(*frame.shape[:2])
        values = np.pad(frame, ((rows, rows), (columns, columns), (0, 0)), "reflect") * (1 / 255)
        image = torch.from_numpy(values.astype(np.float32).transpose(2, 0, 1))[None]
        mode = "bilinear" if self.resample == 2 else "bicubic"
        resized = torch.nn.functional.interpolate(image, self.resized(*image.shape[2:]), mode=mode, align_corners=True)[
            0
        ]
        return np.asarray(resized.permute(1, 2, 0))

    def over_frame(self, maps: Tensor, height: int, width: int) -> Tensor:
        """Maps [B, h, w] of the network's input as [B, h', w'] over the frame.

        They get the frame's shape and about as many pixels as the network had for it, no more than the frame has;
        bilinear.
        """
        rows, columns = self.margins(height, width)
        tall, wide = height + 2 * rows, width + 2 * columns
        scale = min(1.0, math.sqrt(maps.shape[1] * maps.shape[2] / (tall * wide)))
        out = max(1, round(height * scale)), max(1, round(width * scale))
        for axis, (side, margin, whole, size) in enumerate(
            ((height, rows, tall, out[0]), (width, columns, wide, out[1])), start=1
        ):
            maps = _lines(maps, axis, self._places(side, margin, whole, size, maps.shape[axis]))
        return maps

    def _places(self, side: int, margin: int, whole: int, size: int, got: int) -> Tensor:
        """Positions of the centres of `size` pixels along a map's axis of `got` pixels (0: the first one's centre)."""
        source = (torch.arange(size, dtype=torch.float64) + 0.5) * side / size - 0.5 + margin
        index = source * (got - 1) / max(whole - 1, 1) if self.corners else (source + 0.5) * got / whole - 0.5
        return index.clamp(0, got - 1)


def _lines(maps: Tensor, axis: int, index: Tensor) -> Tensor:
    """Linear interpolation along an axis at float64 positions."""
    low = index.floor().long()
    weight = (index - low).to(maps.dtype).reshape([-1 if a == axis else 1 for a in range(3)]).to(maps.device)
    low = low.to(maps.device)
    below, above = (maps.index_select(axis, i.clamp(max=maps.shape[axis] - 1)) for i in (low, low + 1))
    return below + (above - below) * weight


def _size(value: Any, where: str) -> tuple[int, int]:
    given = value
    if isinstance(value, int):
        value = (value, value)
    elif isinstance(value, Mapping):
        value = value.get("height"), value.get("width")
    if not isinstance(value, Sequence) or len(value) != 2 or None in value:
        raise FormatError(f"{where}: expected a size with height and width, got {given!r}")
    return _whole(value[0], f"{where}: size"), _whole(value[1], f"{where}: size")


def _whole(value: Any, what: str) -> int:
    if not isinstance(value, int) or not 0 < value <= 8192:
        raise FormatError(f"{what}: expected a whole number of 1 .. 8192, got {value!r}")
    return value


def _filter(value: Any, where: str) -> int:
    if value not in FILTERS:
        raise FormatError(f"{where}: resample: expected 2 (bilinear) or 3 (bicubic), got {value!r}")
    return int(value)


def _three(value: Any, what: str, positive: bool = False) -> tuple[float, ...]:
    numbers = isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value)
    if not numbers or len(value) != 3 or (positive and min(value) <= 0):
        raise FormatError(f"{what}: expected three {'positive ' if positive else ''}numbers, got {value!r}")
    return tuple(float(v) for v in value)
