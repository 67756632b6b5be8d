"""Shared by the text formats: atomic writing, names of tracks, and numbers that survive the round trip."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from trackime.arrays import AnyArray
from trackime.errors import InputError
from trackime.files import atomic


def write_text(path: str | os.PathLike[str], parts: Iterable[str]) -> None:
    """Write the parts one after another as UTF-8 with line feeds; atomic.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(parts)


def track_name(index: int) -> str:
    """Name of a track in other programs: ``p0000`` on. No blanks: some formats separate columns by them."""
    return f"p{index:04d}"


def shortest(values: AnyArray) -> AnyArray:
    """The shortest decimal text of each value that reads back as the same float of its precision."""
    return np.asarray(values).astype(str)


def decimals(values: AnyArray) -> list[Any]:
    """Nested lists of Python floats that print as short as the array's own precision allows."""
    # float32 0.1 as a float64 prints 0.10000000149011612; through its own shortest text it is 0.1.
    nested: list[Any] = shortest(values).astype(np.float64).tolist()
    return nested


def check_start(start_frame: int) -> int:
    """`start_frame` itself.

    Raises:
        InputError: it is not a whole number.
    """
    if isinstance(start_frame, bool) or not isinstance(start_frame, int | np.integer):
        raise InputError(f"start_frame: expected a whole number, got {start_frame!r}")
    return int(start_frame)
