"""The masks of a video as a sequence, each unpacked or read from its file when indexed."""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np

from trackime.arrays import UInt8


class Masks(Sequence[UInt8]):
    """T masks, ids uint8 [H, W], each read when it is indexed."""

    @abstractmethod
    def read(self, t: int) -> UInt8:
        """Frame t's ids uint8 [H, W], a new array; t in 0 .. T - 1."""

    @overload
    def __getitem__(self, index: int) -> UInt8: ...

    @overload
    def __getitem__(self, index: slice) -> list[UInt8]: ...

    def __getitem__(self, index: int | slice) -> UInt8 | list[UInt8]:
        chosen = range(len(self))[index]
        return [self.read(t) for t in chosen] if isinstance(chosen, range) else self.read(chosen)


class PackedMasks(Masks):
    """Masks in memory as compressed run lengths: a few kilobytes per frame."""

    def __init__(self) -> None:
        self._packed: list[_Packed] = []

    def __len__(self) -> int:
        return len(self._packed)

    def append(self, ids: UInt8) -> None:
        """Add the next frame's ids uint8 [H, W]."""
        self._packed.append(_Packed(ids))

    def read(self, t: int) -> UInt8:
        """See `Masks.read`."""
        return self._packed[t].ids()


class EditedMasks(Masks):
    """A sequence of masks with some replaced."""

    def __init__(self, masks: Sequence[UInt8]) -> None:
        self._masks, self._replaced = masks, dict[int, _Packed]()

    @property
    def changed(self) -> list[int]:
        """The frames replaced, ascending."""
        return sorted(self._replaced)

    def __len__(self) -> int:
        return len(self._masks)

    def read(self, t: int) -> UInt8:
        """See `Masks.read`."""
        return self._replaced[t].ids() if t in self._replaced else self._masks[t]

    def replace(self, t: int, ids: UInt8) -> None:
        """Replace frame t's ids, unless they are the same."""
        if not np.array_equal(ids, self[t]):
            self._replaced[t] = _Packed(ids)


class MaskFiles(Masks):
    """FOLDER/NAME.png of every frame."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._paths = [folder / f"{name}.png" for name in names]

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, t: int) -> UInt8:
        """See `Masks.read`. Raises FormatError where the file is no mask."""
        from trackime.video import read_mask

        return read_mask(self._paths[t])


class _Packed:
    """One mask, row by row as lengths and ids of its runs, compressed."""

    def __init__(self, ids: UInt8) -> None:
        self._shape, flat = ids.shape, ids.ravel()
        starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
        lengths = np.diff(starts, append=flat.size).astype(np.uint32)
        self._lengths = zlib.compress(lengths.tobytes(), 1)
        self._values = zlib.compress(flat[starts].tobytes(), 1)

    def ids(self) -> UInt8:
        lengths = np.frombuffer(zlib.decompress(self._lengths), np.uint32)
        return np.repeat(np.frombuffer(zlib.decompress(self._values), np.uint8), lengths).reshape(self._shape)
