"""Downloads from a server that cuts, corrupts, redirects, stalls, ignores ranges and changes the file."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.server import BODY, Server, fetch_file, hold, redirect, running, serve, slow, started, status
from trackime.checkpoints._download import Patience, digest_of, download, locked, partial
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


def begin(server: Server, target: Path, body: bytes = BODY, tag: str | None = '"v1"', sha256: str | None = SHA) -> None:
    """Leave an interrupted download."""
    server.answers = [serve(body, cut=1000, tag=tag), status(404)]
    with pytest.raises(DownloadError):
        get(server, target, sha256)
    server.answers, server.seen[:] = [serve()], []
    assert partial(target) == 1000


def test_a_file_is_whole_and_nothing_else_is_left(server, tmp_path):
    told = []
    assert get(server, tmp_path / "a" / "m.pt", report=lambda *state: told.append(state)) == SHA
    assert (tmp_path / "a" / "m.pt").read_bytes() == BODY and left(tmp_path / "a") == ["m.pt"]
    assert told[0] == (0, len(BODY)) and told[-1] == (len(BODY), len(BODY)) and told == sorted(told)


def test_an_empty_file(server, tmp_path):
    server.answers = [serve(b"")]
    assert get(server, tmp_path / "m.pt", None) == hashlib.sha256(b"").hexdigest()


def test_a_cut_line_is_taken_up_where_it_was_cut(server, tmp_path):
    server.answers = [serve(cut=50_000), serve(cut=60_000), serve()]
    get(server, tmp_path / "m.pt", None)
    assert (tmp_path / "m.pt").read_bytes() == BODY
    assert [seen[1:] for seen in server.seen] == [(None, None), ("bytes=50000-", '"v1"'), ("bytes=110000-", '"v1"')]


def test_a_cut_chunked_answer_is_noticed(server, tmp_path):
    def cut(request):
        request.protocol_version = "HTTP/1.1"
        request.head(200, None, Transfer_Encoding="chunked")
        request.wfile.write(b"10\r\n" + BODY[:16] + b"\r\n")

    server.answers = [cut, serve()]
    assert get(server, tmp_path / "m.pt", None) == SHA


def test_the_next_run_goes_on(server, tmp_path):
    begin(server, tmp_path / "m.pt")
    assert get(server, tmp_path / "m.pt") == SHA
    assert server.seen == [("/model.pt", "bytes=1000-", '"v1"')]


def test_a_complete_part_needs_no_request(server, tmp_path):
    (tmp_path / "m.pt.part").write_bytes(BODY)
    note = {"url": server.url(), "validator": '"v1"', "total": len(BODY)}
    (tmp_path / "m.pt.part.json").write_text(json.dumps(note))
    assert get(server, tmp_path / "m.pt") == SHA and not server.seen


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"url": "http://elsewhere/", "validator": "x"}'])
def test_a_part_of_unknown_origin_is_not_continued(server, tmp_path, note):
    (tmp_path / "m.pt.part").write_bytes(b"x" * 77)
    (tmp_path / "m.pt.part.json").write_text(note)
    assert get(server, tmp_path / "m.pt") == SHA and server.seen[0][1] is None


@pytest.mark.parametrize("trusting", [False, True])
@pytest.mark.parametrize("sha256", [None, SHA])
def test_a_file_that_changed_is_fetched_afresh(server, tmp_path, trusting, sha256):
    begin(server, tmp_path / "m.pt", body=b"y" * 300_000, tag='"v0"', sha256=sha256)
    server.answers = [serve(trusting=trusting)]
    assert get(server, tmp_path / "m.pt", sha256) == SHA


def test_a_file_that_became_shorter(server, tmp_path):
    begin(server, tmp_path / "m.pt")
    short = BODY[:500]
    server.answers = [serve(short, trusting=True)]
    assert get(server, tmp_path / "m.pt", hashlib.sha256(short).hexdigest()) == hashlib.sha256(short).hexdigest()


def test_pieces_of_two_versions_that_nothing_tells_apart_are_told_by_the_digest(server, tmp_path):
    begin(server, tmp_path / "m.pt", body=b"y" * len(BODY), tag=None)
    server.answers = [serve(tag=None)]
    assert get(server, tmp_path / "m.pt") == SHA
    assert [seen[1] for seen in server.seen] == ["bytes=1000-", None]


def test_without_a_digest_or_a_tag_nothing_is_pieced_together(server, tmp_path):
    begin(server, tmp_path / "m.pt", tag=None, sha256=None)
    assert get(server, tmp_path / "m.pt", None) == SHA and server.seen[0][1] is None


def test_a_server_without_ranges(server, tmp_path):
    server.answers = [serve(cut=5000, ranges=False), serve(ranges=False)]
    assert get(server, tmp_path / "m.pt") == SHA


def test_a_wrong_digest_leaves_nothing(server, tmp_path):
    server.answers = [serve(BODY[:-1] + b"!")]
    with pytest.raises(DownloadError, match=f"expected sha256 {SHA}, got"):
        get(server, tmp_path / "m.pt")
    assert left(tmp_path) == [] and len(server.seen) == 1


def test_a_stalled_line_is_given_up_and_taken_up_again(server, tmp_path):
    server.answers = [serve(stall=70_000), serve()]
    assert get(server, tmp_path / "m.pt") == SHA and server.seen[1][1] == "bytes=70000-"


def test_a_server_that_only_stalls(server, tmp_path):
    server.answers = [serve(stall=0)]
    with pytest.raises(DownloadError, match=r"no byte came for 0.3 s \(3 attempts\)"):
        get(server, tmp_path / "m.pt")


@pytest.mark.parametrize("code", [500, 503, 429])
def test_trouble_that_passes(server, tmp_path, code):
    server.answers = [status(code), status(code), serve()]
    assert get(server, tmp_path / "m.pt") == SHA


def test_trouble_that_does_not_pass_is_one_line_and_keeps_what_came(server, tmp_path):
    server.answers = [serve(cut=1000), status(500)]
    with pytest.raises(DownloadError) as caught:
        get(server, tmp_path / "m.pt")
    message = str(caught.value)
    assert "answers 500" in message and "1000 bytes are kept" in message and "\n" not in message
    assert left(tmp_path) == ["m.pt.part", "m.pt.part.json"] and len(server.seen) == 3


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_refusal_is_not_tried_again(server, tmp_path, code):
    server.answers = [status(code)]
    with pytest.raises(DownloadError, match=f"{server.url()}: the server answers {code}"):
        get(server, tmp_path / "m.pt")
    assert len(server.seen) == 1 and left(tmp_path) == []


def test_a_redirect_is_followed_and_keeps_the_range(server, tmp_path):
    begin(server, tmp_path / "m.pt")
    server.answers = [redirect(server.url("elsewhere")), serve()]
    assert get(server, tmp_path / "m.pt") == SHA
    assert server.seen[1] == ("/elsewhere", "bytes=1000-", '"v1"')


def test_a_circle_of_redirects(server, tmp_path):
    server.answers = [redirect(server.url())]
    with pytest.raises(DownloadError, match="too often") as caught:
        get(server, tmp_path / "m.pt")
    assert "\n" not in str(caught.value) and len(server.seen) < 15


@pytest.mark.parametrize("to", ["ftp://127.0.0.1/x", "file:///etc/hostname"])
def test_a_redirect_to_another_scheme_is_refused(server, tmp_path, to):
    server.answers = [redirect(to)]
    with pytest.raises(DownloadError):
        get(server, tmp_path / "m.pt")
    assert left(tmp_path) == []


def test_https_is_not_left(server):
    from trackime.checkpoints._download import _Redirects

    ask = SimpleNamespace(full_url="https://a/x", get_method=lambda: "GET", headers={}, origin_req_host="a", data=None)
    with pytest.raises(DownloadError, match="refused to be sent on to http://a/y: not https"):
        _Redirects("https://a/x").redirect_request(ask, io.BytesIO(), 302, "", {}, "http://a/y")
    assert _Redirects("https://a/x").redirect_request(ask, None, 302, "", {}, "https://b/y").full_url == "https://b/y"


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


def test_a_web_page_does_not_spoil_what_came(server, tmp_path):
    begin(server, tmp_path / "m.pt")
    server.answers = [serve(b"<html>", kind="text/html", tag=None)]
    with pytest.raises(DownloadError):
        get(server, tmp_path / "m.pt")
    assert partial(tmp_path / "m.pt") == 1000


def test_a_length_that_is_not_told(server, tmp_path):
    server.answers = [serve(length=False)]
    with pytest.raises(DownloadError, match="does not say how long"):
        get(server, tmp_path / "m.pt", None)
    assert get(server, tmp_path / "m.pt") == SHA  # the digest tells


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


def test_a_disk_that_fills_up_keeps_what_came(server, tmp_path, monkeypatch):
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="the disk is full"):
        get(server, tmp_path / "m.pt")
    monkeypatch.setattr(os, "fsync", real)
    assert calls and partial(tmp_path / "m.pt") == len(BODY)
    assert get(server, tmp_path / "m.pt") == SHA


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        get(server, tmp_path / "file" / "m.pt")


def test_interrupted_it_can_be_resumed(server, tmp_path):
    def stop(done, total):
        if done > 20_000:
            raise KeyboardInterrupt

    server.answers = [slow()]
    with pytest.raises(KeyboardInterrupt):
        get(server, tmp_path / "m.pt", None, report=stop)
    kept = partial(tmp_path / "m.pt")
    assert 20_000 < kept < len(BODY) and not (tmp_path / "m.pt").exists()
    server.answers = [serve()]
    assert get(server, tmp_path / "m.pt", None) == SHA
    assert server.seen[-1][1] == f"bytes={kept}-"


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
    """Cuts, ignored ranges, errors and changes in any order, several runs: a whole version, or an error."""
    rng = np.random.default_rng(seed)
    versions = [BODY[:90_000], BODY[50_000:150_000], BODY[90_000:180_000]]  # two of one length

    def answer(request):
        version = int(rng.integers(3))
        server.answers.append(answer)
        if rng.random() < 0.2:
            status(int(rng.choice([500, 503])))(request)
            return
        weak = rng.random() < 0.2
        serve(versions[version], cut=int(rng.integers(120_000)) if rng.random() < 0.7 else None,
              tag=f'W/"{version}"' if weak else f'"{version}"', ranges=rng.random() < 0.8,
              trusting=not weak and rng.random() < 0.5)(request)  # fmt: skip

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


def test_killed_it_can_be_resumed(server, tmp_path):
    server.answers = [slow(pieces=100)]
    other = started(fetch_file, server.url(), tmp_path / "m.pt")
    until(lambda: partial(tmp_path / "m.pt") >= 20_000)
    other.kill()
    other.join()
    kept = partial(tmp_path / "m.pt")
    assert 0 < kept < len(BODY) and not (tmp_path / "m.pt").exists()
    server.answers = [serve()]
    assert get(server, tmp_path / "m.pt", None) == SHA and server.seen[-1][1] == f"bytes={kept}-"


def test_digest(tmp_path):
    (tmp_path / "a").write_bytes(BODY)
    assert digest_of(tmp_path / "a") == SHA
