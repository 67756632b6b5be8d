"""Atomic output: a file that exists is whole.

Everything is written to a temporary name in the target's own folder and renamed when it is complete, so that
an interrupted run leaves either the old file or none.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trackime.errors import OutputError


def _temporary(target: Path) -> Path:
    # The suffix stays last: writers choose their container or codec by it.
    return target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}")


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path to write to; renamed to `path` when the block ends well, removed when it does not.

    The block may create a file or a folder there. Missing parent folders are made.

    Raises:
        OutputError: the folder cannot be made or written to, the disk is full, nothing was written.
    """
    target = Path(path)
    temporary = _temporary(target)
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if not temporary.exists():
                raise OutputError(f"{target}: nothing was written")
            if target.is_dir() and not target.is_symlink() and temporary.is_dir():
                _swap_folder(temporary, target)
            else:
                os.replace(temporary, target)
        except OSError as error:
            raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _swap_folder(temporary: Path, target: Path) -> None:
    # rename() does not replace a folder that has files in it: move the old one aside first.
    aside = _temporary(target)
    os.replace(target, aside)
    os.replace(temporary, target)
    shutil.rmtree(aside, ignore_errors=True)
