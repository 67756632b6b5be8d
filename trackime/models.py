"""Checkpoints: where they are on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from trackime.errors import InputError


def locate(name: str, path: str | os.PathLike[str] | None = None) -> Path:
    """A checkpoint's file, or its folder: `path` where one is given, else the checkpoint called `name`.

    Raises:
        InputError: nothing there.
    """
    if path is None:
        raise InputError(f"{name}: expected a weights file: write {name}:PATH")
    file = Path(path).expanduser()
    if not file.exists():
        raise InputError(f"{name}: expected a weights file, found no {file}")
    return file
