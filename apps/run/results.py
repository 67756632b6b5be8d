"""The folder of a result: written elsewhere first, complete when it appears, resumable after an interruption.

A result for OUT is made in ``.OUT.partial/`` beside it: ``result/`` becomes OUT by a rename once it is complete,
``checkpoint/`` holds finished stages that ``--resume`` goes on from. An interrupted run leaves nothing, but for the
checkpoint when it ran with ``--resume`` or was killed outright.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackime.errors import InputError, OutputError
from trackime.files import swap_folder

from .progress import Progress
from .toml import to_toml

if TYPE_CHECKING:
    from trackime.video import Video

_RESULT = "result.json"
_HASHED_BYTES = 1 << 26
"""Inputs up to this size are known by their content, larger ones by size and time of change."""


def _versions() -> dict[str, str]:
    """Versions of what results depend on; a package that is missing is left out."""
    found = {"python": sys.version.split()[0]}
    for name in ("trackime", "torch", "numpy", "opencv-python-headless", "av", "scipy", "scikit-image"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _identity(path: str | os.PathLike[str]) -> str:
    """What an input file or folder is: a hash of its content, or of sizes and times where it is large.

    An input that is missing has an identity, too: the error is raised where it is read.
    """
    source = Path(path)
    if source.is_dir():
        entries = sorted((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in source.iterdir() if p.is_file())
        return hashlib.sha256(json.dumps(entries).encode()).hexdigest()
    try:
        stat = source.stat()
        if stat.st_size > _HASHED_BYTES:
            return f"{stat.st_size} bytes of {stat.st_mtime_ns}"
        return hashlib.sha256(source.read_bytes()).hexdigest()
    except OSError:
        return "missing"


@dataclass
class ResultFolder:
    """A result under way.

    Attributes:
        folder: where to write its files.
        checkpoint: a folder for stages that are finished; files in it must appear whole.
        arguments: what was typed, for result.json.
        record: what result.json will hold, beside what every result has.
        beside: files that belong to the result though they lie outside of its folder: where they were made, in the
            folder's own parent, to where they go with it.
    """

    folder: Path
    checkpoint: Path
    arguments: Sequence[str] = ()
    record: dict[str, Any] = field(default_factory=dict)
    beside: dict[Path, Path] = field(default_factory=dict)

    def part(self, name: str) -> ResultFolder:
        """A result within this one, in a folder called `name`; `seal` it when it is complete."""
        part = ResultFolder(self.folder / name, self.checkpoint / name, self.arguments)
        part.folder.mkdir()
        part.checkpoint.mkdir(exist_ok=True)
        return part


@contextmanager
def result_folder(
    output: Path,
    command: str,
    settings: Mapping[str, Any],
    inputs: Sequence[str | os.PathLike[str]] = (),
    overwrite: bool = False,
    resume: bool = False,
    arguments: Sequence[str] = (),
) -> Iterator[ResultFolder | None]:
    """A folder to write a result to, which becomes `output` when the block ends well.

    Args:
        output: the result's folder.
        command: name of the command that makes it.
        settings: its resolved settings, saved as config.toml.
        inputs: files and folders it is made from.
        overwrite: replace what is there. Files that no result put there are kept.
        resume: keep and use checkpoints; yields None where `output` is already this result, finished.
        arguments: what was typed, saved in result.json.

    Raises:
        InputError: both flags.
        OutputError: `output` is there already and neither flag allows it, or was made with other settings, or
            another run is writing it, or it cannot be written.
    """
    if overwrite and resume:
        raise InputError("--overwrite and --resume exclude each other: expected one of them")
    output = output.resolve()
    if not output.name:
        raise OutputError(f"cannot write {output}: expected a folder below it")
    work = output.with_name(f".{output.name}.partial")
    key = _key(command, settings, inputs)
    _recover(output, work)
    if _finished(output, key, overwrite, resume):
        yield None
        return
    missing = [folder for folder in output.parents if not folder.exists()]  # the innermost first
    result = ResultFolder(work / "result", work / "checkpoint", arguments)
    try:
        with _locked(output, work):
            yield from _write(output, work, result, key, command, settings, resume)
    except OSError as error:
        if _is_below(error, work):
            raise _unwritable(output, error) from error
        raise
    finally:
        for folder in missing:
            with suppress(OSError):  # what holds a result or a checkpoint stays
                folder.rmdir()


def _write(
    output: Path,
    work: Path,
    result: ResultFolder,
    key: str,
    command: str,
    settings: Mapping[str, Any],
    resume: bool,
) -> Iterator[ResultFolder]:
    """The part of `result_folder` that runs under the lock."""
    keep = False
    try:
        with _bookkeeping(output):
            _prepare(result, key, resume)
        yield result
        with _bookkeeping(output):
            seal(result, command, settings, key)
            # They go first: where the folder is, everything is.
            for made, target in result.beside.items():
                os.replace(made, target)
            _publish(result.folder, output, work / "old")
    except BaseException:
        keep = resume and any(result.checkpoint.iterdir())
        raise
    finally:
        if keep:
            shutil.rmtree(result.folder, ignore_errors=True)
            for made in result.beside:
                made.unlink(missing_ok=True)
        else:
            shutil.rmtree(work, ignore_errors=True)


def _unwritable(output: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {output}: {error.strerror or error}")


@contextmanager
def _bookkeeping(output: Path) -> Iterator[None]:
    """Work on the folders themselves: an OSError in it means that `output` cannot be written."""
    try:
        yield
    except OSError as error:
        raise _unwritable(output, error) from error


def _is_below(error: OSError, folder: Path) -> bool:
    """Whether the file that an error names lies in `folder`."""
    names = [name for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return any(Path(os.fsdecode(name)).absolute().is_relative_to(folder) for name in names)


def seal(result: ResultFolder, command: str, settings: Mapping[str, Any], key: str = "") -> None:
    """Write config.toml and result.json: the last files of a result."""
    (result.folder / "config.toml").write_text(to_toml(settings), encoding="utf-8")
    record = {
        "command": command,
        "arguments": list(result.arguments),
        "key": key,
        **result.record,
        "versions": _versions(),
        "files": sorted([*(p.name for p in result.folder.iterdir()), _RESULT]),
    }
    (result.folder / _RESULT).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _key(command: str, settings: Mapping[str, Any], inputs: Sequence[str | os.PathLike[str]]) -> str:
    """A hash of all that decides a result: command, settings, inputs, version."""
    parts = [command, to_toml(settings), _versions().get("trackime", ""), *(_identity(path) for path in inputs)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _finished(output: Path, key: str, overwrite: bool, resume: bool) -> bool:
    """Whether `output` is this very result; raises where it may not be touched."""
    if not output.exists():
        return False
    if not output.is_dir():
        raise OutputError(f"{output} is a file: expected a folder or a new name")
    record = read_record(output)
    if overwrite or not any(output.iterdir()):
        return False
    if not resume:
        raise OutputError(f"{output} is not empty: pass --overwrite to replace it or --resume to finish it")
    if record is not None and record.get("key") != key:
        raise OutputError(f"{output} was made from other input or settings: pass --overwrite to replace it")
    return record is not None


def read_record(folder: Path) -> dict[str, Any] | None:
    """The result.json of a folder, None where it has none or it is not one."""
    try:
        record = json.loads((folder / _RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


@contextmanager
def _locked(output: Path, work: Path) -> Iterator[None]:
    """Hold the lock of `work`, which is made, and which the system releases however the process ends."""
    from filelock import FileLock, Timeout

    held = FileLock(work / "lock")
    with _bookkeeping(output):
        (work / "checkpoint").mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(timeout=0)
        except Timeout:
            raise OutputError(f"another run is writing {output}: wait for it, or choose another name") from None
    try:
        yield
    finally:
        held.release()


def _prepare(result: ResultFolder, key: str, resume: bool) -> None:
    """Empty folders, but for a checkpoint of this very result when resuming."""
    shutil.rmtree(result.folder, ignore_errors=True)
    result.folder.mkdir()
    stamp = result.checkpoint / "key"
    if not (resume and stamp.exists() and stamp.read_text() == key):
        shutil.rmtree(result.checkpoint, ignore_errors=True)
        result.checkpoint.mkdir()
        stamp.write_text(key)


def _publish(folder: Path, output: Path, aside: Path) -> None:
    """Make `folder` the result: the whole folder in one rename, unless files of the user's lie in `output`.

    Where it broke off, calling it again completes it.
    """
    if not output.exists():
        os.replace(folder, output)
        return
    record = read_record(output) or read_record(aside) or {}
    owned, present = set(record.get("files", ())), {entry.name for entry in output.iterdir()}
    if present <= owned and not aside.exists():
        swap_folder(folder, output, aside)
        return
    # result.json goes first and comes last: while it is there the result is whole.
    aside.mkdir(exist_ok=True)
    left = {entry.name for entry in folder.iterdir()}
    published = set((read_record(folder) or {}).get("files", ())) - left
    try:
        for name in sorted(((owned | left) & present) - published, key=lambda n: n != _RESULT):
            os.replace(output / name, aside / name)
        for name in sorted(left, key=lambda n: n == _RESULT):
            os.replace(folder / name, output / name)
    except OSError:
        for entry in aside.iterdir():
            if not (output / entry.name).exists():
                os.replace(entry, output / entry.name)
        raise


def _recover(output: Path, work: Path) -> None:
    """Complete what a killed process left half published, and remove the result it replaced."""
    aside, made = work / "old", work / "result"
    if not aside.exists():
        return
    with _locked(output, work), _bookkeeping(output):
        if read_record(made) is not None:  # not all of it was published
            _publish(made, output, aside)
        elif not output.exists():
            os.replace(aside, output)
        shutil.rmtree(work, ignore_errors=True)


def describe(result: ResultFolder, video: Video, device: str, progress: Progress) -> None:
    """Write frames.csv, and record video, device and seconds of each stage for result.json."""
    from trackime.video import write_frames

    info = video.info
    write_frames(result.folder / "frames.csv", info)
    about = {"source": info.source, "width": info.width, "height": info.height, "frames": info.frames, "fps": info.fps}
    result.record.update(video=about, device=device, seconds=progress.seconds)
    if video.warnings:
        result.record["warnings"] = list(video.warnings)
