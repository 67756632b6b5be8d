"""Checkpoints: where they are on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from trackime.errors import InputError


def locate(name: str, path: str | os.PathLike[str] | None = None) -> Path:
    """The file of a checkpoint: `path` where one is given, else the checkpoint called `name`.

    Raises:
        InputError: no such file.
    """
    if path is None:
        raise InputError(f"{name}: expected a weights file: write {name}:PATH")
    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"{name}: expected a weights file, found {'a folder' if file.is_dir() else 'no'} {file}")
    return file
