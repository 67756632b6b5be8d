"""Run lengths of masks as COCO keeps them: column by column, in the compressed text that pycocotools reads.

A mask is read down its columns, left to right; its runs are counted by turns, background first (0 where the first
pixel is the object's). Each count but the first three is stored as its difference to the one two before it. A number
is written five bits at a time, the lowest first, in two's complement: a character is 48 + the five bits + 32 where
more follow, and the fifth bit of the last one is the sign (Lin et al. 2014, COCO's mask API).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trackime.arrays import BoolArray, Int64
from trackime.errors import FormatError, InputError, ShapeError

WIDTH = 12
"""Characters of the longest number: 60 bits, five at a time."""


def run_lengths(mask: npt.ArrayLike) -> Int64:
    """Lengths int64 [R] of the runs of a mask bool [H, W], column by column, the first one of background.

    Raises:
        ShapeError: not [H, W], or empty.
    """
    array = np.asarray(mask)
    if array.ndim != 2 or not array.size:
        raise ShapeError("mask", "[H, W], not empty", array.shape)
    flat = np.asarray(array, bool).T.ravel()
    turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], turns, [flat.size]]))
    return np.asarray(np.concatenate([[0], counts]) if flat[0] else counts, np.int64)


def compress(counts: npt.ArrayLike) -> str:
    """COCO's text of run lengths int [R].

    Raises:
        InputError: a length below 0.
    """
    values = np.array(counts, np.int64)
    if (values < 0).any():
        raise InputError(f"counts: expected run lengths of 0 or more, got {values.min()}")
    values[3:] -= np.asarray(counts, np.int64)[1:-2]
    # Row r: what is left of every number after r characters, an arithmetic shift, so that negative ones end in -1.
    left = values >> (5 * np.arange(WIDTH))[:, None]
    digits = left & 31
    # A number ends where the rest repeats the sign that the reader takes from the fifth bit.
    last = (left >> 5) == -(digits >> 4)
    length = last.argmax(0) + 1
    text = (48 + digits + 32 * (np.arange(WIDTH)[:, None] + 1 < length)).astype(np.uint8)
    used = np.arange(WIDTH)[:, None] < length
    return text.T[used.T].tobytes().decode("ascii")


def encode(mask: npt.ArrayLike) -> dict[str, Any]:
    """A mask bool [H, W] as COCO's RLE: ``{"size": [H, W], "counts": text}``, ready for json. Raises ShapeError."""
    counts = compress(run_lengths(mask))
    return {"size": [int(side) for side in np.shape(mask)], "counts": counts}


def decode(rle: Any) -> BoolArray:
    """The mask bool [H, W] of COCO's RLE, compressed or a list of counts.

    Raises:
        FormatError: no RLE, or runs that do not fill the size.
    """
    try:
        (height, width), counts = (int(side) for side in rle["size"]), rle["counts"]
        lengths = np.asarray(_numbers(counts) if isinstance(counts, str | bytes) else counts, np.int64)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise FormatError(f"RLE: expected size [H, W] and counts, got: {error!r}") from None
    if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != height * width or min(height, width) < 1:
        raise FormatError(f"RLE: expected runs that fill {height} x {width} pixels, got {lengths.sum()}")
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def _numbers(text: str | bytes) -> Int64:
    """The run lengths of a compressed text."""
    codes = np.frombuffer(text.encode("ascii") if isinstance(text, str) else text, np.uint8).astype(np.int64) - 48
    if not len(codes) or (codes < 0).any() or (codes > 63).any() or codes[-1] & 32:
        raise ValueError("not COCO's text")
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    if place.max() >= WIDTH:
        raise ValueError("a number of more than 60 bits")
    values = np.add.reduceat((codes & 31) << (5 * place), starts)
    values -= np.where(codes[ends] & 16, np.int64(1) << (5 * (ends - starts + 1)), 0)
    # From the third on each even and each odd count is a difference to the one before it of its kind; the first is not.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
