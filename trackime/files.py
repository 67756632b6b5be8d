"""Atomic output: a file that exists is complete.

Everything is written to a temporary name in the target's own folder and renamed when it is complete, so that
an interrupted run leaves either the old file or none. Files are parsed inside `reading`, so that a
broken one gives one line and never a traceback.
"""

from __future__ import annotations

import os
import secrets
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from trackime.errors import FormatError, OutputError, TrackimeError

# Errors of parsers on foreign bytes. RuntimeError: an encrypted zip, an unknown compression, nesting
# too deep; MemoryError: an array header with too large a shape; SyntaxError: an npy header of garbage.
_UNREADABLE = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, EOFError, ArithmeticError, SyntaxError),
    *(RuntimeError, MemoryError, struct.error, zipfile.BadZipFile, zlib.error),
)


def _temporary(target: Path) -> Path:
    # The suffix stays last: writers choose their container or codec by it.
    return target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}")


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path to write to; renamed to `path` when the block succeeds, removed when it fails.

    The block may create a file or a folder there. Missing parent folders are made.

    Raises:
        OutputError: the folder cannot be made or written to, the disk is full, nothing was written.
    """
    target = Path(path)
    if not target.name or target.name == "..":
        raise OutputError(f"cannot write {os.fspath(path)!r}: expected the name of a file or folder")
    temporary = _temporary(target)
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if not temporary.exists():
                raise OutputError(f"{target}: nothing was written")
            if target.is_dir() and not target.is_symlink() and temporary.is_dir():
                swap_folder(temporary, target, _temporary(target))
            else:
                os.replace(temporary, target)
        except OSError as error:
            raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            # A failure to clean up must not hide the error that is being raised.
            with suppress(OSError):
                temporary.unlink()


def swap_folder(made: Path, target: Path, aside: Path) -> None:
    """Replace the folder `target` by `made`; the old one is at `aside` (same file system) until it is removed."""
    # rename() does not replace a folder that has files in it: move the old one aside first.
    os.replace(target, aside)
    try:
        os.replace(made, target)
    except OSError:
        os.replace(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def reading(path: str | os.PathLike[str], expected: str) -> Iterator[None]:
    """Turn every error of parsing `path` in the block into a FormatError of one line.

    Args:
        path: the file, for the message.
        expected: the expected content, e.g. ``"a csv of tracks"``.

    Raises:
        FormatError: the block raised an error of trackime, or one that unreadable bytes cause.
    """
    name = os.fspath(path)
    try:
        yield
    except FileNotFoundError:
        raise FormatError(f"{name}: no such file") from None
    except TrackimeError as error:
        raise FormatError(f"{error}" if name in str(error) else f"{name}: {error}") from None
    except _UNREADABLE as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or type(error).__name__
        raise FormatError(f"{name}: expected {expected}, got: {reason}") from None


def read_npz(
    path: str | os.PathLike[str], required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Arrays of an npz by name; others in it are not touched, and pickled objects never are. Use inside `reading`.

    Raises:
        FormatError: not an npz, or a required array is not in it.
    """
    name = os.fspath(path)
    # Opened here: given a name, numpy leaves the file open where it turns out not to be a zip.
    with open(name, "rb") as handle:
        file = np.load(handle, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise FormatError(f"{name}: expected an npz, got a single array")
        with file:
            missing = [key for key in required if key not in file]
            if missing:
                raise FormatError(f"{name}: expected arrays {', '.join(required)}; missing {', '.join(missing)}")
            return {key: file[key] for key in (*required, *(k for k in optional if k in file))}
