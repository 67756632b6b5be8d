"""Downloads over HTTP by pooch: a file appears under its name when it is complete and has its digest, or not at all."""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from trackime.errors import DownloadError, OutputError
from trackime.files import atomic
from trackime.progress import silent

log = logging.getLogger(__name__)

_BLOCK = 1 << 20
_Report = Callable[[str, int, int], None]
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
"""Statuses worth another attempt."""


@dataclass(frozen=True)
class Patience:
    """How long a download is tried."""

    attempts: int = 5
    wait: float = 1.0
    """Seconds before the second attempt; doubled each time, 60 at most."""
    stall: float = 30.0
    """Seconds without a byte after which an attempt is given up."""


def download(
    url: str,
    target: Path,
    sha256: str | None = None,
    label: str = "",
    report: _Report = silent,
    patience: Patience = Patience(),
) -> str:
    """Fetch `url` to `target`; its sha256, in lower case.

    Args:
        url: http or https; a redirect from https to http is refused.
        target: parent folders are made.
        sha256: digest it must have; None: any.
        label: stage of the report.
        report: called with the bytes received, and the size of the file (or again the bytes received, where the server
            does not state it).
        patience: attempts, waits, limits.

    Raises:
        DownloadError: no answer, an answer that is not the file, the wrong digest.
        OutputError: the folder cannot be written to, the disk is full.
    """
    if urlsplit(url).scheme.lower() not in ("http", "https"):
        raise DownloadError(f"{url}: expected http or https")
    with atomic(target) as temporary:
        for attempt in range(patience.attempts):
            reason = _attempt(url, temporary, sha256 is not None, _Bar(label, report), patience.stall)
            if not reason:
                break
            if attempt + 1 == patience.attempts:
                raise DownloadError(f"{url}: {reason} ({patience.attempts} attempts)")
            time.sleep(min(60.0, patience.wait * 2**attempt))
        with temporary.open("rb") as file:
            if file.read(100).lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
                raise _web_page(url)
        digest = digest_of(temporary)
        if sha256 and digest != sha256.lower():
            raise DownloadError(f"{url}: expected sha256 {sha256}, got {digest}: deleted")
    return digest


def digest_of(path: Path) -> str:
    """sha256 of a file, in lower case."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, waiting: str, poll: float = 0.2) -> Iterator[None]:
    """Hold `path` as a lock against other processes; if it is taken, log `waiting` once, and wait."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, poll_interval=poll)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            log.warning(waiting)
            lock.acquire()
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


class _Bar:
    """A progress bar as pooch wants it, which reports."""

    def __init__(self, label: str, report: _Report) -> None:
        self.total, self._done = 0, 0
        self._label, self._report = label, report

    def update(self, count: int) -> None:
        self._done = min(self._done + count, self.total or self._done + count)
        self._report(self._label, self._done, max(self.total, self._done))

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass


def _attempt(url: str, temporary: Path, checked: bool, bar: _Bar, stall: float) -> str:
    """One request. Empty, or the reason of a failure worth another attempt. Raises DownloadError, OutputError."""
    from pooch import HTTPDownloader
    from requests import exceptions

    length: int | None = None

    def check(response: Any, **_: Any) -> None:
        nonlocal length
        if response.is_redirect:
            _check_redirect(url, urljoin(response.url, response.headers["Location"]))
        elif response.ok:
            length = _check_answer(url, response, checked, temporary.parent)
            bar.total = length or 0
            bar.update(0)

    headers = {"User-Agent": "trackime", "Accept-Encoding": "identity"}
    options = {"headers": headers, "timeout": stall, "hooks": {"response": check}}
    try:
        HTTPDownloader(progressbar=bar, chunk_size=_BLOCK, **options)(url, str(temporary), None)
    except exceptions.HTTPError as error:
        assert error.response is not None
        message = f"the server answers {error.response.status_code} {error.response.reason}"
        if error.response.status_code not in _TRANSIENT:
            raise DownloadError(f"{url}: {message}") from None
        return message
    except exceptions.SSLError as error:
        raise DownloadError(f"{url}: no secure connection: {_cause(error)}") from None
    except exceptions.TooManyRedirects:
        raise DownloadError(f"{url}: too many redirects") from None
    except (exceptions.ConnectionError, exceptions.Timeout, exceptions.ChunkedEncodingError) as error:
        return f"no byte for {stall:g} s" if "timed out" in str(error) else _cause(error)
    except exceptions.RequestException as error:
        raise DownloadError(f"{url}: {_cause(error)}") from None
    received = temporary.stat().st_size
    return "" if length in (None, received) else f"the connection was cut at {received} of {length} bytes"


def _check_redirect(url: str, target: str) -> None:
    if urlsplit(url).scheme.lower() == "https" and urlsplit(target).scheme.lower() != "https":
        raise DownloadError(f"{url}: refused a redirect to {target}: not https")


def _check_answer(url: str, response: Any, checked: bool, folder: Path) -> int | None:
    """The length of the file, where the server states it. Raises DownloadError, OutputError."""
    headers = response.headers
    text = headers.get("Content-Length", "")
    length = int(text) if text.isdigit() else None
    if headers.get("Content-Type", "").partition(";")[0].strip() in ("text/html", "application/xhtml+xml"):
        raise _web_page(url)
    if (encoding := headers.get("Content-Encoding", "identity")) != "identity":
        if "gz" not in urlsplit(url).path:
            raise DownloadError(f"{url}: expected the file itself, the server sends it as {encoding}")
        response.raw.headers.pop("Content-Encoding", None)  # an archive is kept as it is sent
    if length is None and not checked and "chunked" not in headers.get("Transfer-Encoding", ""):
        raise DownloadError(f"{url}: the server does not state the length of the file: a cut would go unnoticed")
    if length and length > (free := shutil.disk_usage(folder).free):
        raise OutputError(f"cannot write {folder}: {length / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free")
    return length


def _web_page(url: str) -> DownloadError:
    return DownloadError(f"{url}: the server sends a web page, not the file")


def _cause(error: BaseException) -> str:
    """One line: the innermost reason of a chain of errors."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())[:200] or type(error).__name__
