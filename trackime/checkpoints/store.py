"""Checkpoints by name: located on this machine, fetched where missing, and checked.

They are in ``$TRACKIME_HOME``, else in ``trackime`` of the user's cache folder (``$XDG_CACHE_HOME``, ``~/.cache``).
A file must have its published digest. Where none is published, the first file is trusted: its digest is recorded
next to it, and the file must keep it. Loading compares size and time of change with the record and reads
the whole file only where they differ; `verify` reads all of it.
"""

from __future__ import annotations

import fnmatch
import json
import logging
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from trackime.checkpoints._download import Patience, digest_of, download, locked
from trackime.checkpoints.catalog import CHECKPOINTS, Checkpoint, RemoteFile
from trackime.errors import DownloadError, FormatError, InputError, OutputError, UnknownNameError
from trackime.files import atomic
from trackime.progress import silent

_log = logging.getLogger(__name__)

Report = Callable[[str, int, int], None]
"""Called with the name of a file, bytes received, and its size (or again the bytes received, where it is unknown)."""

ABSENT, PARTIAL, UNCHECKED, FETCHED, VERIFIED = "absent", "partial", "unchecked", "fetched", "verified"
"""States of a checkpoint. Partial: some of its files are missing; unchecked: put there by hand, or changed since;
fetched: trusted on first use; verified: its digest is the published one."""

_OFFLINE = "TRACKIME_OFFLINE"

_BAD_ARCHIVE = EOFError, ValueError, zlib.error, lzma.LZMAError

_reports: list[Report] = []
"""The last one gets the downloads that have no `progress` of their own."""


def find(name: str) -> Checkpoint:
    """The registry's row of a checkpoint. Raises UnknownNameError."""
    if name not in CHECKPOINTS:
        raise UnknownNameError("checkpoint", name, CHECKPOINTS)
    return CHECKPOINTS[name]


def home() -> Path:
    """The folder of everything that is fetched; it need not exist yet."""
    own = os.environ.get("TRACKIME_HOME")
    if own:
        return Path(own).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache") / "trackime"


def _place(name: str) -> Path:
    """Path of a checkpoint in the cache: its file, or the folder of its files. Raises UnknownNameError."""
    row = find(name)
    return _folder(row) if row.is_folder else _folder(row) / row.files[0].name


def _is_offline() -> bool:
    """Whether ``$TRACKIME_OFFLINE`` forbids downloads."""
    return os.environ.get(_OFFLINE, "").strip().lower() not in ("", "0", "false", "no", "off")


@contextmanager
def offline() -> Iterator[None]:
    """Within the block nothing is downloaded, nor in processes started from it."""
    before = os.environ.get(_OFFLINE)
    os.environ[_OFFLINE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_OFFLINE]
        else:
            os.environ[_OFFLINE] = before


@contextmanager
def reporting(report: Report) -> Iterator[None]:
    """Within the block downloads that are given no `progress` of their own are reported to `report`."""
    _reports.append(report)
    try:
        yield
    finally:
        _reports.remove(report)


def locate(
    name: str,
    path: str | os.PathLike[str] | None = None,
    offline: bool | None = None,
    progress: Report | None = None,
) -> Path:
    """The file of a checkpoint, or the folder of its files: `path` where one is given, else the one called `name`.

    Args:
        name: its name in the registry; any other name needs a `path`.
        path: a file or folder of one's own, used unchecked.
        offline: never download; None: as ``$TRACKIME_OFFLINE`` says.
        progress: called during a download; None: the report of `reporting`, if any.

    Raises:
        InputError: no such file, or no `path` for a name that is not in the registry.
        DownloadError: it is not here, and cannot or must not be fetched.
        FormatError: it is here, but its digest is not the published or the recorded one.
        OutputError: it cannot be written.
    """
    row = CHECKPOINTS.get(name)
    if path is not None:
        return _given(name, Path(path).expanduser(), row)
    if row is None:
        raise InputError(f"{name}: expected a weights file: write {name}:PATH")
    if not all(_is_file(file) for _, file in _files(row)):
        return fetch(name, progress, offline=offline)
    for remote, file in _files(row):
        _check(row, remote, file)
    return _place(name)


def absence(name: str) -> str:
    """One line about a missing checkpoint: how to fetch it, and where to put its files by hand."""
    row = find(name)
    missing = [(remote, file) for remote, file in _files(row) if not _is_file(file)]
    by_hand = ", ".join(f"{f'{r.member} out of ' if r.member else ''}{r.url} as {f}" for r, f in missing or _files(row))
    return f"{name} is not here: run 'trackime-apps models fetch {name}', or put {by_hand}"


def fetch(
    name: str, progress: Report | None = None, patience: Patience | None = None, offline: bool | None = None
) -> Path:
    """Download what is missing of a checkpoint, and check all of it; its file, or the folder of its files.

    Args:
        name: its name in the registry.
        progress: as for `locate`.
        patience: attempts, waits, limits.
        offline: as for `locate`.

    Raises:
        UnknownNameError, DownloadError, FormatError, OutputError: as `locate`.
    """
    row = find(name)
    if (_is_offline() if offline is None else offline) and not all(_is_file(file) for _, file in _files(row)):
        raise DownloadError(f"{absence(name)}; nothing is downloaded now (--offline, ${_OFFLINE})")
    progress = progress or (_reports[-1] if _reports else None)
    with locked(_folder(row) / ".lock", f"{name}: another process is fetching it: waiting"):
        missing = [(remote, file) for remote, file in _files(row) if not _is_file(file)]
        if missing:
            size = f" ({row.size / 1e6:.0f} MB)" if row.size else ""
            # A progress bar shows it already.
            _log.log(logging.INFO if progress else logging.WARNING, "fetching %s%s from %s", name, size, row.source)
            if not row.commercial:
                _log.warning("%s: its licence is %s: not for commercial use", name, row.licence)
        for stale in _folder(row).glob(".*.part*"):  # left by a process that was killed
            stale.unlink(missing_ok=True)
        for remote, file in missing:
            label = f"{name}/{remote.name}" if row.is_folder else name
            _fetch_file(row, remote, file, label, progress, patience or Patience())
        for remote, file in _files(row):
            _check(row, remote, file)
    return _place(name)


def verify(name: str) -> str:
    """Read all of a checkpoint and compare digests: VERIFIED or FETCHED.

    Raises:
        UnknownNameError: no such name.
        InputError: it is not here.
        FormatError: its digest is not the published or the recorded one.
    """
    row = find(name)
    if not all(_is_file(file) for _, file in _files(row)):
        raise InputError(absence(name))
    for remote, file in _files(row):
        _check(row, remote, file, whole=True)
    return state(name)


def state(name: str) -> str:
    """ABSENT, PARTIAL, UNCHECKED, FETCHED or VERIFIED, without reading any weights. Raises UnknownNameError."""
    row = find(name)
    published = True
    for remote, file in _files(row):
        if not _is_file(file):
            return PARTIAL if any(_is_file(other) for _, other in _files(row)) else ABSENT
        record = _record(file)
        expected = _expected(remote, record)
        if not expected or not _untouched(file, record) or record.get("sha256") != expected:
            return UNCHECKED
        published = published and _published(remote, record)
    return VERIFIED if published else FETCHED


def _folder(row: Checkpoint) -> Path:
    return home() / "models" / (row.shares or row.name)


def _files(row: Checkpoint) -> list[tuple[RemoteFile, Path]]:
    return [(remote, _folder(row) / remote.name) for remote in row.files]


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:  # a folder that must not be looked into
        return False


def _given(name: str, path: Path, row: Checkpoint | None) -> Path:
    folder = row is not None and row.is_folder  # what has to be in it is its loader's business
    if not (path.is_file() or (folder and path.is_dir())):
        expected = "a folder of a configuration and weights" if folder else "a weights file"
        raise InputError(f"{name}: expected {expected}, found {'a folder' if path.is_dir() else 'no'} {path}")
    return path


def _fetch_file(
    row: Checkpoint, remote: RemoteFile, file: Path, label: str, progress: Report | None, patience: Patience
) -> None:
    report = progress or silent
    if not remote.member:
        digest = download(remote.url, file, remote.sha256, label, report, patience)
        _write_record(file, digest, remote, published=remote.sha256 is not None)
        return
    archive = file.with_name(file.name + ".tar")
    if not _is_file(archive):
        download(remote.url, archive, remote.sha256, label, report, patience)
    try:
        _extract(archive, remote, file)
    finally:
        archive.unlink(missing_ok=True)
    _write_record(file, digest_of(file), remote, published=remote.sha256 is not None)


def _extract(archive: Path, remote: RemoteFile, file: Path) -> None:
    """Extract one plain file of a tar archive; the archive does not decide where to."""
    try:
        with tarfile.open(archive) as tar:
            assert tar.fileobj is not None
            while _unpacked(tar.fileobj):  # type: ignore[arg-type]
                pass  # only the end of a compressed stream shows whether it is intact
            found = [m for m in tar.getmembers() if m.isfile() and fnmatch.fnmatch(m.name, remote.member)]
            if not found:
                raise DownloadError(f"{remote.url}: expected {remote.member} in the archive, found none")
            source = tar.extractfile(max(found, key=lambda member: member.name))
            assert source is not None  # it is a file
            with source, atomic(file) as temporary, temporary.open("wb") as out:
                while block := _unpacked(source):
                    out.write(block)
    except (tarfile.TarError, *_BAD_ARCHIVE) as error:
        raise DownloadError(f"{remote.url}: expected a tar archive: {' '.join(str(error).split())}") from None


def _unpacked(source: IO[bytes]) -> bytes:
    """The next bytes; errors of the archive, apart from an OSError of the file being written."""
    try:
        return source.read(1 << 20)
    except (OSError, *_BAD_ARCHIVE) as error:
        raise tarfile.ReadError(str(error)) from None


def _check(row: Checkpoint, remote: RemoteFile, file: Path, whole: bool = False) -> None:
    """Compare a file with its digest: the published one, else the recorded one, else this is recorded now.

    Args:
        whole: read all of it even where size and modification time are the recorded ones.

    Raises:
        FormatError: another digest.
    """
    record = _record(file)
    expected = _expected(remote, record)
    if not whole and expected and record.get("sha256") == expected and _untouched(file, record):
        return
    try:
        digest = digest_of(file)
    except OSError as error:
        raise FormatError(f"{file}: {error.strerror or error}") from None
    if expected and digest != expected:
        why = "published" if _published(remote, record) else "first seen"
        raise FormatError(
            f"{row.name}: {file} is not the file that was {why}: expected sha256 {expected}, got {digest};"
            f" delete it and run 'trackime-apps models fetch {row.name}'"
        )
    _write_record(file, digest, remote, _published(remote, record))


def _expected(remote: RemoteFile, record: dict[str, Any]) -> str | None:
    own = record.get("sha256")
    # The digest of an archive is not that of the extracted file.
    return remote.sha256 if remote.sha256 and not remote.member else own if isinstance(own, str) else None


def _published(remote: RemoteFile, record: dict[str, Any]) -> bool:
    return bool(record.get("published")) if remote.member else remote.sha256 is not None


def _untouched(file: Path, record: dict[str, Any]) -> bool:
    found = file.stat()
    return (record.get("size"), record.get("mtime_ns")) == (found.st_size, found.st_mtime_ns)


def _record_path(file: Path) -> Path:
    return file.with_name(file.name + ".record.json")


def _record(file: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        read = json.loads(_record_path(file).read_text(encoding="utf-8"))
        return read if isinstance(read, dict) else {}
    return {}


def _write_record(file: Path, digest: str, remote: RemoteFile, published: bool) -> None:
    found = file.stat()
    record = {"sha256": digest, "size": found.st_size, "mtime_ns": found.st_mtime_ns, "published": published,
              "url": remote.url}  # fmt: skip
    # A shared cache may be read-only: then every load reads the whole file.
    with suppress(OutputError), atomic(_record_path(file)) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
