"""Downloads from a server that cuts, corrupts, redirects, stalls and changes the file."""

from __future__ import annotations

import errno
import hashlib
import shutil
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.server import BODY, Server, fetch_file, hold, redirect, running, serve, slow, started, status
from trackime.checkpoints._download import Patience, _Bar, _check_redirect, digest_of, download, locked
from trackime.errors import DownloadError, OutputError

SHA = hashlib.sha256(BODY).hexdigest()
FAST = Patience(attempts=3, wait=0.001, stall=0.3)


@pytest.fixture
def server():
    with running() as server:
        yield server


def get(server: Server, target: Path, sha256: str | None = SHA, **more) -> str:
    return download(server.url(), target, sha256, patience=FAST, **more)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_whole_and_nothing_else_is_left(server, tmp_path):
    told = []
    report = lambda *state: told.append(state)  # noqa: E731
    assert get(server, tmp_path / "a" / "m.pt", label="m", report=report) == SHA
    assert (tmp_path / "a" / "m.pt").read_bytes() == BODY and left(tmp_path / "a") == ["m.pt"]
    assert told[0] == ("m", 0, len(BODY)) and told[-1] == ("m", len(BODY), len(BODY)) and told == sorted(told)


def test_an_empty_file(server, tmp_path):
    server.answers = [serve(b"")]
    assert get(server, tmp_path / "m.pt", None) == hashlib.sha256(b"").hexdigest()


def test_a_cut_connection_is_tried_again(server, tmp_path):
    server.answers = [serve(cut=50_000), serve(cut=60_000), serve()]
    get(server, tmp_path / "m.pt", None)
    assert (tmp_path / "m.pt").read_bytes() == BODY and len(server.seen) == 3 and left(tmp_path) == ["m.pt"]


def test_a_connection_that_is_always_cut(server, tmp_path):
    server.answers = [serve(cut=1000)]
    with pytest.raises(DownloadError, match=r"\(3 attempts\)") as caught:
        get(server, tmp_path / "m.pt", None)
    assert "\n" not in str(caught.value) and left(tmp_path) == []


def test_a_cut_chunked_answer_is_noticed(server, tmp_path):
    def cut(request):
        request.protocol_version = "HTTP/1.1"
        request.head(200, None, Transfer_Encoding="chunked")
        request.wfile.write(b"10\r\n" + BODY[:16] + b"\r\n")

    server.answers = [cut, serve()]
    assert get(server, tmp_path / "m.pt", None) == SHA


def test_a_wrong_digest_leaves_nothing(server, tmp_path):
    server.answers = [serve(BODY[:-1] + b"!")]
    with pytest.raises(DownloadError, match=f"expected sha256 {SHA}, got"):
        get(server, tmp_path / "m.pt")
    assert left(tmp_path) == [] and len(server.seen) == 1


def test_a_stalled_connection_is_given_up_and_tried_again(server, tmp_path):
    server.answers = [serve(stall=70_000), serve()]
    assert get(server, tmp_path / "m.pt") == SHA and len(server.seen) == 2


def test_a_server_that_only_stalls(server, tmp_path):
    server.answers = [serve(stall=0)]
    with pytest.raises(DownloadError, match=r"no byte for 0.3 s \(3 attempts\)"):
        get(server, tmp_path / "m.pt")


@pytest.mark.parametrize("code", [500, 503, 429])
def test_trouble_that_passes(server, tmp_path, code):
    server.answers = [status(code), status(code), serve()]
    assert get(server, tmp_path / "m.pt") == SHA


def test_trouble_that_does_not_pass_is_one_line(server, tmp_path):
    server.answers = [serve(cut=1000), status(500)]
    with pytest.raises(DownloadError) as caught:
        get(server, tmp_path / "m.pt")
    message = str(caught.value)
    assert "answers 500" in message and "\n" not in message
    assert left(tmp_path) == [] and len(server.seen) == 3


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_refusal_is_not_tried_again(server, tmp_path, code):
    server.answers = [status(code)]
    with pytest.raises(DownloadError, match=f"{server.url()}: the server answers {code}"):
        get(server, tmp_path / "m.pt")
    assert len(server.seen) == 1 and left(tmp_path) == []


def test_a_redirect_is_followed(server, tmp_path):
    server.answers = [redirect(server.url("elsewhere")), serve()]
    assert get(server, tmp_path / "m.pt") == SHA
    assert server.seen == ["/model.pt", "/elsewhere"]


def test_a_circle_of_redirects(server, tmp_path):
    server.answers = [redirect(server.url())]
    with pytest.raises(DownloadError, match="too many redirects") as caught:
        get(server, tmp_path / "m.pt")
    assert "\n" not in str(caught.value) and len(server.seen) < 40


@pytest.mark.parametrize("to", ["ftp://127.0.0.1/x", "file:///etc/hostname"])
def test_a_redirect_to_another_scheme_is_refused(server, tmp_path, to):
    server.answers = [redirect(to)]
    with pytest.raises(DownloadError):
        get(server, tmp_path / "m.pt")
    assert left(tmp_path) == []


def test_https_is_not_left():
    with pytest.raises(DownloadError, match="refused a redirect to http://a/y: not https"):
        _check_redirect("https://a/x", "http://a/y")
    _check_redirect("https://a/x", "https://b/y")


@pytest.mark.parametrize("answer", [
    serve(b"<html>sign in</html>", kind="text/html; charset=utf-8"),
    serve(b"\n<!DOCTYPE html><title>x</title>", kind="application/octet-stream"),
])  # fmt: skip
@pytest.mark.parametrize("sha256", [None, SHA])
def test_a_web_page_is_not_the_file(server, tmp_path, answer, sha256):
    server.answers = [answer]
    with pytest.raises(DownloadError, match="a web page"):
        get(server, tmp_path / "m.pt", sha256)
    assert len(server.seen) == 1 and not (tmp_path / "m.pt").exists()


def test_a_length_that_is_not_stated(server, tmp_path):
    server.answers = [serve(length=False)]
    with pytest.raises(DownloadError, match="does not state the length"):
        get(server, tmp_path / "m.pt", None)
    assert get(server, tmp_path / "m.pt") == SHA  # the digest does


def test_an_encoding_that_was_not_asked_for(server, tmp_path):
    server.answers = [lambda request: request.head(200, 3, Content_Encoding="gzip")]
    with pytest.raises(DownloadError, match="as gzip"):
        get(server, tmp_path / "m.pt")


def test_nobody_there(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DownloadError, match=r"[Rr]efused.*3 attempts"):
        download(f"http://127.0.0.1:{port}/x", tmp_path / "m.pt", patience=FAST)
    assert left(tmp_path) == []


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://a/b", "model.pt", ""])
def test_only_http(tmp_path, url):
    with pytest.raises(DownloadError, match="expected http"):
        download(url, tmp_path / "m.pt")


def test_a_full_disk_is_seen_before_it_is_full(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(OutputError, match="0 MB are needed"):
        get(server, tmp_path / "m.pt")


def test_a_disk_that_fills_up_leaves_nothing(server, tmp_path, monkeypatch):
    def full(self, count):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_Bar, "update", full)
    with pytest.raises(OutputError, match=r"cannot write .*No space left"):
        get(server, tmp_path / "m.pt")
    assert left(tmp_path) == []


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        get(server, tmp_path / "file" / "m.pt")


def test_an_interrupted_download_leaves_nothing(server, tmp_path):
    def stop(label, done, total):
        if done > 20_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(server, tmp_path / "m.pt", None, report=stop)
    assert left(tmp_path) == []


def until(seen) -> None:
    end = time.monotonic() + 20
    while not seen() and time.monotonic() < end:
        time.sleep(0.005)
    assert seen()


def test_a_lock_is_waited_for(tmp_path, caplog):
    held = tmp_path / "held"
    other = started(hold, tmp_path / "lock", held)
    until(held.exists)
    threading.Timer(0.1, held.unlink).start()
    start = time.perf_counter()
    with locked(tmp_path / "lock", "somebody else is at it", poll=0.01):
        waited = time.perf_counter() - start
    other.join()
    assert waited > 0.05 and [r.message for r in caplog.records] == ["somebody else is at it"]


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_server_does_the_file_is_one_of_its_versions(server, tmp_path, seed):
    """Cuts, errors and changes in any order, several runs: a whole version, or an error."""
    rng = np.random.default_rng(seed)
    versions = [BODY[:90_000], BODY[50_000:150_000], BODY[90_000:180_000]]  # two of one length

    def answer(request):
        version = int(rng.integers(3))
        server.answers.append(answer)
        if rng.random() < 0.2:
            status(int(rng.choice([500, 503])))(request)
            return
        serve(versions[version], cut=int(rng.integers(120_000)) if rng.random() < 0.7 else None)(request)

    server.answers = [answer]
    wanted = hashlib.sha256(versions[0]).hexdigest() if seed % 2 else None
    patience = Patience(attempts=4, wait=0, stall=1)
    for _ in range(20):
        try:
            digest = download(server.url(), tmp_path / "m.pt", wanted, patience=patience)
        except DownloadError:
            assert not (tmp_path / "m.pt").exists()
            continue
        assert (tmp_path / "m.pt").read_bytes() in versions and wanted in (None, digest)
        assert left(tmp_path) == ["m.pt"]
        (tmp_path / "m.pt").unlink()


def test_a_killed_download_has_no_file(server, tmp_path):
    server.answers = [slow(pieces=100)]
    other = started(fetch_file, server.url(), tmp_path / "m.pt")
    until(lambda: any(tmp_path.iterdir()))
    other.kill()
    other.join()
    assert not (tmp_path / "m.pt").exists()


def test_digest(tmp_path):
    (tmp_path / "a").write_bytes(BODY)
    assert digest_of(tmp_path / "a") == SHA
