"""Fetching a file over HTTP so that it is there whole and right, or not at all.

What was received survives a cut line, Ctrl-C and a killed process as ``NAME.part``, and the next attempt goes on from
there if the server still has the same file. A file gets its name only after it was checked.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import logging
import os
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from trackime.errors import DownloadError, OutputError

log = logging.getLogger(__name__)

Report = Callable[[int, int | None], None]
"""How a download is reported: bytes here, bytes in all where the server says."""

BLOCK = 1 << 20
_RETRIED = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that may be gone in a moment."""


@dataclass(frozen=True)
class Patience:
    """How long a download is tried."""

    attempts: int = 5
    """In a row without receiving a megabyte."""
    wait: float = 1.0
    """Seconds before the second attempt; doubled each time."""
    stall: float = 30.0
    """Seconds of silence after which an attempt is given up."""


class _Again(Exception):
    """This attempt failed in a way that another may not."""


class _Changed(Exception):
    """What is here already is no beginning of the server's file."""


def download(
    url: str,
    target: Path,
    sha256: str | None = None,
    report: Report | None = None,
    patience: Patience = Patience(),
) -> str:
    """Fetch `url` to `target`, which must not exist; its sha256, in lower case.

    Args:
        url: http or https; a redirect from https to http is refused.
        target: parent folders are made. While it grows it is ``NAME.part``, with ``NAME.part.json`` beside it.
        sha256: digest it must have; None: any.
        report: told as bytes come in.
        patience: attempts, waits, limits.

    Raises:
        DownloadError: no answer, an answer that is not the file, the wrong digest.
        OutputError: the folder cannot be written to, the disk is full.
    """
    if urllib.parse.urlsplit(url).scheme.lower() not in ("http", "https"):
        raise DownloadError(f"{url}: expected http or https")
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        pieced = True
        while pieced:  # pieces of two versions explain a wrong digest, once; a file in one piece does not
            pieced = _fetch(url, part, sha256 is not None, report or (lambda done, total: None), patience)
            digest = digest_of(part)
            if sha256 is None or digest == sha256.lower():
                os.replace(part, target)
                _forget(part)
                return digest
            _forget(part)
    except OSError as error:
        raise _unwritable(target, error) from error
    raise DownloadError(f"{url}: expected sha256 {sha256}, got {digest}: deleted")


def digest_of(path: Path) -> str:
    """sha256 of a file, in lower case."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def partial(target: Path) -> int:
    """Bytes of an interrupted download of `target`; 0: none."""
    with suppress(OSError):
        return target.with_name(target.name + ".part").stat().st_size
    return 0


@contextmanager
def locked(path: Path, waiting: str, poll: float = 0.2) -> Iterator[None]:
    """Hold `path` as a lock against other processes; where it is taken, log `waiting` once, and wait."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    except OSError as error:
        raise _unwritable(path, error) from error
    with file:
        said = False
        while not _lock(file):
            if not said:
                log.warning(waiting)
                said = True
            time.sleep(poll)
        yield  # closing the file unlocks it


def _lock(file: IO[bytes]) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # A file system without locks: better unlocked than never.
        return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
    return True


def _fetch(url: str, part: Path, checked: bool, report: Report, patience: Patience) -> bool:
    """Attempts until `part` is whole. Whether it came in more than one piece."""
    opener = urllib.request.build_opener(_Redirects(url))
    failed, reason = 0, ""
    while failed < patience.attempts:
        if failed:
            time.sleep(min(60.0, patience.wait * 2 ** (failed - 1)))
        before = _length(part)
        try:
            return _attempt(opener, url, part, checked, report, patience.stall)
        except _Changed:
            _forget(part)
            failed, reason = failed + 1, "the file on the server changes"
        except _Again as error:
            failed, reason = (1 if _length(part) >= before + BLOCK else failed + 1), str(error)
    kept = f"; {_length(part)} bytes are kept, the next attempt goes on from there" if _length(part) else ""
    raise DownloadError(f"{url}: {reason} ({patience.attempts} attempts){kept}")


def _attempt(opener: Any, url: str, part: Path, checked: bool, report: Report, stall: float) -> bool:
    """One request, from where `part` ends: whether there was a beginning. Raises _Again, _Changed, DownloadError."""
    known = _read_note(part)
    start = _length(part) if known.get("url") == url and (known.get("validator") or checked) else 0
    if start and start == known.get("total"):
        return True
    headers = {"User-Agent": "trackime", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if known.get("validator"):
            headers["If-Range"] = known["validator"]
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=stall) as answer:
            if answer.status == 206:
                total = _check_range(answer, start, known)
            else:  # the server knows no ranges, or the file is another by now
                start, total = 0, _content_length(answer)
            if total is None and not checked and "chunked" not in answer.headers.get("Transfer-Encoding", ""):
                raise DownloadError(f"{url}: the server does not say how long the file is: a cut one would pass")
            _check_kind(answer, url)
            _check_space(part, total, start)
            if start == 0:
                _forget(part)
            _write_note(part, {"url": url, "validator": _validator(answer.headers), "total": total})
            _receive(answer, part, start, total, url, report, stall)
            return start > 0
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing after what is here: it is another, shorter file
            raise _Changed from None
        message = f"the server answers {error.code} {_first_line(error.reason)}"
        if error.code in (301, 302, 303, 307, 308):
            message = "sent on from one address to another too often"
        if error.code in _RETRIED:
            raise _Again(message) from None
        raise DownloadError(f"{url}: {message}") from None
    except (TimeoutError, http.client.HTTPException, urllib.error.URLError, ConnectionError) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise DownloadError(f"{url}: the server's certificate is not trusted: {cause.verify_message}") from None
        raise _broken(cause, stall) from None


def _broken(error: object, stall: float) -> _Again:
    return _Again(f"no byte came for {stall:g} s" if isinstance(error, TimeoutError) else _first_line(error))


def _next(answer: Any, stall: float) -> bytes:
    """The next bytes. Apart from the file's own OSError: what breaks here is the line."""
    try:
        block: bytes = answer.read1(BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _broken(error, stall) from None
    return block


def _receive(answer: Any, part: Path, start: int, total: int | None, url: str, report: Report, stall: float) -> None:
    done = start
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        report(done, total)
        while block := _next(answer, stall):
            if done == 0 and block.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
                raise DownloadError(f"{url}: the server sends a web page, not the file")
            file.write(block)
            done += len(block)
            report(done, total)
        file.flush()
        os.fsync(file.fileno())
    if total is not None and done < total:
        raise _Again(f"the line was cut at {done} of {total} bytes")
    if total is not None and done > total:
        raise _Changed


def _check_range(answer: Any, start: int, known: dict[str, Any]) -> int | None:
    """The length of the whole file, if what comes continues what is here."""
    text = answer.headers.get("Content-Range", "")
    unit, _, rest = text.partition(" ")
    span, _, whole = rest.partition("/")
    total = int(whole) if whole.isdigit() else None
    same = known.get("validator") in (None, _validator(answer.headers)) and known.get("total") in (None, total)
    if unit != "bytes" or span.partition("-")[0] != str(start) or not same:
        raise _Changed
    return total


def _check_kind(answer: Any, url: str) -> None:
    kind = answer.headers.get_content_type()
    if kind in ("text/html", "application/xhtml+xml"):
        raise DownloadError(f"{url}: the server sends a web page, not the file")
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding != "identity" and "gz" not in urllib.parse.urlsplit(url).path:
        raise DownloadError(f"{url}: the server sends it as {encoding}, which was not asked for")


def _check_space(part: Path, total: int | None, start: int) -> None:
    if total is None:
        return
    free = shutil.disk_usage(part.parent).free
    if total - start > free:
        needed = f"{(total - start) / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free"
        raise OutputError(f"cannot write {part}: {needed}")


def _content_length(answer: Any) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _validator(headers: Any) -> str | None:
    """What tells this version of the file from any other: a strong ETag, else the date."""
    tag = headers.get("ETag")
    if tag and not tag.startswith("W/"):
        return str(tag)
    date = headers.get("Last-Modified")
    return str(date) if date else None


def _length(part: Path) -> int:
    with suppress(OSError):
        return part.stat().st_size
    return 0


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_note(part: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        read = json.loads(_note(part).read_text(encoding="utf-8"))
        return read if isinstance(read, dict) else {}
    return {}


def _write_note(part: Path, note: dict[str, Any]) -> None:
    _note(part).write_text(json.dumps(note), encoding="utf-8")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, and none that leaves https."""

    max_redirections = 8

    def __init__(self, url: str) -> None:
        self.secure = url.lower().startswith("https:")

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        scheme = urllib.parse.urlsplit(newurl).scheme.lower()
        if scheme != "https" and (self.secure or scheme != "http"):
            fp.close()
            raise DownloadError(f"{req.full_url}: refused to be sent on to {newurl}: not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _unwritable(path: Path, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"cannot write {path}: the disk is full; what came is kept, the next attempt goes on")
    return OutputError(f"cannot write {path}: {error.strerror or error}")


def _first_line(error: object) -> str:
    if isinstance(error, socket.gaierror):
        return f"no such host, or no network: {error.strerror}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__
